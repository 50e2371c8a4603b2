package edgekit.llm;

import java.util.List;

/** Lets text through as soon as it cannot be the beginning of a stop word any more. */
final class StopFilter {
    private final List<String> words;
    private String held = "";
    private boolean matched;

    StopFilter(List<String> words) {
        this.words = words;
    }

    /** Whether a stop word came. */
    boolean matched() {
        return matched;
    }

    /** Takes more text and returns what may be shown; nothing after a stop word. */
    String feed(String text) {
        if (matched) {
            return "";
        }
        held += text;
        int first = first();
        matched = first >= 0;
        int cut = matched ? first : held.length() - longestBeginning();
        String shown = held.substring(0, cut);
        held = matched ? "" : held.substring(cut);
        return shown;
    }

    /** What was held back, when the text ends without a stop word. */
    String finish() {
        String shown = held;
        held = "";
        return shown;
    }

    /** Where the first stop word begins; -1: there is none. */
    private int first() {
        int first = -1;
        for (String word : words) {
            int at = word.isEmpty() ? -1 : held.indexOf(word);
            if (at >= 0 && (first < 0 || at < first)) {
                first = at;
            }
        }
        return first;
    }

    /** Length of the longest end of the held text that begins a stop word. */
    private int longestBeginning() {
        int longest = 0;
        for (String word : words) {
            int length = Math.min(word.length() - 1, held.length());
            while (length > longest && !held.endsWith(word.substring(0, length))) {
                length--;
            }
            longest = Math.max(longest, length);
        }
        return longest;
    }
}

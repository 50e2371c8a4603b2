package edgekit.llm;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CoderResult;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/**
 * Puts characters together whose bytes come in pieces. What is not UTF-8 becomes U+FFFD, one for
 * each maximal subpart (The Unicode Standard, section 3.9, "U+FFFD Substitution of Maximal
 * Subparts").
 */
final class Utf8 {
    private static final char REPLACEMENT = '\uFFFD';

    private final CharsetDecoder decoder =
            StandardCharsets.UTF_8.newDecoder().onMalformedInput(CodingErrorAction.REPORT);
    private byte[] held = new byte[0];

    /** Takes bytes and returns the characters that are complete. */
    String feed(byte[] bytes, int count) {
        return decode(bytes, count, false);
    }

    /** The rest, when nothing more comes. */
    String finish() {
        return decode(new byte[0], 0, true);
    }

    private String decode(byte[] bytes, int count, boolean isEnd) {
        ByteBuffer in = ByteBuffer.allocate(held.length + count);
        in.put(held).put(bytes, 0, count).flip();
        CharBuffer out = CharBuffer.allocate(in.remaining() + 1);
        CoderResult result = decoder.decode(in, out, isEnd);
        while (result.isMalformed()) {
            for (int i = 0; i < replacements(in, result.length()); i++) {
                out.put(REPLACEMENT);
            }
            in.position(in.position() + result.length());
            result = decoder.decode(in, out, isEnd);
        }
        held = new byte[in.remaining()];
        in.get(held);
        out.flip();
        return out.toString();
    }

    /** Java takes a surrogate for one mistake; none of its bytes begins a character. */
    private static int replacements(ByteBuffer in, int length) {
        boolean isSurrogate =
                length > 1
                        && (in.get(in.position()) & 0xFF) == 0xED
                        && (in.get(in.position() + 1) & 0xFF) >= 0xA0;
        return isSurrogate ? length : 1;
    }

    /** The bytes of a text; half of a surrogate pair is refused, not replaced. */
    static byte[] encode(String text, String what) {
        try {
            ByteBuffer bytes = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
            byte[] found = new byte[bytes.remaining()];
            bytes.get(found);
            return found;
        } catch (CharacterCodingException error) {
            throw new EdgekitException(
                    EdgekitException.Status.INVALID_ARGUMENT,
                    what + " has half of a surrogate pair: it is no text");
        }
    }
}

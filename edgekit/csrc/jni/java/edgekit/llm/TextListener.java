package edgekit.llm;

/** Takes the text as it comes. What it throws ends the generation and reaches the caller. */
@FunctionalInterface
public interface TextListener {
    /** Called on the thread that generates, with whole characters, never with an empty text. */
    void onText(String text);
}

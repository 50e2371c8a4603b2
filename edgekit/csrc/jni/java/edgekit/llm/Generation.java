package edgekit.llm;

/** A finished answer. */
public final class Generation {
    /** Why an answer ended. */
    public enum FinishReason {
        /** An end token or a stop word. */
        STOP,
        /** The limit of tokens, or the context. */
        LENGTH,
        CANCELLED
    }

    public final String text;
    public final FinishReason finishReason;
    public final int promptTokens;
    /** Tokens of the prompt that lay in the session already and were not computed again. */
    public final int reusedTokens;
    /** The one that ended the answer included. */
    public final int generatedTokens;
    /** Until the prompt was read. */
    public final long prefillNanos;
    /** From there to the end. */
    public final long decodeNanos;
    /** Read from storage for the whole answer, prompt included. */
    public final long readBytes;

    Generation(
            String text,
            FinishReason finishReason,
            int promptTokens,
            int reusedTokens,
            int generatedTokens,
            long prefillNanos,
            long decodeNanos,
            long readBytes) {
        this.text = text;
        this.finishReason = finishReason;
        this.promptTokens = promptTokens;
        this.reusedTokens = reusedTokens;
        this.generatedTokens = generatedTokens;
        this.prefillNanos = prefillNanos;
        this.decodeNanos = decodeNanos;
        this.readBytes = readBytes;
    }
}

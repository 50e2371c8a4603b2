package edgekit.llm;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** How a text is generated. */
public final class GenerateOptions {
    int maxTokens = 256;
    float temperature = 0.8f;
    int topK = 40;
    float topP = 0.95f;
    float minP = 0.05f;
    float repetitionPenalty = 1.0f;
    long seed;
    boolean parseSpecial;
    List<String> stop = new ArrayList<>();

    /** Most tokens to generate, 1 or more. */
    public GenerateOptions maxTokens(int tokens) {
        maxTokens = tokens;
        return this;
    }

    /** 0: always the most likely token. */
    public GenerateOptions temperature(float value) {
        temperature = value;
        return this;
    }

    /** Only the k most likely tokens; 0: all. */
    public GenerateOptions topK(int count) {
        topK = count;
        return this;
    }

    /** Only the most likely tokens that together have this probability; 1: all. */
    public GenerateOptions topP(float share) {
        topP = share;
        return this;
    }

    /** Only tokens with at least this share of the best one's probability; 0: all. */
    public GenerateOptions minP(float share) {
        minP = share;
        return this;
    }

    /** Logits of the last 64 tokens are made worse by this factor; 1: none. */
    public GenerateOptions repetitionPenalty(float factor) {
        repetitionPenalty = factor;
        return this;
    }

    /** The same seed gives the same text, on every machine. */
    public GenerateOptions seed(long value) {
        seed = value;
        return this;
    }

    /** Texts that end the generation and are not part of it. Empty ones are passed over. */
    public GenerateOptions stop(String... words) {
        stop = new ArrayList<>(Arrays.asList(words));
        return this;
    }

    /**
     * Texts of control tokens in the prompt are these tokens: for what a chat template wrote, never
     * for what a user typed.
     */
    public GenerateOptions parseSpecial(boolean value) {
        parseSpecial = value;
        return this;
    }
}

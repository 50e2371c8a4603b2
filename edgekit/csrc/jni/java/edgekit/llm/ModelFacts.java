package edgekit.llm;

/** What the header of a model's file says. */
public final class ModelFacts {
    public final String architecture;
    public final long weightsBytes;
    public final long parameters;
    public final int vocabularySize;
    public final int layers;
    public final int width;
    public final int heads;
    public final int kvHeads;
    public final int headWidth;
    /** Of one expert where there are experts. */
    public final int feedForwardWidth;
    /** Tokens that the model was trained for. */
    public final int context;
    /** 0: none. */
    public final int experts;
    public final int expertsUsed;
    /** Whether the output matrix is the embedding matrix. */
    public final boolean tiedEmbeddings;

    ModelFacts(String architecture, long[] values) {
        this.architecture = architecture;
        weightsBytes = values[0];
        parameters = values[1];
        vocabularySize = (int) values[2];
        layers = (int) values[3];
        width = (int) values[4];
        heads = (int) values[5];
        kvHeads = (int) values[6];
        headWidth = (int) values[7];
        feedForwardWidth = (int) values[8];
        context = (int) values[9];
        experts = (int) values[10];
        expertsUsed = (int) values[11];
        tiedEmbeddings = values[12] != 0;
    }
}

package edgekit.llm;

/** What a loaded model holds in memory, to the byte, and what each token reads from storage. */
public final class MemoryPlan {
    /** Weights that stay in memory. */
    public final long pinnedBytes;
    /** Buffers for the weights that are read again for each token. */
    public final long streamBytes;
    /** Caches of all sessions. */
    public final long kvBytes;
    public final long activationBytes;
    public final long tableBytes;
    /** The sum of the above: all that the engine holds. */
    public final long totalBytes;
    /** Weights that the computation of one token reads. */
    public final long touchedBytesPerToken;
    /** Of them, from storage. 0: all are pinned. */
    public final long readBytesPerToken;
    /** The smallest budget that works with these options. */
    public final long minimumBytes;

    MemoryPlan(long[] values) {
        pinnedBytes = values[0];
        streamBytes = values[1];
        kvBytes = values[2];
        activationBytes = values[3];
        tableBytes = values[4];
        totalBytes = values[5];
        touchedBytesPerToken = values[6];
        readBytesPerToken = values[7];
        minimumBytes = values[8];
    }
}

package edgekit.llm;

/** How a model is loaded. What is not set is chosen by the engine. */
public final class LoadOptions {
    /** How keys and values of the attention are kept. */
    public enum KvType {
        F16(0),
        /** 8 bits, one scale for each head and position. */
        Q8(1),
        F32(2);

        final int code;

        KvType(int code) {
            this.code = code;
        }
    }

    /** Positions of a session where nothing is said: a longer context costs memory. */
    static final int MOST_DEFAULT_CONTEXT = 4096;

    private long memoryBytes;
    private int context;
    private int batch;
    private int sessions;
    private int threads;
    private KvType kvType = KvType.F16;
    private int storageTimeoutMs;

    /** Hard limit of everything the engine holds; 0: none, all weights stay in memory. */
    public LoadOptions memoryBytes(long bytes) {
        memoryBytes = bytes;
        return this;
    }

    /** Positions of a session; 0: the model's, at most 4096. */
    public LoadOptions context(int tokens) {
        context = tokens;
        return this;
    }

    /** Tokens of a prompt that are computed at once; 0: 64. */
    public LoadOptions batch(int tokens) {
        batch = tokens;
        return this;
    }

    /** Sessions that are open at the same time; 0: 1. */
    public LoadOptions sessions(int count) {
        sessions = count;
        return this;
    }

    /** 0: 1. Answers do not depend on it. */
    public LoadOptions threads(int count) {
        threads = count;
        return this;
    }

    public LoadOptions kvType(KvType type) {
        kvType = type;
        return this;
    }

    /** Of one read while weights are streamed; 0: 30 s. */
    public LoadOptions storageTimeoutMs(int milliseconds) {
        storageTimeoutMs = milliseconds;
        return this;
    }

    long[] values(int modelContext) {
        int positions = context == 0 ? Math.min(modelContext, MOST_DEFAULT_CONTEXT) : context;
        return new long[] {
            memoryBytes, positions, batch, sessions, threads, kvType.code, storageTimeoutMs
        };
    }
}

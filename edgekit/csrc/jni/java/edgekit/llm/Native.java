package edgekit.llm;

/**
 * The functions of {@code edgekit/csrc/jni}. Most return a status of {@code edgekit/status.h}; a
 * {@code message} is written as UTF-8 and ends at the first zero. Handles are checked by the
 * classes above, never here.
 */
final class Native {
    static final int FACTS = 13;
    static final int BUDGET = 9;
    static final int COUNTERS = 4;
    static final int MESSAGE_BYTES = 512;
    static final int NAME_BYTES = 32;

    static final int ADD_SPECIAL = 1;
    static final int PARSE_SPECIAL = 2;

    static {
        System.loadLibrary("edgekit_jni");
    }

    private Native() {}

    /** Opens the header and the vocabulary; {@code path} ends with a zero. */
    static native int open(byte[] path, long[] handle, byte[] message);

    static native void close(long model);

    /** Values in the order of {@link ModelFacts}'s fields after the name. */
    static native void describe(long model, long[] values, byte[] name);

    /** Options in the order of {@link LoadOptions#values}, budget in that of {@link MemoryPlan}. */
    static native int plan(long model, long[] options, long[] budget, byte[] message);

    static native int load(long model, long[] options, byte[] message);

    static native void kernels(long model, byte[] name);

    /** {@code count} is the whole number, also where {@code tokens} is shorter. */
    static native int tokenize(long model, byte[] text, int flags, int[] tokens, long[] count);

    /** {@code size} is the whole size, also where {@code text} is shorter. One thread at a time. */
    static native int tokenText(long model, int token, byte[] text, long[] size);

    static native boolean isEnd(long model, int token);

    static native int openSession(long model, long[] handle);

    static native void closeSession(long session);

    static native int startSampling(
            long session,
            long seed,
            float temperature,
            int topK,
            float topP,
            float minP,
            float repetitionPenalty);

    static native int eval(long session, int[] tokens, int from, int count, byte[] message);

    static native int sample(long session, int[] recent, int count, int[] token);

    static native int position(long session);

    static native int truncate(long session, int position);

    /** Any thread may call it while the session is open. */
    static native void cancel(long session);

    /** Tokens, bytes read, nanoseconds of waiting, nanoseconds of computing. */
    static native void counters(long session, long[] values);
}

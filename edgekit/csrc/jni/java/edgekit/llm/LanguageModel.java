package edgekit.llm;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A language model that is loaded within a memory budget. Any thread may use it. Its memory is
 * native: {@link #close} gives it back, the garbage collector does not.
 *
 * <pre>{@code
 * try (LanguageModel model = LanguageModel.open(path, 1_200_000_000L, 2048, 4);
 *         Session session = model.openSession()) {
 *     session.generate("Once upon a time", new GenerateOptions(), System.out::print);
 * }
 * }</pre>
 */
public final class LanguageModel implements AutoCloseable {
    public final ModelFacts facts;
    public final MemoryPlan plan;
    /** Positions of a session. */
    public final int context;
    /** Name of the kernels in use: {@code neon}, {@code avx2}, {@code portable}, ... */
    public final String kernels;

    private final Object lock = new Object();
    private final List<Session> sessions = new ArrayList<>();
    private boolean isClosed;
    private long handle;

    private LanguageModel(long handle, LoadOptions options) {
        this.handle = handle;
        facts = describe(handle);
        long[] values = options.values(facts.context);
        context = (int) values[1];
        plan = plan(handle, values);
        byte[] message = new byte[Native.MESSAGE_BYTES];
        int status = Native.load(handle, values, message);
        EdgekitException.check(status, "the model could not be loaded", message);
        byte[] name = new byte[Native.NAME_BYTES];
        Native.kernels(handle, name);
        kernels = EdgekitException.text(name);
    }

    /**
     * Opens and loads a GGUF file.
     *
     * @param memoryBytes hard limit of everything the engine holds; 0: none
     * @param context positions of a session; 0: the model's, at most 4096
     * @param threads 0: 1
     * @throws BudgetTooSmallException where the model does not run within the limit
     * @throws EdgekitException where the file cannot be read, is damaged, or is not supported
     */
    public static LanguageModel open(String path, long memoryBytes, int context, int threads) {
        LoadOptions options = new LoadOptions().memoryBytes(memoryBytes);
        return open(path, options.context(context).threads(threads));
    }

    /** Opens and loads a GGUF file; throws as {@link #open(String, long, int, int)}. */
    public static LanguageModel open(String path, LoadOptions options) {
        long handle = openHeader(path);
        LanguageModel model = null;
        try {
            model = new LanguageModel(handle, options);
            return model;
        } finally {
            if (model == null) {
                Native.close(handle);
            }
        }
    }

    /** Reads the header only: what the model is. */
    public static ModelFacts describe(String path) {
        long handle = openHeader(path);
        try {
            return describe(handle);
        } finally {
            Native.close(handle);
        }
    }

    /** Reads the header only: what {@link #open} would hold, before it holds anything. */
    public static MemoryPlan plan(String path, LoadOptions options) {
        long handle = openHeader(path);
        try {
            return plan(handle, options.values(describe(handle).context));
        } finally {
            Native.close(handle);
        }
    }

    /** Opens a conversation with its own memory; as many as {@link LoadOptions#sessions}. */
    public Session openSession() {
        synchronized (lock) {
            checkOpen();
            long[] session = new long[1];
            int status = Native.openSession(handle, session);
            EdgekitException.check(
                    status, "no session is free: close one, or load with more sessions");
            Session opened = null;
            try {
                opened = new Session(this, session[0]);
                sessions.add(opened);
                return opened;
            } finally {
                if (opened == null) {
                    Native.closeSession(session[0]);
                }
            }
        }
    }

    /** How many tokens a prompt has, the one that begins a text included. */
    public int countTokens(String text) {
        synchronized (lock) {
            checkOpen();
            return tokenize(text, false).length;
        }
    }

    /**
     * Ends what the sessions generate, closes them, and gives the memory back; called by a listener,
     * once the last answer has ended.
     */
    @Override
    public void close() {
        List<Session> open;
        synchronized (lock) {
            isClosed = true;
            open = new ArrayList<>(sessions);
        }
        for (Session session : open) {
            session.close();
        }
        giveBackIfUnused();
    }

    void forget(Session session) {
        synchronized (lock) {
            sessions.remove(session);
            giveBackIfUnused();
        }
    }

    /** Whether the calling thread is in a listener. */
    boolean isGeneratingHere() {
        List<Session> open;
        synchronized (lock) {
            open = new ArrayList<>(sessions);
        }
        return open.stream().anyMatch(Session::isGeneratingHere);
    }

    private void giveBackIfUnused() {
        synchronized (lock) {
            if (isClosed && sessions.isEmpty() && handle != 0) {
                Native.close(handle);
                handle = 0;
            }
        }
    }

    int[] tokenize(String text, boolean parseSpecial) {
        byte[] bytes = Utf8.encode(text, "the prompt");
        int flags = Native.ADD_SPECIAL | (parseSpecial ? Native.PARSE_SPECIAL : 0);
        int[] tokens = new int[bytes.length + 2];
        long[] count = new long[1];
        int status = Native.tokenize(handle, bytes, flags, tokens, count);
        if (status == 0 && count[0] > tokens.length) {
            tokens = new int[(int) count[0]];
            status = Native.tokenize(handle, bytes, flags, tokens, count);
        }
        EdgekitException.check(status, "the prompt could not be cut into tokens");
        return Arrays.copyOf(tokens, (int) count[0]);
    }

    /** The bytes of a token. */
    byte[] tokenText(int token) {
        synchronized (lock) {
            byte[] text = new byte[64];
            long[] size = new long[1];
            int status = Native.tokenText(handle, token, text, size);
            if (status == 0 && size[0] > text.length) {
                text = new byte[(int) size[0]];
                status = Native.tokenText(handle, token, text, size);
            }
            EdgekitException.check(status, "token " + token + " has no text");
            return Arrays.copyOf(text, (int) size[0]);
        }
    }

    boolean isEnd(int token) {
        return Native.isEnd(handle, token);
    }

    private void checkOpen() {
        if (isClosed) {
            throw new IllegalStateException("the model is closed");
        }
    }

    private static long openHeader(String path) {
        if (path.indexOf('\0') >= 0) {
            throw new EdgekitException(
                    EdgekitException.Status.INVALID_ARGUMENT, "the path has a zero in it");
        }
        byte[] bytes = Utf8.encode(path, "the path");
        byte[] message = new byte[Native.MESSAGE_BYTES];
        long[] handle = new long[1];
        int status = Native.open(Arrays.copyOf(bytes, bytes.length + 1), handle, message);
        EdgekitException.check(status, path, message);
        return handle[0];
    }

    private static ModelFacts describe(long handle) {
        long[] values = new long[Native.FACTS];
        byte[] name = new byte[Native.NAME_BYTES];
        Native.describe(handle, values, name);
        return new ModelFacts(EdgekitException.text(name), values);
    }

    private static MemoryPlan plan(long handle, long[] options) {
        byte[] message = new byte[Native.MESSAGE_BYTES];
        long[] values = new long[Native.BUDGET];
        int status = Native.plan(handle, options, values, message);
        if (status == EdgekitException.Status.BUDGET_TOO_SMALL.code) {
            MemoryPlan plan = new MemoryPlan(values);
            throw new BudgetTooSmallException(EdgekitException.text(message), plan.minimumBytes);
        }
        EdgekitException.check(status, "the memory could not be planned", message);
        return new MemoryPlan(values);
    }
}

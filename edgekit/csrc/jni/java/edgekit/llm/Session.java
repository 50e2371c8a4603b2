package edgekit.llm;

import edgekit.llm.EdgekitException.Status;
import edgekit.llm.Generation.FinishReason;
import java.util.Arrays;

/**
 * A conversation. It remembers the tokens that it has computed: a prompt that goes on where the
 * last answer ended (every turn of a chat) is not computed again.
 *
 * <p>One thread generates at a time, others wait for it. {@link #cancel} and {@link #close} may
 * come from any thread, a listener included. What a listener closes is given back when its answer
 * has ended: two listeners that waited for each other's would wait for ever.
 */
public final class Session implements AutoCloseable {
    /** Tokens that the repetition penalty looks back at. */
    private static final int MOST_RECENT = 64;

    private final LanguageModel model;
    private final int[] computed;
    private int position;

    /** Guards what cancel and close look at while another thread generates. */
    private final Object gate = new Object();

    private long handle;
    private Thread generating; // null: none
    private boolean isCancelled;
    private boolean isClosed;

    Session(LanguageModel model, long handle) {
        this.model = model;
        this.handle = handle;
        computed = new int[model.context];
    }

    /** Continues a text; as {@link #generate(String, GenerateOptions, TextListener)}. */
    public Generation generate(String prompt, GenerateOptions options) {
        return generate(prompt, options, text -> {});
    }

    /**
     * Continues a text and hands every piece of it to the listener.
     *
     * @throws EdgekitException where the prompt is empty, no text, or longer than the context;
     *     where an option is out of its range; where storage fails. Text that was handed over stays
     *     valid, and the session can go on.
     * @throws IllegalStateException where the session is closed
     */
    public synchronized Generation generate(
            String prompt, GenerateOptions options, TextListener listener) {
        begin();
        try {
            return new Run(options, listener).answer(prompt);
        } finally {
            boolean wasClosed;
            synchronized (gate) {
                generating = null;
                wasClosed = isClosed;
            }
            if (wasClosed) {
                giveBack();
            }
        }
    }

    /** Ends the answer that is being generated, within one layer's computation. */
    public void cancel() {
        synchronized (gate) {
            if (generating != null) {
                isCancelled = true;
                Native.cancel(handle);
            }
        }
    }

    /**
     * Ends the answer that is being generated, waits for its end and gives the session back; from a
     * listener it does not wait.
     */
    @Override
    public void close() {
        cancel();
        boolean mayWait = !model.isGeneratingHere();
        synchronized (gate) {
            isClosed = true;
            if (generating != null && !mayWait) {
                return;
            }
        }
        synchronized (this) {
            giveBack();
        }
    }

    /** Whether the calling thread is in a listener of this session. */
    boolean isGeneratingHere() {
        synchronized (gate) {
            return generating == Thread.currentThread();
        }
    }

    private void giveBack() {
        long given;
        synchronized (gate) {
            given = handle;
            handle = 0;
        }
        if (given != 0) {
            Native.closeSession(given);
            model.forget(this);
        }
    }

    private void begin() {
        synchronized (gate) {
            if (isClosed) {
                throw new IllegalStateException("the session is closed");
            }
            if (generating != null) {
                throw new IllegalStateException("a listener cannot generate in its own session");
            }
            generating = Thread.currentThread();
            isCancelled = false;
        }
    }

    private boolean isCancelled() {
        synchronized (gate) {
            return isCancelled;
        }
    }

    /** Keeps what was computed and is in common with a prompt, but its last token. */
    private int goBackTo(int[] prompt) {
        int shared = 0;
        while (shared < Math.min(position, prompt.length - 1)
                && computed[shared] == prompt[shared]) {
            shared++;
        }
        EdgekitException.check(Native.truncate(handle, shared), "the session could not go back");
        position = shared;
        return shared;
    }

    /** Computes tokens from an index on; false where that was cancelled. */
    private boolean evaluate(int[] tokens, int from) {
        byte[] message = new byte[Native.MESSAGE_BYTES];
        for (int at = from; at < tokens.length; ) {
            int status = Native.eval(handle, tokens, at, tokens.length - at, message);
            int done = Native.position(handle) - position; // after a failure, what is complete
            System.arraycopy(tokens, at, computed, position, done);
            position += done;
            at += done;
            if (status != Status.CANCELLED.code) {
                EdgekitException.check(status, "the tokens could not be computed", message);
            } else if (isCancelled()) {
                return false;
            } // else a cancel that came after the end of the answer before: it is spent now
        }
        return true;
    }

    private long readBytes() {
        long[] counters = new long[Native.COUNTERS];
        Native.counters(handle, counters);
        return counters[1];
    }

    /** One answer. */
    private final class Run {
        private final GenerateOptions options;
        private final TextListener listener;
        private final StringBuilder text = new StringBuilder();
        private final Utf8 characters = new Utf8();
        private final StopFilter stop;
        private int[] tokens = new int[0];
        private int generated;
        private long readBytes;

        Run(GenerateOptions options, TextListener listener) {
            this.options = options;
            this.listener = listener;
            stop = new StopFilter(options.stop);
        }

        Generation answer(String prompt) {
            int[] read = readPrompt(prompt);
            startSampling();
            long start = System.nanoTime();
            long readBefore = readBytes();
            int reused = goBackTo(read);
            tokens = read;
            boolean isRead = evaluate(read, reused);
            readBytes = readBytes() - readBefore;
            long between = System.nanoTime();
            FinishReason reason = isRead ? decode(readBefore) : FinishReason.CANCELLED;
            long end = System.nanoTime();
            return new Generation(
                    text.toString(),
                    reason,
                    read.length,
                    reused,
                    generated,
                    between - start,
                    end - between,
                    readBytes);
        }

        private int[] readPrompt(String prompt) {
            int[] read = model.tokenize(prompt, options.parseSpecial);
            if (read.length == 0) {
                throw new EdgekitException(
                        Status.INVALID_ARGUMENT, "the prompt has no token: give a text");
            }
            if (read.length >= model.context) {
                throw new EdgekitException(
                        Status.FULL,
                        "the prompt has "
                                + read.length
                                + " tokens, the context is "
                                + model.context
                                + " and one must be left for the answer; shorten the prompt or"
                                + " load with a longer context");
            }
            if (options.maxTokens < 1) {
                throw new EdgekitException(
                        Status.INVALID_ARGUMENT,
                        "maxTokens is " + options.maxTokens + ", use 1 or more");
            }
            return read;
        }

        private void startSampling() {
            int status =
                    Native.startSampling(
                            handle,
                            options.seed,
                            options.temperature,
                            options.topK,
                            options.topP,
                            options.minP,
                            options.repetitionPenalty);
            EdgekitException.check(
                    status,
                    "the sampling is out of range: temperature, topK and repetitionPenalty are at"
                            + " least 0, topP and minP from 0 to 1");
        }

        private FinishReason decode(long readBefore) {
            FinishReason reason = null;
            while (reason == null) {
                int token = choose();
                generated++;
                if (model.isEnd(token)) {
                    reason = FinishReason.STOP;
                    break;
                }
                byte[] bytes = model.tokenText(token);
                show(stop.feed(characters.feed(bytes, bytes.length)));
                if (stop.matched()) {
                    return FinishReason.STOP;
                }
                if (isCancelled()) {
                    reason = FinishReason.CANCELLED;
                } else if (generated >= options.maxTokens || position >= model.context) {
                    reason = FinishReason.LENGTH;
                } else if (!evaluate(new int[] {token}, 0)) {
                    reason = FinishReason.CANCELLED;
                } else {
                    remember(token);
                    readBytes = readBytes() - readBefore;
                }
            }
            show(stop.feed(characters.finish()));
            show(stop.finish());
            return reason;
        }

        private int choose() {
            int count = Math.min(MOST_RECENT, tokens.length);
            int[] recent = Arrays.copyOfRange(tokens, tokens.length - count, tokens.length);
            int[] token = new int[1];
            EdgekitException.check(
                    Native.sample(handle, recent, count, token),
                    "logits that are no numbers: the model or its file is damaged");
            return token[0];
        }

        /** The last tokens, of the prompt too. */
        private void remember(int token) {
            int kept = Math.min(tokens.length, MOST_RECENT - 1);
            int[] recent = Arrays.copyOfRange(tokens, tokens.length - kept, tokens.length + 1);
            recent[kept] = token;
            tokens = recent;
        }

        private void show(String shown) {
            if (!shown.isEmpty()) {
                text.append(shown);
                listener.onText(shown);
            }
        }
    }
}

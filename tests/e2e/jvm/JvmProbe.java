package edgekit.llm;

import edgekit.llm.EdgekitException.Status;
import edgekit.llm.Generation.FinishReason;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicReference;

/** One check of the binding in a process of its own: prints what it found, or throws. */
public final class JvmProbe {
    private static final int SESSIONS = 2;
    private static final int THREADS = 2;
    private static final int WINDOWS = 8;
    private static final int WINDOW_ROUNDS = 200;
    private static final GenerateOptions GREEDY = greedy(40);

    private final String path;
    private final PrintStream out;

    private JvmProbe(String path, PrintStream out) {
        this.path = path;
        this.out = out;
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        JvmProbe probe = new JvmProbe(arguments[1], out);
        String[] rest = Arrays.copyOfRange(arguments, 2, arguments.length);
        switch (arguments[0]) {
            case "facts" -> probe.facts(Long.parseLong(rest[0]), Integer.parseInt(rest[1]));
            case "answers" -> probe.answers(rest);
            case "counts" -> probe.counts(rest[0]);
            case "characters" -> probe.characters(rest[0]);
            case "cancel" -> probe.cancel();
            case "late_cancel" -> probe.lateCancel();
            case "listener" -> probe.listener();
            case "close_inside" -> probe.closeInside();
            case "close_outside" -> probe.closeOutside();
            case "close_each_other" -> probe.closeEachOther();
            case "turns" -> probe.turns();
            case "threads" -> probe.threads();
            case "refusals" -> probe.refusals(rest[0], rest[1]);
            case "budget" -> probe.budget();
            case "leaks" -> probe.leaks();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        out.println("done");
    }

    private static GenerateOptions greedy(int tokens) {
        return new GenerateOptions().maxTokens(tokens).temperature(0);
    }

    private LanguageModel open() {
        return LanguageModel.open(path, new LoadOptions().sessions(SESSIONS).threads(THREADS));
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    private static Status refusal(Runnable action, String part) {
        try {
            action.run();
        } catch (EdgekitException error) {
            check(error.getMessage().contains(part), error.getMessage() + " / " + part);
            return error.status();
        }
        throw new AssertionError("not refused: " + part);
    }

    private static void checkClosed(Runnable action) {
        try {
            action.run();
        } catch (IllegalStateException error) {
            check(error.getMessage().contains("closed"), error.getMessage());
            return;
        }
        throw new AssertionError("something closed was used");
    }

    private void facts(long memoryBytes, int context) {
        LoadOptions options = new LoadOptions().memoryBytes(memoryBytes).context(context);
        print(LanguageModel.describe(path), LanguageModel.plan(path, options));
        try (LanguageModel model = LanguageModel.open(path, memoryBytes, context, 1)) {
            print(model.facts, model.plan);
            out.println(model.context + " " + model.kernels);
        }
    }

    private void print(Object... records) {
        for (Object record : records) {
            StringBuilder line = new StringBuilder();
            for (java.lang.reflect.Field field : record.getClass().getFields()) {
                try {
                    line.append(field.getName()).append('=').append(field.get(record)).append(' ');
                } catch (IllegalAccessException error) {
                    throw new AssertionError(error);
                }
            }
            out.println(line.toString().trim());
        }
    }

    /** Prompt file, seeds from 0 on, most tokens, penalty, then stop words; texts as hex. */
    private void answers(String[] given) throws Exception {
        String prompt = new String(Files.readAllBytes(Paths.get(given[0])), StandardCharsets.UTF_8);
        GenerateOptions options = new GenerateOptions().maxTokens(Integer.parseInt(given[2]));
        options.repetitionPenalty(Float.parseFloat(given[3]));
        options.stop(Arrays.copyOfRange(given, 4, given.length));
        try (LanguageModel model = open();
                Session session = model.openSession()) {
            for (int seed = 0; seed < Integer.parseInt(given[1]); seed++) {
                List<String> pieces = new ArrayList<>();
                Generation answer = session.generate(prompt, options.seed(seed), pieces::add);
                check(answer.text.equals(String.join("", pieces)), "pieces are not the text");
                for (String piece : pieces) {
                    check(!piece.isEmpty(), "an empty piece");
                    Utf8.encode(piece, "a piece"); // no half of a character
                }
                out.print(answer.finishReason + " " + answer.generatedTokens + " ");
                out.println(hex(answer.text));
            }
        }
    }

    private void counts(String file) throws Exception {
        try (LanguageModel model = open()) {
            for (String line : Files.readAllLines(Paths.get(file), StandardCharsets.UTF_8)) {
                out.println(model.countTokens(line));
            }
        }
    }

    /** Texts from bytes, given as hex, that come one by one. */
    private void characters(String file) throws Exception {
        for (String line : Files.readAllLines(Paths.get(file))) {
            Utf8 stream = new Utf8();
            StringBuilder text = new StringBuilder();
            for (int at = 0; at < line.length(); at += 2) {
                byte each = (byte) Integer.parseInt(line.substring(at, at + 2), 16);
                text.append(stream.feed(new byte[] {each}, 1));
            }
            out.println(hex(text.append(stream.finish()).toString()));
        }
    }

    private static String hex(String text) {
        StringBuilder found = new StringBuilder();
        for (byte each : text.getBytes(StandardCharsets.UTF_8)) {
            found.append(String.format("%02x", each));
        }
        return found.toString();
    }

    private void cancel() throws InterruptedException {
        try (LanguageModel model = open();
                Session session = model.openSession()) {
            String whole = session.generate("the and", GREEDY).text;
            for (int round = 0; round < 5; round++) {
                StringBuilder seen = new StringBuilder();
                Thread button = new Thread(session::cancel);
                Generation answer =
                        session.generate(
                                "the and",
                                greedy(100_000),
                                text -> {
                                    if (seen.length() == 0) {
                                        button.start();
                                    }
                                    seen.append(text);
                                });
                button.join();
                check(answer.finishReason == FinishReason.CANCELLED, "" + answer.finishReason);
                check(answer.text.equals(seen.toString()), "text got lost");
                check(session.generate("the and", GREEDY).text.equals(whole), "another text");
            }
        }
    }

    /** A cancel that comes between answers, or at their very end, does not reach the next one. */
    private void lateCancel() throws InterruptedException {
        try (LanguageModel model = open();
                Session session = model.openSession()) {
            String whole = session.generate("the and", greedy(8)).text;
            for (int round = 0; round < 100; round++) {
                int pause = round * 20_000;
                Thread button =
                        new Thread(
                                () -> {
                                    long end = System.nanoTime() + pause;
                                    while (System.nanoTime() < end) {
                                        Thread.onSpinWait();
                                    }
                                    session.cancel();
                                });
                button.start();
                session.generate("the and", greedy(8));
                button.join();
                session.cancel();
                Generation next = session.generate("the and", greedy(8));
                check(next.finishReason == FinishReason.LENGTH, "cancelled by an old cancel");
                check(next.text.equals(whole), "another text");
            }
        }
    }

    private void listener() {
        RuntimeException mine = new RuntimeException("mine");
        try (LanguageModel model = open();
                Session session = model.openSession()) {
            String whole = session.generate("the and", GREEDY).text;
            try {
                session.generate(
                        "the and",
                        GREEDY,
                        text -> {
                            throw mine;
                        });
                throw new AssertionError("the listener's exception got lost");
            } catch (RuntimeException error) {
                check(error == mine, "another exception");
            }
            try {
                session.generate("the", GREEDY, text -> session.generate("a", GREEDY));
                throw new AssertionError("generated inside of a generation");
            } catch (IllegalStateException error) {
                check(error.getMessage().contains("listener"), error.getMessage());
            }
            check(session.generate("the and", GREEDY).text.equals(whole), "another text");
        }
    }

    private void closeInside() {
        try (LanguageModel model = open()) {
            Session session = model.openSession();
            Generation answer = session.generate("the", GREEDY, text -> session.close());
            check(answer.finishReason == FinishReason.CANCELLED, "" + answer.finishReason);
            checkClosed(() -> session.generate("the", GREEDY));
            session.cancel();
            session.close();
        }
        LanguageModel model = open();
        Session session = model.openSession();
        Generation answer = session.generate("the", GREEDY, text -> model.close());
        check(answer.finishReason == FinishReason.CANCELLED, "" + answer.finishReason);
        checkClosed(model::openSession);
        checkClosed(() -> model.countTokens("a"));
        model.close();
    }

    private void closeOutside() throws InterruptedException {
        for (int round = 0; round < 20; round++) {
            LanguageModel model = open();
            List<AtomicReference<Generation>> answers = new ArrayList<>();
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < SESSIONS; i++) {
                Session session = model.openSession();
                AtomicReference<Generation> answer = new AtomicReference<>();
                Object begun = new Object();
                Thread thread =
                        new Thread(
                                () ->
                                        answer.set(
                                                session.generate(
                                                        "the",
                                                        greedy(100_000),
                                                        text -> {
                                                            synchronized (begun) {
                                                                begun.notify();
                                                            }
                                                        })));
                synchronized (begun) {
                    thread.start();
                    begun.wait();
                }
                answers.add(answer);
                threads.add(thread);
            }
            model.close();
            for (int i = 0; i < SESSIONS; i++) {
                threads.get(i).join();
                check(answers.get(i).get().finishReason == FinishReason.CANCELLED, "not ended");
            }
        }
    }

    /** Listeners on two threads close everything at the same time: none may wait for the other. */
    private void closeEachOther() throws InterruptedException {
        for (int round = 0; round < 20; round++) {
            LanguageModel model = open();
            CyclicBarrier together = new CyclicBarrier(SESSIONS);
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < SESSIONS; i++) {
                Session session = model.openSession();
                boolean[] isFirst = {true};
                threads.add(
                        new Thread(
                                () ->
                                        session.generate(
                                                "the",
                                                greedy(100_000),
                                                text -> {
                                                    if (isFirst[0]) {
                                                        isFirst[0] = false;
                                                        meet(together);
                                                        model.close();
                                                    }
                                                })));
            }
            threads.forEach(Thread::start);
            for (Thread thread : threads) {
                thread.join(20_000);
                check(!thread.isAlive(), "listeners wait for each other");
            }
            checkClosed(model::openSession);
            model.close();
        }
    }

    private static void meet(CyclicBarrier together) {
        try {
            together.await();
        } catch (InterruptedException | BrokenBarrierException error) {
            throw new AssertionError(error);
        }
    }

    private void turns() {
        try (LanguageModel model = open();
                Session session = model.openSession();
                Session fresh = model.openSession()) {
            String first = "the and the";
            Generation answer = session.generate(first, GREEDY);
            check(answer.reusedTokens == 0, "" + answer.reusedTokens);
            String second = first + " and the and on";
            Generation next = session.generate(second, GREEDY);
            check(next.reusedTokens > 2, "" + next.reusedTokens);
            check(next.text.equals(fresh.generate(second, GREEDY).text), "another text");
            check(next.promptTokens == model.countTokens(second), "" + next.promptTokens);
        }
    }

    private void threads() throws InterruptedException {
        try (LanguageModel model = open()) {
            List<Session> sessions = Arrays.asList(model.openSession(), model.openSession());
            check(refusal(model::openSession, "no session is free") == Status.FULL, "status");
            String[] prompts = {"the and", "on the"};
            String[] alone = new String[SESSIONS];
            String[] together = new String[SESSIONS];
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < SESSIONS; i++) {
                alone[i] = sessions.get(i).generate(prompts[i], greedy(200)).text;
            }
            for (int i = 0; i < SESSIONS; i++) {
                int own = i;
                Session session = sessions.get(own);
                threads.add(
                        new Thread(
                                () ->
                                        together[own] =
                                                session.generate(prompts[own], greedy(200)).text));
                threads.get(i).start();
            }
            for (Thread thread : threads) {
                thread.join();
            }
            check(Arrays.equals(alone, together), Arrays.toString(together));
            sessions.get(0).close();
            model.openSession().close();
        }
    }

    private void refusals(String absent, String damaged) {
        LoadOptions plain = new LoadOptions();
        check(refusal(() -> LanguageModel.open(absent, plain), absent) == Status.IO, "absent");
        Status status = refusal(() -> LanguageModel.open(damaged, plain), "");
        check(status == Status.CORRUPT, "" + status);
        status = refusal(() -> LanguageModel.describe("a\0b"), "zero");
        check(status == Status.INVALID_ARGUMENT, "" + status);
        status = refusal(() -> LanguageModel.open(path, 0, -1, 0), "context");
        check(status == Status.INVALID_ARGUMENT || status == Status.OUT_OF_RANGE, "" + status);
        try (LanguageModel model = LanguageModel.open(path, 0, 64, 1);
                Session session = model.openSession()) {
            String longText = String.join(" ", java.util.Collections.nCopies(99, "the"));
            status = refusal(() -> session.generate(longText, GREEDY), "the context is 64");
            check(status == Status.FULL, "" + status);
            List<GenerateOptions> wrong =
                    Arrays.asList(
                            greedy(1).temperature(-1),
                            greedy(1).temperature(Float.NaN),
                            greedy(1).topK(-1),
                            greedy(1).topP(1.5f),
                            greedy(1).minP(-0.5f));
            for (GenerateOptions options : wrong) {
                status = refusal(() -> session.generate("the", options), "out of range");
                check(status == Status.INVALID_ARGUMENT, "" + status);
            }
            refusal(() -> session.generate("the", greedy(0)), "maxTokens is 0");
            refusal(() -> session.generate("a\uD83C", GREEDY), "surrogate");
            Generation full = session.generate("the", greedy(1000));
            check(full.finishReason == FinishReason.LENGTH, "" + full.finishReason);
            check(full.promptTokens + full.generatedTokens == 65, "" + full.generatedTokens);
        }
    }

    private void budget() {
        long least = LanguageModel.plan(path, new LoadOptions()).minimumBytes;
        try {
            LanguageModel.open(path, least - 1, 0, 1);
            throw new AssertionError("a budget that is too small was taken");
        } catch (BudgetTooSmallException error) {
            check(error.minimumBytes() == least, "" + error.minimumBytes());
            check(error.getMessage().contains("" + least), error.getMessage());
        }
        String whole = null;
        for (long memoryBytes : new long[] {0, least, least * 5 / 4}) {
            try (LanguageModel model = LanguageModel.open(path, memoryBytes, 0, 1);
                    Session session = model.openSession()) {
                check(memoryBytes == 0 || model.plan.totalBytes <= memoryBytes, "budget");
                Generation answer = session.generate("the and", GREEDY);
                check((answer.readBytes > 0) == (model.plan.readBytesPerToken > 0), "bytes read");
                whole = whole == null ? answer.text : whole;
                check(answer.text.equals(whole), "another text with " + memoryBytes);
            }
        }
    }

    /** Everything is taken and given back many times; prints by how much memory grew each time. */
    private void leaks() throws Exception {
        long before = residentPages();
        for (int round = 1; round <= WINDOWS * WINDOW_ROUNDS; round++) {
            try (LanguageModel model = open()) {
                Session session = model.openSession();
                session.generate("the and", greedy(2).seed(round));
                refusal(() -> session.generate("a", greedy(1).topP(2)), "range");
                session.generate("on", greedy(2).temperature(1));
            }
            refusal(() -> LanguageModel.open(path, 1, 0, 1), "few");
            refusal(() -> LanguageModel.open(path + ".absent", 1, 0, 1), "absent");
            if (round % WINDOW_ROUNDS == 0) {
                long now = residentPages();
                out.println((now - before) * 4096);
                before = now;
            }
        }
    }

    private static long residentPages() throws Exception {
        String line = new String(Files.readAllBytes(Paths.get("/proc/self/statm")));
        return Long.parseLong(line.split(" ")[1]);
    }
}

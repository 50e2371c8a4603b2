import edgekit.llm.EdgekitException;
import edgekit.llm.GenerateOptions;
import edgekit.llm.LanguageModel;
import edgekit.llm.LoadOptions;
import edgekit.llm.MemoryPlan;
import edgekit.llm.Session;
import java.io.PrintStream;
import java.io.UnsupportedEncodingException;

/**
 * Embeds a language model in an application on the JVM.
 *
 * <pre>java -jar embed_jvm.jar MODEL.gguf "Once upon a time" [MEMORY_BYTES]</pre>
 *
 * Prints the text as it comes: the most likely token each time, up to MOST_TOKENS of them. With
 * MEMORY_BYTES the engine holds no more than that: weights that do not fit are read again from
 * storage for each token, and the text stays the same.
 */
public final class EmbedLlm {
    private static final int MOST_TOKENS = 64;
    private static final int CONTEXT = 512;

    private EmbedLlm() {}

    public static void main(String[] arguments) throws UnsupportedEncodingException {
        long memoryBytes = arguments.length == 3 ? bytesOf(arguments[2]) : 0;
        if (arguments.length < 2 || arguments.length > 3 || memoryBytes < 0) {
            System.err.println("usage: embed_jvm MODEL.gguf PROMPT [MEMORY_BYTES]");
            System.exit(2);
        }
        try {
            generate(arguments[0], arguments[1], memoryBytes);
        } catch (EdgekitException error) {
            System.err.println("embed_jvm: " + error.getMessage() + " (" + error.status() + ")");
            System.exit(1);
        }
    }

    private static void generate(String path, String prompt, long memoryBytes)
            throws UnsupportedEncodingException {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        int context = Math.min(LanguageModel.describe(path).context, CONTEXT);
        LoadOptions options = new LoadOptions().memoryBytes(memoryBytes).context(context);
        MemoryPlan plan = LanguageModel.plan(path, options); // before anything is loaded
        System.err.printf(
                "%d bytes held, %d of weights pinned, %d read for each token%n",
                plan.totalBytes, plan.pinnedBytes, plan.readBytesPerToken);
        try (LanguageModel model = LanguageModel.open(path, options);
                Session session = model.openSession()) {
            GenerateOptions greedy = new GenerateOptions().maxTokens(MOST_TOKENS).temperature(0);
            session.generate(prompt, greedy, out::print);
            out.println();
        }
    }

    /** -1: it is no number of bytes. */
    private static long bytesOf(String text) {
        try {
            return Math.max(Long.parseLong(text), -1);
        } catch (NumberFormatException error) {
            return -1;
        }
    }
}

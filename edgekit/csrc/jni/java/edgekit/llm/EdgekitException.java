package edgekit.llm;

import java.nio.charset.StandardCharsets;

/** What the library refused or could not do; the message names the file, tensor, key or limit. */
public class EdgekitException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** The causes, as in {@code edgekit/status.h}. */
    public enum Status {
        OK(0),
        NULL_ARGUMENT(100),
        INVALID_ARGUMENT(101),
        OUT_OF_RANGE(102),
        SCRATCH_TOO_SMALL(200),
        SCRATCH_UNALIGNED(201),
        TOO_LARGE(300),
        FULL(301),
        UNSUPPORTED(400),
        IO(500),
        CORRUPT(501),
        OUT_OF_MEMORY(600),
        BUDGET_TOO_SMALL(601),
        CANCELLED(700);

        final int code;

        Status(int code) {
            this.code = code;
        }

        static Status of(int code) {
            for (Status status : values()) {
                if (status.code == code) {
                    return status;
                }
            }
            throw new IllegalStateException("libedgekit returned the unknown status " + code);
        }
    }

    private final Status status;

    EdgekitException(Status status, String message) {
        super(message);
        this.status = status;
    }

    /** The cause. */
    public final Status status() {
        return status;
    }

    /** Throws where a native function failed, with what failed and the message that it wrote. */
    static void check(int code, String what, byte[] message) {
        if (code != Status.OK.code) {
            String said = text(message);
            throw new EdgekitException(Status.of(code), said.isEmpty() ? what : what + ": " + said);
        }
    }

    /** Throws where a native function failed that writes no message. */
    static void check(int code, String what) {
        if (code != Status.OK.code) {
            throw new EdgekitException(Status.of(code), what);
        }
    }

    /** The text before the first zero. */
    static String text(byte[] message) {
        int bytes = 0;
        while (bytes < message.length && message[bytes] != 0) {
            bytes++;
        }
        return new String(message, 0, bytes, StandardCharsets.UTF_8);
    }
}

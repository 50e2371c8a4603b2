package edgekit.llm;

/** The model does not run within the memory that was given. */
public final class BudgetTooSmallException extends EdgekitException {
    private static final long serialVersionUID = 1L;

    private final long minimumBytes;

    BudgetTooSmallException(String message, long minimumBytes) {
        super(Status.BUDGET_TOO_SMALL, message);
        this.minimumBytes = minimumBytes;
    }

    /** The smallest {@link LoadOptions#memoryBytes} that works with the other options. */
    public long minimumBytes() {
        return minimumBytes;
    }
}

"""One self-contained HTML page about a package: every byte, every millisecond, and why."""

"""What Ctrl-C, SIGTERM and a reader who goes away are to the toolkit."""

# Exit codes after Ctrl-C, SIGTERM and output that nobody reads any more: 128 + the signal's number, as in shells
INTERRUPTED, TERMINATED, UNREAD = 130, 143, 141


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; it unwinds the program as Ctrl-C does."""

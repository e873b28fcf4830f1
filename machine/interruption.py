"""What Ctrl-C and SIGTERM are to the toolkit."""

INTERRUPTED, TERMINATED = 130, 143  # exit codes after Ctrl-C and SIGTERM: 128 + the signal's number, as in shells


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; it unwinds the program as Ctrl-C does."""

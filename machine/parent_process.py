"""Ends a script when the process that started it has died, however that died.

Its standard input is a pipe of which the starting process holds the other end. The system closes that end with the process, so
there is no moment in which a death could be missed, and it works on every system. Linux has prctl's PR_SET_PDEATHSIG for this,
but it must be asked for in time, and acts on the death of the starting thread.
"""

import os
import signal
import threading

VARIABLE = "SA_NET_PADDLE_FOLLOWS"  # environment variable: the standard input is such a pipe


def follow_parent() -> None:
    """End as after SIGTERM once the process at the other end of the standard input has died, if VARIABLE asks for that."""
    if os.environ.pop(VARIABLE, None):  # processes that this one starts have another input
        threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end():
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

"""Ends a script when the process that started it has died, however that died.

Its standard input is a pipe of which the starting process holds the other end. The system closes that end with the process, so
there is no moment in which a death could be missed, and it works on every system. Linux has prctl's PR_SET_PDEATHSIG for this,
but it must be asked for in time, and acts on the death of the starting thread.
"""

import os
import signal
import threading
import time

VARIABLE = "SA_NET_PADDLE_FOLLOWS"  # environment variable: the standard input is such a pipe


OF_LAUNCH = "PADDLE_LOCAL_SIZE"  # environment variable: paddle.distributed.launch has started this process
PAUSE = 1.0  # seconds between two looks at whether it lives


def follow_parent() -> None:
    """End as after SIGTERM once the process at the other end of the standard input has died, if VARIABLE asks for that.

    A process that a user's own paddle.distributed.launch has started, whose input is no such pipe, ends with that one.
    """
    if os.environ.pop(VARIABLE, None):  # processes that this one starts have another input
        threading.Thread(target=_wait_for_end, daemon=True).start()
    elif OF_LAUNCH in os.environ and os.name == "posix":
        threading.Thread(target=_wait_for_other_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_other_parent(parent):
    """launch puts its processes into sessions of their own, and cannot end them once it has been killed."""
    while os.getppid() == parent:
        time.sleep(PAUSE)
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_end():
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

"""When a processor runs the threads through which Gloo exchanges messages.

A thread of Gloo's that wants a connection which the main thread is using asks for it again and again. Where it has taken the
core from the main thread, both get nowhere until its turn is over: on two cores a sum over two processes took 3.1 ms in the
midst of work, with what is here 1.1, and 0.4 where the processes only wait for it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

THREADS = Path("/proc/self/task")
NICE = 5  # a third of a normal thread's share where both want one core: beside other programs it is not left without


@contextlib.contextmanager
def new_threads_give_way() -> Iterator[None]:
    """Threads of this process that begin within the block do not take a core from others that are using it.

    They run on free cores as ever. Does nothing but on Linux, and where the system does not permit it.
    """
    before = _threads()
    yield
    for thread in _threads() - before:
        with contextlib.suppress(OSError):  # not permitted, or it has ended
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)


def _threads():
    """The numbers of this process's threads; none but on Linux."""
    with contextlib.suppress(OSError):
        return {int(path.name) for path in THREADS.iterdir()}
    return set()

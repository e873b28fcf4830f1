"""Keeps the files of an evaluation together: one process at a time writes them, or reads several of them."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from machine.locks import ClaimedError, claim

NAME = ".eval.lock"
PAUSE = 0.1  # seconds between two tries


@contextlib.contextmanager
def evaluations_locked(runs: Iterable[Path]) -> Iterator[None]:
    """Wait until no other process writes or compares the evaluations of ``runs``, and keep others out in the block.

    A run folder that cannot be written to is not locked: nobody can change its evaluation there.
    """
    with contextlib.ExitStack() as held:
        for run in sorted({run.resolve() for run in runs}):  # in one order everywhere: no two processes wait for each other
            with contextlib.suppress(OSError):
                held.enter_context(_waited_for(run / NAME))
        yield


def _waited_for(place):
    while True:
        try:
            return claim(place)
        except ClaimedError:
            time.sleep(PAUSE)

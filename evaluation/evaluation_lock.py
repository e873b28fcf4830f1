"""Keeps the files of an evaluation together: one process at a time writes them, or reads several of them."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from machine.locks import claim_in_turn

NAME = ".eval.lock"


@contextlib.contextmanager
def evaluation_written(run: Path) -> Iterator[None]:
    """Wait until no other process writes or compares the evaluations of ``run``, and keep others out in the block."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # then nothing can be written either, and the block says so
            held.enter_context(claim_in_turn(run / NAME))
        yield


@contextlib.contextmanager
def evaluations_read(runs: Iterable[Path]) -> Iterator[None]:
    """Wait until no other process writes the evaluations of ``runs``, and keep others out in the block.

    Changes no run folder: one without a file to lock was evaluated by an older version, or elsewhere.
    """
    with contextlib.ExitStack() as held:
        for run in sorted({run.resolve() for run in runs}):  # in one order everywhere: no two processes wait for each other
            if (run / NAME).exists():
                with contextlib.suppress(OSError):  # nobody can write there
                    held.enter_context(claim_in_turn(run / NAME))
        yield

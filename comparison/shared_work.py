"""Work that several comparisons share: each job is done by the process that claims it; the others wait, and use its outcome."""

import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, TypeVar

from machine.locks import ClaimedError, claim

PAUSE = 0.5  # seconds between two looks at what another process does

Job = TypeVar("Job")


def share(
    jobs: Sequence[Job],
    place_of: Callable[[Job], Path],
    work: Callable[[Job, Callable[[], None]], bool],
    wait: Callable[[Job], None],
    at_once: int = 1,
    end: Callable[[], None] = lambda: None,
) -> None:
    """Call ``work(job, begun)`` for every job, in order, until it returns True: each while this process has claimed the job.

    ``place_of(job)``: a file that stands for the job in all processes; it exists while one of them works. The jobs of other
    processes come last. Once nothing else is left, ``wait(job)`` is called at each look at the first of them.

    ``at_once``: how many jobs this process does at a time, in threads; each starts once the job before it has called ``begun``,
    or is over. Where one of them raises, ``end()`` is called, so that the others come to an end, and then that is raised.
    """
    left = list(jobs)
    while left:
        done = _attempt(left, place_of, work, at_once, end)
        put_off = [job for job, is_done in zip(left, done) if not is_done]
        if len(put_off) == len(left):
            wait(put_off[0])
            time.sleep(PAUSE)
        left = put_off


def _attempt(jobs, place_of, work, at_once, end) -> list[bool]:
    """Whether each of the jobs is done now."""

    def attempt(job, begun=lambda: None):
        try:
            with claimed(place_of(job)):
                return work(job, begun)
        except ClaimedError:
            return False

    if at_once == 1:
        return [attempt(job) for job in jobs]
    turns = [threading.Event() for _ in range(len(jobs) + 1)]
    turns[0].set()
    stopped = threading.Event()

    def in_turn(place, job):
        turns[place].wait()
        try:
            return False if stopped.is_set() else attempt(job, turns[place + 1].set)
        except BaseException:
            stopped.set()  # before the next one has its turn
            raise
        finally:
            turns[place + 1].set()

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(in_turn, place, job) for place, job in enumerate(jobs)]
        try:
            done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
            for future in done:
                future.result()  # raises what one of them raised
            return [future.result() for future in futures]
        except BaseException:
            stopped.set()
            end()
            raise


@contextlib.contextmanager
def claimed(place: Path) -> Iterator[None]:
    """Claim the file ``place`` in the block, and remove it at the end; raises ClaimedError if another process holds it.

    The claim of a killed process ends with it. Where the file cannot be made, the block runs without a claim: what it writes
    will fail too, and say so.
    """
    with contextlib.ExitStack() as stack:
        while True:
            try:
                held = stack.enter_context(claim(place))
            except OSError:
                break
            if os.name != "posix" or _is_at(held.fileno(), place):
                stack.callback(_remove, place)
                break
            stack.pop_all().close()  # the process that held it has removed the file since
        yield


def _is_at(handle: int, place: Path) -> bool:
    """Whether the open file is the one that ``place`` names."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(place))
    except OSError:
        return False


def _remove(place: Path) -> None:
    if os.name == "posix":  # elsewhere an open file stays
        place.unlink(missing_ok=True)

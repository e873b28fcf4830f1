"""What every reader of foreign files is held to: read the input or refuse it in one line, within bounds of time and memory."""

import contextlib
import os
import random
import re
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Callable

MOST_SECONDS = 1.0  # of the processor, for one input of some kilobytes
BUSY = 5  # times as long may it take where the machine does other work, and Python collects the garbage of other tests
MOST_GROWTH = 512  # MB over what the process held before the first input
MOST_LETTERS = 2000  # of a message

HEADROOM = 2 * 2**30  # bytes of address space over what the process has: a bomb shall end in MemoryError, not take the machine


class Crash(BaseException):
    """What no input may bring about. A BaseException, so that no reader can take it for an error of its own."""


@dataclass
class Reader:
    """A reader of files and what is needed to try it.

    ``read(data)`` writes the bytes where the reader looks for them, reads them and raises ``Crash`` where what was read breaks
    a promise; it returns the files that a complaint may name. ``seeds``: good files. ``mutate(data, rng, mutate_bytes)``
    changes a part of a file so that the rest of it stays good; ``mutate_bytes(data, rng)`` is what changes the part.
    """

    name: str
    errors: tuple  # the documented ones
    files: tuple  # of which a complaint must name one; () where it is the reason alone
    read: Callable
    seeds: tuple
    mutate: Callable


@dataclass
class Tally:
    """What came of the inputs so far."""

    inputs: int = 0
    read: int = 0
    slowest: float = 0.0  # seconds
    growth: float = 0.0  # MB
    complaints: dict = field(default_factory=dict)  # {complaint without names and numbers: times}

    def __str__(self):
        return (
            f"{self.inputs:,} inputs, {self.read:,} of them read, {self.inputs - self.read:,} refused for "
            f"{len(self.complaints)} reasons; slowest {self.slowest:.2f} s, memory +{self.growth:.0f} MB"
        )


class Harness:
    """``harness(data)``: bytes -> None; raises Crash, or the reader's own undocumented error. ``tally`` counts.

    ``slowness``: how many times as long the reader may take because its code is watched.
    """

    def __init__(self, reader, slowness=1):
        self.reader, self.tally = reader, Tally()
        self.most_seconds = slowness * MOST_SECONDS
        _forget_peak()
        self.memory_before = _peak_memory()

    def __call__(self, data):
        tally = self.tally
        tally.inputs += 1
        started = time.process_time()
        complaint = None
        try:
            with _bounded_time(5 * self.most_seconds):
                self.reader.read(data)
            tally.read += 1
        except self.reader.errors as error:
            complaint = str(error)
        seconds, growth = time.process_time() - started, _peak_memory() - self.memory_before
        tally.slowest, tally.growth = max(tally.slowest, seconds), max(tally.growth, growth)
        if seconds > self.most_seconds:
            raise Crash(f"{self.reader.name}: {seconds:.1f} s for {len(data):,} bytes")
        if growth > MOST_GROWTH:
            raise Crash(f"{self.reader.name}: {growth:.0f} MB for {len(data):,} bytes")
        if complaint is not None:
            self._check(complaint)
            kind = re.sub(r" = .*?[:;]|'.*?'|\".*?\"|/\S+|\S*\d\S*", "#", complaint)[:40]
            tally.complaints[kind] = tally.complaints.get(kind, 0) + 1

    def _check(self, complaint):
        if not complaint or not complaint.isprintable():
            raise Crash(f"{self.reader.name}: a complaint that is not one line of printable text: {complaint[:300]!r}")
        if len(complaint) > MOST_LETTERS:
            raise Crash(f"{self.reader.name}: a complaint of {len(complaint):,} letters: {complaint[:300]!r}")
        if self.reader.files and not any(str(file) in complaint for file in self.reader.files):
            raise Crash(f"{self.reader.name}: a complaint that names no file: {complaint[:300]!r}")


def try_inputs(reader, count, seed) -> Tally:
    """Hold ``reader`` to its seeds and to ``count`` inputs made from them, the same ones for the same ``seed``.

    Raises Crash, or what the reader should not raise; the input is the note of the exception.
    """
    rng, harness = random.Random(seed), Harness(reader, slowness=BUSY)
    for data in reader.seeds:
        harness(data)
    if harness.tally.complaints:
        raise Crash(f"{reader.name}: a good file is refused: {harness.tally.complaints}")
    for _ in range(count):
        data = rng.choice(reader.seeds)
        for _ in range(rng.choice((1, 1, 2, 3))):
            data = reader.mutate(data, rng, mutate_bytes)
        try:
            harness(data)
        except BaseException:
            print(f"{reader.name}: the input was {data[:2000]!r}", file=sys.stderr)
            raise
    return harness.tally


def mutate_bytes(data, rng, words=()) -> bytes:
    """``data`` with a random change: bytes flipped, a slice gone, repeated or moved, one of ``words`` put in, the end cut."""
    start = rng.randint(0, len(data))
    end = min(len(data), start + rng.choice((1, 1, 2, 4, 16, 64)))
    part = data[start:end]
    change = rng.randrange(7 if words else 5)
    if change == 0:
        part = bytes(rng.randrange(256) for _ in part)
    elif change == 1:
        part = b""
    elif change == 2:
        part *= rng.choice((2, 3, 100))
    elif change == 3:
        part = rng.choice((b"\0", b"\xff", b"\n", b"\r", b" ", b"'", b'"', b"\x1b[2J", b"\xed\xa0\x80", b"\xe2\x80\xa8")) + part
    elif change == 4:
        return data[:start] if rng.random() < 0.3 else data[:start] + data[end:] + part
    elif change == 5:
        part = rng.choice(words)
    else:
        part += rng.choice(words)
    return data[:start] + part + data[end:]


def quick_folder():
    """A temporary folder, as tempfile makes it, in memory where the system has such folders: every input is a file."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


@contextlib.contextmanager
def bounded_memory():
    """Lets the process take HEADROOM bytes more and no more, where the system can be told so."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as pages:
            in_use = int(pages.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + HEADROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def _bounded_time(seconds):
    """Raises Crash out of a loop that does not end, where the system has such an alarm."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _too_long(signum, frame):
    raise Crash("a reader that does not come to an end")


def _peak_memory():
    """The most memory in MB that the process has held; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _forget_peak():
    """Lets Linux count the peak anew from what is held now; elsewhere earlier peaks hide smaller ones."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as peak:
        peak.write("5")

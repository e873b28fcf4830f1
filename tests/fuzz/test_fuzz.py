"""The short form of `make fuzz`: a few thousand inputs for each reader of foreign files, the same ones at every run."""

import mmap
import signal
import sys
import time

import pytest
from harness import BUSY, Crash, Reader, bounded_memory, mutate_bytes, quick_folder, try_inputs
from readers import READERS

INPUTS = {
    "lists": 4000,
    "recipes": 2000,
    "checkpoints": 3000,
    "pickles": 4000,
    "archives": 1500,
    "weights": 3000,
    "tables": 3000,
    "photo_archives": 600,
    "results": 3000,
    "metrics": 3000,
    "histories": 3000,
    "predictions": 3000,
    "class_lists": 2000,
    "searches": 3000,
}


FEW_COMPLAINTS = {"predictions": 8, "class_lists": 1}
"""Formats that leave little to say; any other reader has more than 20."""


@pytest.mark.parametrize("name", READERS)
def test_whatever_a_file_holds_it_is_read_or_refused_in_one_line(name):
    with quick_folder() as folder, bounded_memory():
        tally = try_inputs(READERS[name](folder), INPUTS[name], seed=0)
    print(f"{name}: {tally}")
    assert tally.inputs >= INPUTS[name]
    assert tally.read > 0.05 * tally.inputs, "inputs are damaged so much that hardly any reaches the depth of the reader"
    few = FEW_COMPLAINTS.get(name, 20)
    assert len(tally.complaints) > few, "the same few complaints again and again"


def reader_that(does, files=()):
    def read(data):
        if data != b"good":
            does()

    return Reader("test", (ValueError,), files, read, (b"good",), lambda data, rng, mutate: b"bad")


def refuses(message):
    def read():
        raise ValueError(message)

    return read


def is_slow():
    started = time.process_time()
    while time.process_time() < started + 0.3:
        pass


def takes_memory():
    with mmap.mmap(-1, 100 * 2**20) as fresh:  # what Python allocates may lie in memory that was freed before
        fresh[::4096] = b"x" * (len(fresh) // 4096)  # a byte of each page


def never_ends():
    while True:
        pass


@pytest.mark.parametrize(
    ("does", "bounds", "expected"),  # only its own bound is tight: a busy machine makes any reader slow
    [
        (is_slow, {"MOST_SECONDS": 0.2 / BUSY}, r"\d s for 3 bytes"),
        (takes_memory, {"MOST_GROWTH": 50}, "MB for 3 bytes"),
        (refuses("one\ntwo"), {}, "not one line of printable text"),
        (refuses("\x1b[2J"), {}, "not one line of printable text"),
        (refuses(""), {}, "not one line of printable text"),
        (refuses("x" * 3000), {}, "a complaint of 3,000 letters"),
        (refuses("something is wrong"), {}, "names no file"),
    ],
)
def test_the_harness_notices_what_no_reader_may_do(monkeypatch, does, bounds, expected):
    for name, bound in bounds.items():
        monkeypatch.setattr(f"harness.{name}", bound)
    with pytest.raises(Crash, match=expected):
        try_inputs(reader_that(does, files=("file.txt",)), 1, seed=0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm on this system")
def test_the_harness_ends_a_reader_that_does_not_end(monkeypatch):
    monkeypatch.setattr("harness.MOST_SECONDS", 0.1)
    with pytest.raises(Crash, match="does not come to an end"):
        try_inputs(reader_that(never_ends), 1, seed=0)


def test_the_harness_lets_undocumented_errors_through():
    with pytest.raises(ZeroDivisionError):
        try_inputs(reader_that(lambda: 1 // 0), 1, seed=0)


@pytest.mark.skipif(sys.platform != "linux", reason="no such bound on this system")
def test_memory_is_bounded():
    with bounded_memory(), pytest.raises(MemoryError):
        try_inputs(reader_that(lambda: bytearray(2**40)), 1, seed=0)


def test_a_good_file_that_is_refused_is_a_fault_of_the_test():
    with pytest.raises(Crash, match="a good file is refused"):
        try_inputs(Reader("test", (ValueError,), (), lambda data: refuses("no")(), (b"good",), mutate_bytes), 1, seed=0)

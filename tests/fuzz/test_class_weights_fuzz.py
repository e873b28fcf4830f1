"""A file of class weights with any content: it is read, or refused in one line."""

import math
from pathlib import Path

from harness import Crash, Reader, bounded_memory, quick_folder, try_inputs

from training.class_weights import ClassWeightsError, weights_by_name

CLASSES, COUNTS = ["cat", "wild dog, small", "狗"], [9, 2, 1]
WORDS = (
    b",", b'"', b'""', b"\n", b"\r", b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"cat", "狗".encode(),
    "狗".encode("gb18030"), b"class,weight\n", b"nan", b"inf", b"-1", b"1e400", b"9" * 5000, b"1_0", b"a" * 200_000,
    "\u2028".encode(), b"'=cat,1\n",
)  # fmt: skip
GOOD = 'class,weight\ncat,1\n"wild dog, small",2.5\n狗,3e1\n'


def reader(folder) -> Reader:
    path = Path(folder) / "weights.csv"

    def read(data):
        path.write_bytes(data)
        values = weights_by_name(str(path), CLASSES, COUNTS).values
        if not all(value > 0 and math.isfinite(value) for value in values):
            raise Crash(f"read what no loss can be multiplied by: {values}")

    return Reader("class weights", (ClassWeightsError,), (path,), read, (GOOD.encode(), GOOD.encode("gb18030"),
                  GOOD.encode("utf-16")), lambda data, rng, mutate_bytes: mutate_bytes(data, rng, WORDS))  # fmt: skip


def test_whatever_a_file_of_class_weights_holds_it_is_read_or_refused_in_one_line():
    with quick_folder() as folder, bounded_memory():
        tally = try_inputs(reader(folder), 2000, seed=0)
    print(f"class weights: {tally}")
    assert tally.read > 0.02 * tally.inputs
    assert len(tally.complaints) >= 5

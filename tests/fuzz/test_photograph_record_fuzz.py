"""``photographs.sha256`` with any content: the few reasons to refuse it are too few for the test of the other readers."""

import os
import re
from pathlib import Path

from harness import Crash, Reader, bounded_memory, quick_folder, try_inputs

from data.data_folder import DataFolder
from data.lists import DataError, Sample
from data.photograph_record import HEADER, digest_of_photographs, recorded
from data.split_record import PHOTOGRAPHS
from settings.format_number import FormatError
from trained.rules import is_digest

NAMES = ("cat/1.jpg", "cat/a b.jpg", "狗/二.jpg")
WORDS = (
    b"format 1: x\n", b"format 2: x\n", b"format 01: \n", b"format -1: \n", b"0" * 64, b" 1:2:3:4 ", b"1:-2:3:4", b":", b" ",
    b"\n", b"\r", b"\0", b"\xff", b"9" * 5000, b"../1.jpg", b"cat/1.jpg", "狗".encode(), "\u2028".encode(), b"a" * 5000,
)  # fmt: skip


def reader(folder) -> Reader:
    folder = Path(folder)
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())
    lines = [f"{recorded(folder / name, os.stat(folder / name))} {name}\n" for name in NAMES]
    good = (f"{HEADER.format(1)}\n" + "".join(lines)).encode()
    older = re.sub(rb"\d+:\d+:\d+:\d+", b"1:2:-3:4", good)  # with other times
    samples = [Sample(name, 0, place) for place, name in enumerate(NAMES, start=1)]

    def read(data):
        (folder / PHOTOGRAPHS).write_bytes(data)
        found = digest_of_photographs(DataFolder(folder), samples, "train_list.txt")
        if not (found is None or is_digest(found)):
            raise Crash(f"read what is no digest: {found}")

    return Reader("photograph records", (DataError, FormatError), (folder / PHOTOGRAPHS, folder / "train_list.txt"), read,
                  (good, older), mutate)  # fmt: skip


def mutate(data, rng, mutate_bytes) -> bytes:
    """Change a line, or the order of lines; or any bytes."""
    lines = data.split(b"\n")
    place, change = rng.randrange(len(lines)), rng.randrange(4)
    if change == 0:
        lines.insert(place, rng.choice(lines))
    elif change == 1:
        del lines[place]
    elif change == 2:
        lines[place] = mutate_bytes(lines[place], rng, WORDS)
    else:
        return mutate_bytes(data, rng, WORDS)
    return b"\n".join(lines)


def test_whatever_the_record_holds_it_is_read_or_refused_in_one_line():
    with quick_folder() as folder, bounded_memory():
        tally = try_inputs(reader(folder), 3000, seed=0)
    print(f"photograph records: {tally}")
    assert tally.read > 0.05 * tally.inputs
    assert len(tally.complaints) >= 2

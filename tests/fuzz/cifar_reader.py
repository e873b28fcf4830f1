"""CIFAR-10's archive and its pickles, as cifar10 and plain_pickle read them."""

import gzip
import pickle
import pickletools
import zlib
from pathlib import Path

import numpy as np
from cifar10_archive import FOLDER, contents, python2_pickle
from harness import Crash, Reader
from tar_mutation import blocks_and_headers, extra_member, other_header, tar, with_other_content

from data.cifar10 import META, VAL_BATCHES, Cifar10Dataset
from data.lists import DataError
from pickles.pickled_arrays import ARRAY_NAMES, ArrayType, PlainArray, PlainPickleError
from pickles.plain_pickle import read_plain_pickle

OPCODES = (
    b"cos\nsystem\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"c_codecs\nencode\n", b"c__builtin__\nbytes\n", b"R", b"b", b"(", b"0", b"1", b"2", b")", b"]", b"}", b"t", b"\x85",
    b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"N", b"\x88", b"\x89", b"K\x00", b"K\xff", b"M\x00\x0c", b"J\xff\xff\xff\xff",
    b"\x8a\xff" + b"\x7f" * 255, b"I1\n", b"L1L\n", b"F1e999\n", b"G\x7f\xf8\0\0\0\0\0\0", b"U\x01x", b"U\x02u1", b"U\x02f4",
    b"U\x04data", b"U\x06labels", b"U\x0blabel_names", b"X\x03\0\0\0\xed\xa0\x80", b"X\x06\0\0\0latin1", b"T\xff\xff\xff\x7f",
    b"X\xff\xff\xff\x7f", b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"r\xff\xff\xff\xff", b"Vx\n", b"P1\n", b"Q", b".",
    b"\x80\x02", b"\x80\xff", b"\x95\xff" + b"\0" * 7, b"]" * 5000, b"(" * 5000, b"]" + b"2a" * 500, b"\x85" * 5000,
    b"}" + b"K\x00U\x00s" * 50,
)  # fmt: skip
"""Of code, of plain data, and of other kinds of pickles; lists in lists, lists in themselves, lengths that lie."""
NAMES = (f"{FOLDER}/test_batch".encode(), f"{FOLDER}/{META}".encode())
PLAIN = (bytes, str, int, bool, type(None), PlainArray, ArrayType)


def pickle_reader(folder) -> Reader:
    """The reader of pickles; ``folder`` is not used."""

    def read(data):
        if not _is_plain(read_plain_pickle(data)):
            raise Crash("read what is no plain data")

    value = {
        b"data": np.arange(12, dtype=np.uint8).reshape(2, 6),
        b"labels": [0, 1, 300, -5],
        b"names": [b"a" * 300, b"", b"x"],
    }
    other = {"text": "猫", "tuple": (1, (2, 3)), "none": [None, True, False], "big": 2**600, "empty": b"", "bytes": b"\xff\0"}
    seeds = (python2_pickle(value), pickle.dumps(value, 2), pickle.dumps(other, 2), contents(1)[META])
    return Reader("pickles", (PlainPickleError,), (), read, seeds, mutate_pickle)


def _is_plain(value):
    """Whether there is nothing but plain data and plain_pickle's stand-ins in ``value``, which may hold itself."""
    seen, left = set(), [value]
    while left:
        part = left.pop()
        if type(part) in (list, tuple, dict):
            if id(part) not in seen:
                seen.add(id(part))
                left += [*part, *part.values()] if type(part) is dict else part
        elif type(part) not in PLAIN and not any(part is known for known in ARRAY_NAMES.values()):
            return False
    return True


def mutate_pickle(data, rng, mutate_bytes, opcodes=OPCODES) -> bytes:
    """Leave an opcode out, repeat it, put another one of ``opcodes`` in, change its argument; or any bytes."""
    places = []
    try:
        for _, _, place in pickletools.genops(data):
            places.append(place)
            if len(places) == 3000:
                break
    except Exception:  # pickletools raises anything where a pickle is damaged; what comes before is good
        pass
    if len(places) < 2 or rng.random() < 0.2:
        return mutate_bytes(data, rng, opcodes)
    which = rng.randrange(len(places) - 1)
    start, end = places[which], places[which + 1]
    change = rng.randrange(5)
    part = data[start:end]
    if change == 0:
        part = b""
    elif change == 1:
        part *= rng.choice((2, 3))
    elif change == 2:
        part = rng.choice(opcodes)
    elif change == 3:
        part = rng.choice(opcodes) + part
    else:
        part = part[:1] + mutate_bytes(part[1:], rng)
    return data[:start] + part + data[end:]


def archive_reader(folder) -> Reader:
    """The reader of archives; they are written into ``folder``, which must exist."""
    file = Path(folder) / "cifar-10-python.tar.gz"

    def read(data):
        file.write_bytes(data)
        dataset = Cifar10Dataset(file, 8, train=False)
        dataset.digest()
        pixels, label = dataset[len(dataset) - 1]
        if pixels.shape != (3, 8, 8) or not 0 <= label < len(dataset.classes) or len(dataset.images) != len(dataset.samples):
            raise Crash(f"read a sample that cannot be: {pixels.shape} {label}")

    seeds = []
    for pickled in (python2_pickle, lambda value: pickle.dumps(value, 2)):
        parts = contents(2, pickled)
        seeds.append(_packed(tar({f"{FOLDER}/{name}": parts[name] for name in (META, *VAL_BATCHES)})))
    return Reader("archives", (DataError,), (file,), read, tuple(seeds), mutate_archive)


def _packed(data):
    return gzip.compress(data, compresslevel=1, mtime=0)


def mutate_archive(data, rng, mutate_bytes) -> bytes:
    """Change a pickle, a header of the tar archive (its checksum put right), the members or their order; or any bytes."""
    try:
        whole = zlib.decompressobj(31).decompress(data, 2**20)
        blocks, headers = blocks_and_headers(whole)
    except zlib.error:
        headers = []
    change = rng.randrange(20)
    if not headers or change == 0:
        return mutate_bytes(data, rng)
    place = rng.choice(headers)
    if change <= 10:
        blocks = with_other_content(blocks, place, lambda content: mutate_pickle(content, rng, mutate_bytes))
    elif change <= 15:
        blocks[place] = other_header(blocks[place], rng, mutate_bytes, NAMES)
    elif change <= 18:
        blocks[place:place] = extra_member(rng, (*(name.decode() for name in NAMES), FOLDER))
    else:
        blocks = [mutate_bytes(whole, rng)]
    return _packed(b"".join(blocks))

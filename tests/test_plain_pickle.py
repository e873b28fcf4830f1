"""Pickles of plain data are read, and nothing that a pickle names is run."""

import os
import pickle
import random

import numpy as np
import pytest
from cifar10_archive import contents, python2_pickle

from pickles import plain_pickle
from pickles.pickled_arrays import PlainArray, PlainPickleError
from pickles.plain_pickle import read_plain_pickle


def python3_pickle(value):
    return pickle.dumps(value, protocol=2)


def unwrapped(value):
    return {key: part.array if isinstance(part, PlainArray) else part for key, part in value.items()}


@pytest.mark.parametrize("pickled", [python2_pickle, python3_pickle])
def test_plain_data_and_arrays_are_read_as_pickle_reads_them(pickled):
    value = {b"data": np.arange(300, dtype=np.uint8).reshape(20, 15), b"labels": [0, 255, 256, 70_000], b"n": [b"a" * 300, b""]}
    data = pickled(value)
    expected, found = pickle.loads(data, encoding="bytes"), unwrapped(read_plain_pickle(data))
    assert found.keys() == expected.keys() == value.keys()
    np.testing.assert_array_equal(found.pop(b"data"), expected.pop(b"data"))
    assert found == expected


class Touches:
    """Pickled, it asks for a file to be made when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_not_run(tmp_path, protocol):
    data = pickle.dumps({b"data": Touches(tmp_path / "touched")}, protocol=protocol)
    with pytest.raises(PlainPickleError, match=r"which plain data do not need|damaged"):
        read_plain_pickle(data)
    assert not (tmp_path / "touched").exists()
    pickle.loads(data)
    assert (tmp_path / "touched").exists(), "the test's own pickle does what it should"


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\nU\x02ls\x85R",
        b"\x8c\x02os\x8c\x06system\x93U\x02ls\x85R",  # STACK_GLOBAL
        b"(ios\nsystem\n",  # INST
        b"(cos\nsystem\nU\x02lso",  # OBJ
        b"cos\nsystem\n)\x81",  # NEWOBJ
        b"\x82\x01",  # EXT1
        b"Pmyself\n",  # PERSID
        b"cbuiltins\neval\nU\x011\x85R",
        b"cnumpy\nload\nU\x01x\x85R",
        b"cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\nK\x00\x85U\x01b\x87R",
        b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00evil\x86R",
        b"U\x05dtypeU\x02u1K\x00K\x01\x87R",  # a text is no function
        b"cnumpy\nndarray\n)R",
        b"](K\x01eK\x02b",  # BUILD of a list
        b"}\x8a\x09" + bytes(8) + b"\x01K\x01s",  # a key of more than 64 bits
        b"c_codecs\nencode\nK\x01b",
    ],
)
def test_whatever_else_a_pickle_asks_for_is_refused(code):
    with pytest.raises(PlainPickleError):
        read_plain_pickle(b"\x80\x02" + code + b".")


def test_what_is_asked_for_is_named():
    with pytest.raises(
        PlainPickleError, match=r"^it asks for 'os system', which plain data do not need; nothing of it was run$"
    ):
        read_plain_pickle(b"\x80\x02cos\nsystem\nU\x02ls\x85R.")


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint16), np.array([[1, None]]), np.zeros((3, 2), np.uint8, order="F"),
     np.zeros((1, 1, 1, 1, 1), np.uint8), np.zeros(2, dtype=[("a", np.uint8)])],
    ids=["float", "uint16", "object", "fortran", "five dimensions", "fields"],
)  # fmt: skip
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(PlainPickleError, match="an array"):
        read_plain_pickle(python3_pickle({b"data": array}))


def test_an_array_whose_content_is_of_another_size_is_refused():
    data = python2_pickle({b"data": np.zeros((2, 3), np.uint8)}).replace(b"K\x02K\x03t", b"K\x02K\x04t")
    with pytest.raises(PlainPickleError, match=r"an array of shape \(2, 4\) whose content has another size"):
        read_plain_pickle(data)


@pytest.mark.parametrize("pickled", [python2_pickle, python3_pickle])
def test_a_pickle_cut_anywhere_is_refused(pickled):
    data = pickled({b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [1, 2]})
    for length in range(len(data)):
        with pytest.raises(PlainPickleError):
            read_plain_pickle(data[:length])


def test_damage_never_ends_in_another_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    originals = [python2_pickle({b"a": [1, b"x"], b"d": np.zeros((2, 2), np.uint8)}), contents(1)["batches.meta"]]
    complaints = set()
    for _ in range(3000):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_plain_pickle(bytes(data))
        except PlainPickleError as error:
            complaints.add(str(error))
    assert len(complaints) > 20
    assert not any("\n" in complaint for complaint in complaints)
    assert list(tmp_path.iterdir()) == []


def test_a_small_file_cannot_build_what_fills_the_memory(monkeypatch):
    letters = b"X" + (10_000).to_bytes(4, "little") + b"a" * 10_000 + b"q\x01"
    encoded = b"c_codecs\nencode\nq\x02h\x01X\x06\x00\x00\x00latin1q\x03\x86R"
    again = b"h\x02h\x01h\x03\x86R" * 500
    with pytest.raises(PlainPickleError, match="encodes text in another way"):
        read_plain_pickle(b"\x80\x02]" + letters + encoded + again + b".")
    monkeypatch.setattr(plain_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(PlainPickleError, match="more than 1,000 opcodes"):
        read_plain_pickle(b"\x80\x02" + b"]" * 1001 + b".")


def test_keys_whose_hashes_anybody_can_make_equal_are_refused():
    keys = b"".join(b"\x8a\x09" + (number * (2**61 - 1)).to_bytes(9, "little") + b"N" for number in range(1, 50))
    with pytest.raises(PlainPickleError, match="a key that is neither text"):
        read_plain_pickle(b"\x80\x02}(" + keys + b"u.")

"""Weights of every format, as weights.weight_files reads them."""

import io
import json
import pickle
import pickletools
import re
import struct
from functools import partial
from pathlib import Path

import numpy as np
from checkpoint_reader import SHAPES, TYPES, WORDS
from cifar_reader import OPCODES, mutate_pickle
from harness import Crash, Reader
from json_mutation import dump, mutate_json
from safetensors.numpy import save
from torch_files import STORAGES, Tensor, bfloat16, state_dict, write_legacy, write_zip
from zip_mutation import mutate_zip

from weights.weight_files import PLACES, WeightFileError, read_weights

CALLS = (
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor", "torch._utils _rebuild_parameter",
    "torch._tensor _rebuild_from_type_v2", "torch._utils _rebuild_qtensor", "torch Size", "torch.storage UntypedStorage",
    "collections OrderedDict", "collections defaultdict", "builtins dict", "builtins eval", "builtins set",
    "argparse Namespace",
    "numpy.core.numeric _frombuffer", "numpy.core.multiarray scalar", *(f"torch {name}" for name in STORAGES.values()),
)  # fmt: skip
TEXTS = (
    "storage", "cpu", "0", "1", "w", "data", "bn._mean", "module.w", "little_endian", "\x1b[2J\n", "x" * 5000,
    "UnpackBigParamInfor@@",
    "StructuredToParameterName@@", "f8", "u2", "O", ">", "F", *PLACES,
)  # fmt: skip
WEIGHT_OPCODES = (
    *OPCODES,
    *(b"c%b\n" % call.replace(" ", "\n").encode() for call in CALLS),
    *(b"X" + struct.pack("<I", len(text)) + text.encode() for text in TEXTS),
    *(b"\x8a\x08" + struct.pack("<q", number) for number in (0, 1, 2, 3, 6, 7, -1, 2**31, 2**62)),
    b"Q", b"0", b"2", b"\x8f", b"\x90", b"\x91", b"\x92", b"\x93", b"\x94", b"\x81", b"o", b"C\x01x", b"\x8c\x01x",
    b"\x96" + b"\xff" * 8,
    b"\x8b\xff\xff\0\0" + b"\x7f" * 65535, b"\x8a\xff" + b"\x7f" * 255 + b"2" * 8, b"(K\x01K\x01t",
    b"(K\x00\x8a\x08" + b"\x7f" * 8 + b"t",
    b"imodule\nname\n",
)  # fmt: skip
"""Of code, of plain data, and of what tensors and their storages are made of."""
MEMBERS = (
    b"archive/data.pkl", b"archive/data/0", b"archive/data/1", b"archive/data/2", b"archive/byteorder",
    b"archive/constants.pkl",
    b"archive/code/x.py", b"archive/../x", b"/archive/x", b"x", b"", b"\x1b[2J\n", b"\xff\xfe", b"a" * 5000,
    b"archive/\0data.pkl",
)  # fmt: skip
NUMBER = b"\x8a\x10"  # and 16 bytes
ARRAYS = {"w": np.arange(6, dtype="f4").reshape(2, 3), "bn._mean": np.ones(2, "f4")}


def reader(folder) -> Reader:
    """The reader of weights; they are written into ``folder``, which must exist."""
    file = Path(folder) / "weights.pth"

    def read(data):
        file.write_bytes(data)
        _check(read_weights(file), len(data))

    return Reader("weights", (WeightFileError,), (file,), read, _seeds(file), mutate)


def _check(weights, size):
    """What --init_from relies on: text for names, arrays of numbers, no more of them in a tensor than the file can hold."""
    if weights.framework not in ("torch", "paddle"):
        raise Crash(f"weights of {weights.framework!r}")
    for name, array in weights.arrays.items():
        if type(name) is not str or not isinstance(array, np.ndarray) or array.dtype.kind not in "fiubc":
            raise Crash(f"read what are no weights: {name!r} {type(array)}")
        if array.nbytes > 2 * size:  # bfloat16 comes twice as wide
            raise Crash(f"{array.nbytes:,} bytes of {name!r} out of a file of {size:,}")
        if not _is_inside_its_storage(array):
            raise Crash(f"{name!r} of shape {array.shape} and strides {array.strides} reaches outside of its storage")
    if not all(type(name) is type(why) is str for name, why in weights.unreadable.items()):
        raise Crash(f"read what is no name: {weights.unreadable}")


def _is_inside_its_storage(array):
    """Whether all values of the view ``array`` lie in what was read from the file, with no steps back or on the spot."""
    whole = array
    while getattr(whole, "base", None) is not None:
        whole = whole.base
    whole = whole if isinstance(whole, np.ndarray) else np.frombuffer(whole, "u1")
    steps = [(side - 1, stride) for side, stride in zip(array.shape, array.strides) if side > 1]
    first, start = array.__array_interface__["data"][0], whole.__array_interface__["data"][0]
    last = first + sum(count * stride for count, stride in steps) + array.itemsize
    return not array.size or (start <= first and last <= start + whole.nbytes and all(stride > 0 for _, stride in steps))


def _seeds(file):
    seeds = []
    parts = {
        "r": Tensor(np.arange(12, dtype="f4").reshape(4, 3), start=3, shape=(2, 2), strides=(3, 1)),
        "b": bfloat16([1.5, 2]),
    }
    for write in (write_zip, write_legacy):
        for value in ({"epoch": 3, "state_dict": state_dict(ARRAYS)}, {**parts, "i": np.array(7), "t": ARRAYS["w"].T}):
            seeds.append(write(file, value).read_bytes())
    seeds += [pickle.dumps({**ARRAYS, "epoch": 3.5, "set": {1, 2}}, protocol) for protocol in (2, 4, 5)]
    text = json.dumps(
        {"w": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}, "__metadata__": {"format": "pt"}}
    ).encode()
    seeds += [save(ARRAYS), save({"network.w": ARRAYS["w"]}, metadata={"format": "pd", "header": "{}"})]
    return (*seeds, struct.pack("<Q", len(text)) + text + bytes(4))


def mutate(data, rng, mutate_bytes) -> bytes:
    """Change opcodes of a pickle, storages, members of the zip archive, the header of safetensors; or any bytes."""
    if data[:2] == b"PK":
        change = partial(_other_content, rng=rng, mutate_bytes=mutate_bytes)
        return mutate_zip(data, rng, mutate_bytes, change, MEMBERS)
    if data[:1] == b"\x80":
        return _other_pickles(data, rng, mutate_bytes)
    return _other_safetensors(data, rng, mutate_bytes)


def _other_pickle(data, rng, mutate_bytes):
    """The pickle with other opcodes; or with another number, a place, a side or a stride say, as torch_files writes it."""
    places = [match.start() + 2 for match in re.finditer(re.escape(NUMBER), data)]
    if not places or rng.random() < 0.6:
        return mutate_pickle(data, rng, mutate_bytes, WEIGHT_OPCODES)
    place, number = rng.choice(places), rng.choice((0, 1, 2, 3, 4, 6, 12, -1, -2, 2**31, 2**62, 2**120))
    return data[:place] + number.to_bytes(16, "little", signed=True) + data[place + 16 :]


def _other_content(member, rng, mutate_bytes):
    """The pickle with other opcodes; of a storage other bytes, fewer or more."""
    if member.name.endswith(b".pkl"):
        return _other_pickle(member.content, rng, mutate_bytes)
    return rng.choice((mutate_bytes(member.content, rng), member.content[:-1], member.content + b"\0", b"", b"big", b"little"))


def _other_pickles(data, rng, mutate_bytes):
    """One of the pickles that the file begins with changed, more often the longest; or what follows these: sizes, storages."""
    pickles, file = [], io.BytesIO(data)
    try:
        while file.tell() < len(data) and len(pickles) < 5:
            start = file.tell()
            for _ in pickletools.genops(file):
                pass
            pickles.append(data[start : file.tell()])
    except Exception:  # pickletools raises anything where a pickle is damaged, or is none any more
        pass
    rest = data[sum(map(len, pickles)) :]
    change = rng.randrange(10)
    if not pickles or change == 0:
        return mutate_pickle(data, rng, mutate_bytes, WEIGHT_OPCODES)
    if change == 1:
        length = struct.pack("<q", rng.choice((0, 1, 2, 6, 7, -1, 2**31, 2**62)))
        place = rng.randrange(0, len(rest) + 1, 8)
        rest = rng.choice((length + rest[8:], rest[:place] + length + rest[place + 8 :], rest[:-1], mutate_bytes(rest, rng)))
    else:
        longest = max(range(len(pickles)), key=lambda place: len(pickles[place]))
        place = longest if change < 7 else rng.randrange(len(pickles))
        pickles[place] = _other_pickle(pickles[place], rng, mutate_bytes)
    return b"".join(pickles) + rest


def _other_safetensors(data, rng, mutate_bytes):
    """The list of tensors changed, or its text, and its length put right, mostly; or any bytes."""
    change = rng.randrange(10)
    try:
        (length,) = struct.unpack("<Q", data[:8])
        text, tensors = data[8 : 8 + length], data[8 + length :]
        if change < 7:
            numbers = ([0, 8], [0, 4], [4, 8], [8, 0], [0, 24], [0, 2**62], [2**63, 2**64])
            keys = ("w", "network.w", "bn._mean", "running_mean", "format", "header", "dtype", "shape", "data_offsets")
            text = dump(mutate_json(json.loads(text), rng, keys, ("pt", "pd", *numbers, *TYPES, *SHAPES)))
        elif change == 7:
            text = mutate_bytes(text, rng, WORDS)
        elif change == 8:
            tensors = mutate_bytes(tensors, rng)
    except (ValueError, RecursionError, struct.error):
        change = 9
    if change == 9:
        return mutate_bytes(data, rng, WORDS)
    lie = rng.choice((0,) * 17 + (1, -1, 2**40))
    return struct.pack("<Q", max(0, len(text) + lie)) + text + tensors

"""Reads weights from files that strangers made (``read_weights``), and never runs code from a file.

Reads safetensors, PyTorch's checkpoints (.pth, .pth.tar, .pt), Paddle's (.pdparams) and this toolkit's own; the content, not
the name, tells them apart. Ignores everything else in a training checkpoint (epoch, optimizer, arguments).
"""

import json
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np
from safetensors import SafetensorError, safe_open

from machine.regular_file import sha256_of
from messages.quoting import named
from messages.reason import reason_of
from messages.user_error import UserError
from pickles.pickled_arrays import PlainArray
from pickles.plain_pickle import Opaque, read_plain_pickle
from settings.format_number import FormatError, check_format
from trained.header import FORMAT
from weights.torch_weights import LANGUAGE, MAGIC, Tensor, UnreadableWeights, read_legacy, read_zip, widened

PLACES = (
    "state_dict", "model", "model_state_dict", "net", "network", "weights", "params",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema",
)  # fmt: skip
"""Keys under which training scripts store the weights in a checkpoint; the first existing one counts, averaged weights last."""
PREFIXES = ("module.", "_orig_mod.", "_layers.")
"""DataParallel and compiled models put them before every name."""
OWN = "network."
BIG = "UnpackBigParamInfor@@"
SAVE_ALONE = "none of its code was run; save only the state_dict where the file comes from"
TAR_MAGIC_AT = 257
READABLE = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")  # safetensors types in numpy
UNREADABLE = (ValueError, zipfile.BadZipFile, NotImplementedError, SafetensorError, EOFError, OSError, struct.error)
"""The errors that damaged files cause; PlainPickleError and the errors of torch_weights are ValueErrors."""


class WeightFileError(UserError):
    """Weights that cannot be read or do not fit; the message names the file, the reason and the remedy in one line."""


class Weights(NamedTuple):
    """The weights in a file.

    ``arrays``: {name: array}. ``framework``: "torch" or "paddle", whose names and layout they have. ``unreadable``: {name:
    reason} of further tensors, of a kind that cannot be read. ``notes``: lines for the user about the choice of weights.
    """

    arrays: dict[str, np.ndarray]
    framework: str
    unreadable: dict[str, str]
    notes: tuple[str, ...] = ()


def digest_of(path: Optional[Union[str, Path]]) -> Optional[str]:
    """SHA-256 of a file in hexadecimal digits; None for None and for a file that cannot be read."""
    try:
        return sha256_of(path) if path else None
    except OSError:
        return None


def read_weights(path: Union[str, Path]) -> Weights:
    """The weights in the file ``path``; raises WeightFileError, and FormatError for a checkpoint of a newer version."""
    path = Path(path)
    if path.is_dir():
        raise WeightFileError(f"{path} is a folder: name the file of weights in it, such as its best.safetensors")
    if not path.is_file():
        raise WeightFileError(f"there is no file {path}: give --init_from the file of weights")
    try:
        with open(path, "rb") as file:
            weights = _read(file)
    except FormatError:
        raise
    except UNREADABLE as error:
        reason = str(error)
        if not isinstance(error, UnreadableWeights):  # an error from a library may quote the file
            reason = reason_of(error, path)
            reason += "; it is damaged or cut: download it again, or from another place"
        raise WeightFileError(f"{path} cannot be read: {reason}") from None
    return _without_prefixes(weights)


def _read(file):
    start = file.read(512)
    file.seek(0)
    if start[:4] == b"PK\x03\x04":
        found = _Found()
        return Weights(read_zip(file, found.choose), "torch", found.unreadable, tuple(found.notes))
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length <= os.fstat(file.fileno()).st_size:
        return _read_safetensors(file, length)
    if start[:1] == b"\x80":  # after safetensors, whose length may begin with this byte
        return _read_pickle(file)
    raise UnreadableWeights(_name_of_format(start))


_STRANGERS = (
    (lambda start: not start, "it is empty: fetch it again"),
    (lambda start: start[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar",
     "a tar archive: unpack it if it contains the weights; if PyTorch before 0.2 wrote it, load it and save it again there"),
    (lambda start: start[:2] == b"\x1f\x8b", "a gzip archive: unpack it first"),
    (lambda start: start[:4] == b"PK\x05\x06", "an empty zip archive: fetch it again"),
    (lambda start: start[:8] == b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes: save its weights as safetensors"),
    (lambda start: start[:6] == b"\x93NUMPY", "a single array of numpy: save all weights as safetensors"),
    (lambda start: start[:12] == bytes(12), "parameters of an exported Paddle program (.pdiparams): give its .pdparams"),
    (lambda start: re.match(rb"\s*<(!doctype|html)", start, re.IGNORECASE), "a web page: fetch the file itself"),
    (lambda start: start[:20] == b"version https://git-", "a pointer of Git LFS: fetch the file itself with `git lfs pull`"),
    (lambda start: start[:1] == b"\x08" and start[2:3] in (b"\x12", b"\x1a", b":"),
     "an ONNX model: give the checkpoint that it was exported from"),
    (lambda start: start[8:9] == b"{", "safetensors whose header is longer than the file: cut short; fetch or copy it again"),
)  # fmt: skip


def _name_of_format(start):
    for is_it, what in _STRANGERS:
        if is_it(start):
            return what
    return (
        "an unknown format: name a file of safetensors, of PyTorch (.pth; pickle protocol 2 or newer) or of Paddle (.pdparams)"
    )


def _read_pickle(file):
    """The Weights in a file of PyTorch before 1.6, which begins with a magic number, or of Paddle, a pickled dict of arrays."""
    found = _Found()
    value = read_plain_pickle(file, LANGUAGE)
    if value == MAGIC:
        return Weights(read_legacy(file, found.choose), "torch", found.unreadable, tuple(found.notes))
    leaves = found.choose(value)
    if any(isinstance(leaf, Tensor) for leaf in leaves.values()):
        raise UnreadableWeights("a bare pickle of PyTorch's tensors, without their values: save them with torch.save")
    # numpy has no bfloat16, so Paddle writes its bits as uint16
    arrays = {name: widened(leaf) if leaf.dtype == np.uint16 else leaf for name, leaf in leaves.items()}
    return Weights(arrays, "paddle", found.unreadable, tuple(found.notes))


class _Found:
    """Finds the state_dict in a checkpoint, and collects ``unreadable`` and ``notes`` for Weights."""

    def __init__(self):
        self.unreadable, self.notes = {}, []

    def choose(self, value: Any) -> dict[str, Union[np.ndarray, Tensor]]:
        """{name: array or Tensor} of the state_dict in ``value``; raises UnreadableWeights if there is none."""
        state = self._state_dict(value, 3)
        if state is None:
            raise UnreadableWeights(f"it holds no state_dict, but {_described(value)}; {SAVE_ALONE}")
        leaves = {}
        for name, entry in _with_text(state).items():
            leaf = _leaf(entry)
            if isinstance(leaf, (np.ndarray, Tensor)):
                leaves[name] = leaf
            elif isinstance(leaf, (Opaque, PlainArray)):
                self.unreadable[name] = leaf.name if isinstance(leaf, Opaque) else "an array of objects"
        return leaves

    def _state_dict(self, value, depth):
        if type(value) is not dict or not depth:
            return None
        entries = _with_text(value)
        if BIG in entries:
            raise UnreadableWeights(
                "it holds tensors above 1 GB in Paddle's split form: save them with paddle.save(..., protocol=4)"
            )
        for place in PLACES:
            inner = self._state_dict(entries.get(place), depth - 1)
            if inner is not None:
                if "ema" in place.split("_"):
                    self.notes.append(f"these are the averaged weights, {place!r}: the file has no others")
                return inner
        return value if any(isinstance(_leaf(entry), (np.ndarray, Tensor)) for entry in value.values()) else None


def _leaf(entry):
    """The array or Tensor in an entry of a state_dict (a stand-in, or Paddle's (name, array)); else the entry itself."""
    if type(entry) is tuple and len(entry) == 2 and isinstance(entry[0], (str, bytes)):
        entry = entry[1]
    return entry.array if isinstance(entry, PlainArray) and entry.array is not None else entry


def _with_text(entries):
    return {
        key.decode("latin-1") if isinstance(key, bytes) else key: value
        for key, value in entries.items()
        if isinstance(key, (str, bytes))
    }


def _described(value):
    if isinstance(value, Opaque):
        return f"an object of {value.name[:60].replace(' ', '.')!r}"
    if type(value) is dict:
        kinds = [
            f"{named(k[:30])} ({_described(v) if isinstance(v, Opaque) else type(v).__name__})"
            for k, v in _with_text(value).items()
        ]
        return f"a dict of {', '.join(kinds[:5]) or 'nothing'}"
    return f"a {type(value).__name__}"


def _read_safetensors(file, length):
    """The Weights in a safetensors file with a JSON header of ``length`` bytes.

    The library checks the header: types, shapes, and that every byte belongs to one tensor.
    """
    with safe_open(file.name, framework="np") as stored:
        metadata, names = stored.metadata() or {}, list(stored.keys())
        own = "header" in metadata  # a checkpoint of this toolkit
        if own:
            check_format(_header_of(metadata).get("format"), FORMAT, file.name)
        wanted = [name for name in names if not own or name.startswith(OWN)]
        header = json.loads(file.read(8 + length)[8:])
        arrays, unreadable = {}, {}
        for name in wanted:
            kind = header[name]["dtype"]
            if kind == "BF16":
                # uint16 [count] -> float32 [count] -> the tensor's shape
                arrays[name] = widened(_raw(file, 8 + length, header[name])).reshape(header[name]["shape"])
            elif kind in READABLE:
                arrays[name] = stored.get_tensor(name)
            else:
                unreadable[name] = f"a tensor of type {kind}, which numpy lacks"
    if own:
        arrays = {name[len(OWN) :]: array for name, array in arrays.items()}
    if not arrays:
        raise UnreadableWeights("it holds no tensors of a network")
    return Weights(arrays, _framework(metadata, arrays), unreadable)


def _header_of(metadata):
    try:
        header = json.loads(metadata["header"])
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a dict")
    return header


def _raw(file, start, entry):
    first, end = entry["data_offsets"]
    file.seek(start + first)
    return np.frombuffer(file.read(end - first), "<u2")


def _framework(metadata, names):
    """Which framework wrote a safetensors file, from its metadata or else from the names of the running statistics."""
    endings = {name.rpartition(".")[2] for name in names}
    if metadata.get("format") in ("pt", "pd"):
        return {"pt": "torch", "pd": "paddle"}[metadata["format"]]
    if endings & {"running_mean", "running_var"}:
        return "torch"
    if endings & {"_mean", "_variance"}:
        return "paddle"
    raise UnreadableWeights(
        'it does not say which layout it has: save it with metadata={"format": "pt"} (PyTorch) or "pd" (Paddle)'
    )


def _without_prefixes(weights):
    """The weights without PREFIXES before the names."""
    arrays, unreadable = weights.arrays, weights.unreadable
    for prefix in PREFIXES * 2:
        if arrays and all(name.startswith(prefix) for name in arrays):
            arrays = {name[len(prefix) :]: array for name, array in arrays.items()}
            unreadable = {name.removeprefix(prefix): why for name, why in unreadable.items()}
    return weights._replace(arrays=arrays, unreadable=unreadable)

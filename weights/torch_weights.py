"""Reads PyTorch's checkpoints without PyTorch, and without running the code that they name.

Since version 1.6 torch.save writes an uncompressed zip archive: ``NAME/data.pkl``, a pickle of the object, where each tensor is
a call of torch._utils._rebuild_tensor_v2 with a storage, an offset, sizes and strides; and for each storage ``NAME/data/KEY``,
its raw bytes. Older versions wrote one pickle after another (a magic number, a version, the machine's sizes, the object, the
keys of the storages), then the storages. Here each tensor in the pickle becomes a ``Tensor``; only the values of wanted tensors
are read.
"""

import dataclasses
import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Union

import numpy as np

from messages.quoting import named, quoted
from pickles.pickled_arrays import ARRAY_NAMES, BUFFER_NAMES, PlainPickleError, text_of
from pickles.plain_pickle import Language, Opaque, read_plain_pickle

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
TORCH_SCRIPT = "a TorchScript archive, which holds code: in PyTorch, save torch.jit.load(FILE).state_dict()"
MAX_DIMENSIONS = 8
MAX_ENTRIES = 100_000  # of a zip archive, with one per storage
BIG_ENDIAN = "written on a big-endian machine, which is not supported: load it and save it again on another machine"
BFLOAT16 = "bfloat16"
STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": BFLOAT16, "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1",
    "ComplexFloatStorage": "<c8", "ComplexDoubleStorage": "<c16", "QInt8Storage": "|i1", "QUInt8Storage": "|u1",
    "QInt32Storage": "<i4",
}  # fmt: skip
"""Class of a storage in torch -> the type of its values."""


class UnreadableWeights(ValueError):
    """Weights of an unsupported kind; the message is the reason and the remedy."""


class DamagedWeights(ValueError):
    """Weights that contradict themselves; the message is only the reason."""


@dataclass(frozen=True)
class Storage:
    """``count`` values of type ``kind`` in the file under ``key``; a view on it begins at the value ``start``."""

    key: str
    kind: str
    count: int
    start: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * (2 if self.kind == BFLOAT16 else np.dtype(self.kind).itemsize)


@dataclass(frozen=True)
class Tensor:
    """A tensor as the pickle describes it, unchecked: its start in the storage, shape and strides, counted in values."""

    storage: Storage
    start: Any
    shape: Any
    strides: Any


@dataclass(frozen=True)
class _StorageClass:
    kind: str


def widened(values: np.ndarray) -> np.ndarray:
    """float32 values of bfloat16 values, given as uint16 of any shape: their bits are the upper half of a float32's."""
    return (values.astype("<u4") << 16).view("<f4")


def _storage(identity):
    """The Storage of a persistent id ("storage", class, key, device, count[, (key of a view, start, count)])."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or text_of(identity[0]) != "storage":
        return Opaque("a persistent object")  # in the old format also a class with its source
    kind, key, count = identity[1], text_of(identity[2]), identity[4]
    if isinstance(kind, Opaque):
        return kind  # of a type that numpy lacks; an error only if such a tensor is wanted
    if not isinstance(kind, _StorageClass) or type(count) is not int or not 0 <= count < 2**63:
        raise PlainPickleError("a storage without a type or a size")
    view = identity[5] if len(identity) == 6 else None
    if view is None:
        return Storage(key, kind.kind, count)
    if type(view) is not tuple or len(view) != 3 or type(view[1]) is not int or view[1] < 0:
        raise PlainPickleError("a view of a storage without a place")
    return Storage(key, kind.kind, count, view[1])


def _tensor(_machine, storage, start, shape, strides, *_gradient_and_hooks):
    """Stands in for torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    if not isinstance(storage, Storage):  # a storage of a type that numpy lacks, or something else
        return storage if isinstance(storage, Opaque) else Opaque("torch.Tensor")
    return Tensor(storage, start, shape, strides)


def _parameter(_machine, tensor, *_gradient_and_hooks):
    """Stands in for torch._utils._rebuild_parameter, which wraps a tensor."""
    return tensor


def _tensor_with_attributes(machine, function, _class, arguments, *_state):
    """Stands in for torch._tensor._rebuild_from_type_v2, which calls one of these functions."""
    return function(machine, *arguments) if function in (_tensor, _parameter) else Opaque("torch.Tensor")


def _dict(machine, pairs=()):
    """Stands in for dict, OrderedDict and defaultdict; Python 2 wrote a list of pairs."""
    made, items = {}, [part for pair in (pairs if isinstance(pairs, list) else ()) for part in pair]
    machine.push(made)
    machine.set_items(items)
    return machine.pop()


def _sequence(_machine, items=()):
    """Stands in for tuple, list, set and torch.Size."""
    return tuple(items) if isinstance(items, (list, tuple)) else Opaque("sequence")


def _evaluated(_machine, expression, names):
    """Stands in for eval, which Paddle's pickles of static programs call as eval("data", {"data": array})."""
    return names["data"] if expression == "data" and type(names) is dict and "data" in names else Opaque("builtins eval")


_BUILTINS = {
    "eval": _evaluated, "dict": _dict, **dict.fromkeys(("tuple", "list", "set", "frozenset"), _sequence),
}  # fmt: skip
LANGUAGE = Language(
    {
        **ARRAY_NAMES,
        **BUFFER_NAMES,
        **{f"{module} {name}": stand_in for module in ("builtins", "__builtin__") for name, stand_in in _BUILTINS.items()},
        **{f"torch {name}": _StorageClass(kind) for name, kind in STORAGES.items()},
        "torch.storage UntypedStorage": _StorageClass("|u1"),
        "collections OrderedDict": _dict,
        "collections defaultdict": _dict,
        "torch Size": _sequence,
        "torch._utils _rebuild_tensor": _tensor,
        "torch._utils _rebuild_tensor_v2": _tensor,
        "torch._utils _rebuild_parameter": _parameter,
        "torch._utils _rebuild_parameter_with_state": _parameter,
        "torch._tensor _rebuild_from_type_v2": _tensor_with_attributes,
    },
    tolerant=True,
    persistent=_storage,
)
"""Pickles of PyTorch and of Paddle: arrays, containers and tensors; everything else in a checkpoint is opaque."""

Leaves = Mapping[str, Union[Tensor, np.ndarray]]
Choose = Callable[[Any], Leaves]
"""From the unpickled object to the wanted tensors and arrays."""


def read_zip(file: BinaryIO, choose: Choose) -> dict[str, np.ndarray]:
    """{name: array} of the tensors that ``choose`` selects, from a file in the format since PyTorch 1.6.

    Raises UnreadableWeights, DamagedWeights, PlainPickleError or zipfile.BadZipFile; each message is only the reason.
    """
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = _checked_entries(archive, size)
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UnreadableWeights(
                "a zip archive, but not from torch.save: it has no data.pkl; if it contains the weights, unpack it"
            )
        root = pickles[0][: -len("data.pkl")]
        if root + "constants.pkl" in entries or any(name.startswith(root + "code/") for name in entries):
            raise UnreadableWeights(TORCH_SCRIPT)
        if root + "byteorder" in entries and archive.read(entries[root + "byteorder"]) != b"little":
            raise UnreadableWeights(BIG_ENDIAN)
        leaves = choose(read_plain_pickle(archive.read(entries[pickles[0]]), LANGUAGE))
        contents = {}
        for key, storage in _storages(leaves).items():
            entry = entries.get(f"{root}data/{key}")
            if entry is None or entry.file_size != storage.size:
                found = "it is missing" if entry is None else f"there are {entry.file_size:,}"
                raise DamagedWeights(f"storage {key[:40]!r} should have {storage.size:,} bytes, but {found}")
            contents[key] = archive.read(entry)
    return _arrays(leaves, contents)


def _checked_entries(archive, size):
    """{name: entry} of an archive in a file of ``size`` bytes; raises an error unless torch.save can have written it."""
    entries, listed = {}, archive.infolist()
    if any(entry.filename.endswith("/constants.pkl") for entry in listed):
        raise UnreadableWeights(TORCH_SCRIPT)
    for entry in listed:
        name = entry.filename
        if entry.flag_bits & 1:
            raise UnreadableWeights(
                f"its entry {name[:60]!r} is encrypted, which torch.save never does; if it contains weights, unpack it"
            )
        if entry.compress_type != zipfile.ZIP_STORED:
            raise UnreadableWeights(
                f"its entry {name[:60]!r} is compressed, which torch.save never does; if it contains weights, unpack it"
            )
        if entry.compress_size != entry.file_size:
            raise DamagedWeights(f"its entry {name[:60]!r} has two different sizes")
        if name in entries or name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise DamagedWeights(f"its entry {name[:60]!r} appears twice or leads outside, unlike any from torch.save")
        entries[name] = entry
    if len(listed) > MAX_ENTRIES or sum(entry.file_size for entry in listed) > size:
        raise DamagedWeights("a zip archive with more entries than fit into the file: it is cut short, or they overlap")
    return entries


def read_legacy(file: BinaryIO, choose: Choose) -> dict[str, np.ndarray]:
    """Like ``read_zip``, for the format before PyTorch 1.6; ``file`` stands after the magic number."""
    version, machine = read_plain_pickle(file, LANGUAGE), read_plain_pickle(file, LANGUAGE)
    if version != VERSION or type(machine) is not dict:
        raise UnreadableWeights("an unknown version of PyTorch's old format: load it and save it again in PyTorch")
    if {text_of(key): value for key, value in machine.items()}.get("little_endian") is not True:
        raise UnreadableWeights(BIG_ENDIAN)
    seen = []

    def remember(identity):
        seen.append(_storage(identity))
        return seen[-1]

    leaves = choose(read_plain_pickle(file, dataclasses.replace(LANGUAGE, persistent=remember)))
    known, wanted = _by_key(storage for storage in seen if isinstance(storage, Storage)), _storages(leaves)
    keys, contents = read_plain_pickle(file, LANGUAGE), {}
    place = file.tell()
    end = file.seek(0, io.SEEK_END)
    for key in map(text_of, keys if isinstance(keys, list) else ()):
        file.seek(place)
        storage, count = known.get(key), int.from_bytes(file.read(8), "little")
        if storage is None or count != storage.count:
            expected = "a type that numpy has" if storage is None else f"{storage.count:,} values"
            raise DamagedWeights(f"storage {key[:40]!r} of {count:,} values should have {expected}")
        if place + 8 + storage.size > end:
            raise DamagedWeights(
                f"cut short: storage {key[:40]!r} ends {place + 8 + storage.size - end:,} bytes after the file's end"
            )
        if key in wanted:
            contents[key] = file.read(storage.size)
        place += 8 + storage.size
    return _arrays(leaves, contents)


def _by_key(storages):
    """{key: storage}, ignoring views; raises DamagedWeights if two with the same key differ."""
    found = {}
    for storage in storages:
        first = found.setdefault(storage.key, storage)
        if (first.kind, first.count) != (storage.kind, storage.count):
            raise DamagedWeights(f"storage {storage.key[:40]!r} has two different sizes or types")
    return found


def _storages(leaves):
    return _by_key(leaf.storage for leaf in leaves.values() if isinstance(leaf, Tensor))


def _arrays(leaves, contents):
    """The leaves as arrays; ``contents``: {key of a storage: its bytes}."""
    values = {}
    for key, storage in _storages(leaves).items():
        if key not in contents:
            raise DamagedWeights(f"cut short: storage {key[:40]!r} is missing")
        raw = np.frombuffer(contents[key], "<u2" if storage.kind == BFLOAT16 else storage.kind)
        values[key] = widened(raw) if storage.kind == BFLOAT16 else raw
    return {
        name: _view(name, leaf, values[leaf.storage.key]) if isinstance(leaf, Tensor) else leaf for name, leaf in leaves.items()
    }


def _view(name, tensor, values):
    """The array of ``tensor``, a view on its storage's ``values`` [count]; raises DamagedWeights if it does not fit in them."""
    name, shape, strides = named(name), tensor.shape, tensor.strides
    numbers = (tensor.start, *shape, *strides) if type(shape) is type(strides) is tuple else (None,)
    if any(type(number) is not int for number in numbers) or len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise DamagedWeights(f"{name}: its start, shape or strides are not whole numbers, one of each per dimension")
    if min(shape, default=1) < 1:
        raise DamagedWeights(f"{name}: its shape {quoted(shape)} holds no values")
    layout = f"its shape {quoted(shape)} with strides {quoted(strides)}"
    steps = [(side - 1, stride) for side, stride in zip(shape, strides) if side > 1]
    if any(stride < 1 for _, stride in steps) or math.prod(shape) > len(values):
        raise DamagedWeights(f"{name}: {layout} repeats values of its storage of {len(values):,}")
    start = tensor.start + tensor.storage.start
    if tensor.start < 0 or start + sum(count * stride for count, stride in steps) >= len(values):
        raise DamagedWeights(f"{name}: {layout} reaches outside its storage of {len(values):,}")
    # the stride of a side of one does not matter and may be anything
    in_bytes = [stride * values.itemsize if side > 1 else 0 for side, stride in zip(shape, strides)]
    return np.lib.stride_tricks.as_strided(values[start:], shape, in_bytes, writeable=False)

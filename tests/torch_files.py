"""Checkpoints as torch.save writes them, from numpy arrays, in both formats; and pickles that ask for anything."""

import pickle
import struct
import zipfile
from typing import NamedTuple

import numpy as np

STORAGES = {
    "f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "i4": "IntStorage",
    "i2": "ShortStorage", "i1": "CharStorage", "u1": "ByteStorage", "b1": "BoolStorage",
}  # fmt: skip


class Global(NamedTuple):
    """A name that a pickle asks for, such as Global("posix", "system")."""

    module: str
    name: str


class Call(NamedTuple):
    """A call of ``function``, a Global, with ``arguments``; ``state``: what is set on the result."""

    function: object
    arguments: tuple
    state: object = None


class Tensor(NamedTuple):
    """A tensor in a storage of the file; ``None``: as ``values`` has it."""

    values: np.ndarray
    kind: str = None
    start: int = 0
    shape: object = None
    strides: object = None
    count: int = None
    key: str = None
    view: tuple = None  # of its storage, as the old format has it: (key, start, count)


class Persistent(NamedTuple):
    """An object that the file keeps outside of its pickle."""

    identity: tuple


def bfloat16(values):
    """A Tensor of the upper halves of the float32 ``values``."""
    return Tensor((np.asarray(values, "f4").view("u4") >> 16).astype("u2"), kind="BFloat16Storage")


def pickled(value) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value):
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        state = b"" if value.state is None else _opcodes(value.state) + b"b"
        return _opcodes(value.function) + _opcodes(value.arguments) + b"R" + state
    if isinstance(value, Persistent):
        return _opcodes(value.identity) + b"Q"
    if isinstance(value, int):
        return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, (tuple, list)):
        inside = b"".join(map(_opcodes, value))
        return b"(" + inside + b"t" if isinstance(value, tuple) else b"](" + inside + b"e"
    if isinstance(value, np.ndarray):
        return pickle.dumps(value, protocol=2)[2:-1]
    return b"}(" + b"".join(_opcodes(part) for item in value.items() for part in item) + b"u"


def state_dict(entries) -> Call:
    """An OrderedDict with ``_metadata``, as a state_dict is."""
    return Call(Global("collections", "OrderedDict"), (list(map(list, entries.items())),), {"_metadata": {"": {"version": 1}}})


class _Storages:
    """Numbers the storages of tensors and puts calls that rebuild these into their places."""

    def __init__(self, in_zip):
        self.in_zip, self.values = in_zip, {}

    def place(self, value):
        if isinstance(value, np.ndarray):
            value = Tensor(value)
        if isinstance(value, dict):
            return {key: self.place(part) for key, part in value.items()}
        if isinstance(value, (Global, Persistent)) or not isinstance(value, (tuple, list)):
            return value
        if isinstance(value, Call):
            return Call(value.function, self.place(value.arguments), value.state)
        if not isinstance(value, Tensor):
            return type(value)(map(self.place, value))
        values = value.values
        key = value.key or str(len(self.values))
        self.values[key] = values
        kind = value.kind or STORAGES[values.dtype.str[1:]]
        count = values.size if value.count is None else value.count
        view = () if self.in_zip else (value.view,)
        storage = Persistent(("storage", Global("torch", kind), key, "cpu", count, *view))
        shape = values.shape if value.shape is None else value.shape
        strides = tuple(step // values.itemsize for step in values.strides) if value.strides is None else value.strides
        hooks = Call(Global("collections", "OrderedDict"), ())
        return Call(Global("torch._utils", "_rebuild_tensor_v2"), (storage, value.start, shape, strides, False, hooks))


def write_zip(path, value, root="archive", compression=zipfile.ZIP_STORED, extra=()):
    """Write ``value``, with arrays and Tensors in it, in the format since PyTorch 1.6; ``extra``: (name, bytes) besides."""
    storages = _Storages(in_zip=True)
    data = pickled(storages.place(value))
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", data)
        archive.writestr(f"{root}/byteorder", "little")
        for key, values in storages.values.items():
            archive.writestr(f"{root}/data/{key}", values.ravel("K").tobytes())
        archive.writestr(f"{root}/version", "3\n")
        for name, content in extra:
            archive.writestr(name, content)
    return path


def write_legacy(path, value):
    """As ``write_zip``, in the format before."""
    storages = _Storages(in_zip=False)
    data = pickled(storages.place(value))
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled(machine), data, pickled(list(storages.values))]
    for values in storages.values.values():
        parts += [struct.pack("<q", values.size), values.ravel("K").tobytes()]
    path.write_bytes(b"".join(parts))
    return path

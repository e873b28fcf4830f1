"""What stands for numpy while a pickle is read (plain_pickle.py): arrays are made of a pickle's bytes after checks, by no code
of numpy's that trusts what a pickle says."""

import math

import numpy as np

from messages.quoting import quoted

ARRAY_TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class PlainPickleError(ValueError):
    """No whole pickle of plain data; the message is the reason alone."""


class PlainArray:
    """Stands in for numpy.ndarray: after its state was set, ``array`` is a read-only array.

    It stays None where a tolerant language does not know the type, such as that of Python objects.
    """

    def __init__(self, language):
        self.array, self.language = None, language

    def set_state(self, state):
        _version, shape, kind, fortran_order, content = state
        tolerant = self.language.tolerant
        if tolerant and isinstance(kind, ArrayType) and kind.name not in self.language.arrays:
            return
        if not isinstance(kind, ArrayType) or kind.name not in self.language.arrays or (fortran_order and not tolerant):
            raise PlainPickleError("an array that is not of uint8 in C order")
        self.array = _filled(kind, shape, content, "F" if fortran_order else "C", self.language.dimensions)


def text_of(value) -> str:
    """Text as Python 3 has it: Python 2's comes as bytes. Anything else raises PlainPickleError."""
    if not isinstance(value, (bytes, str)):
        raise PlainPickleError("something else where a name belongs")
    return value.decode("latin-1") if isinstance(value, bytes) else value


class ArrayType:
    """Stands in for numpy.dtype."""

    def __init__(self, name):
        self.name, self.order = text_of(name), "|"

    def set_state(self, state):
        """Takes the byte order; the rest tells of fields, of which no type in ARRAY_TYPES has any."""
        self.order = text_of(state[1])
        if self.order not in ("<", ">", "|", "="):
            raise PlainPickleError("a type of no byte order")

    def dtype(self):
        return np.dtype(self.order.replace("|", "<") + self.name)


def _filled(kind, shape, content, order, most_dimensions):
    """The array of ``shape`` with ``content`` (bytes); raises PlainPickleError where they do not fit."""
    sides = shape if isinstance(shape, tuple) else (None,)
    if len(sides) > most_dimensions or not all(type(side) is int and side >= 0 for side in sides):
        raise PlainPickleError(f"an array whose shape is not made of at most {most_dimensions} numbers")
    dtype = kind.dtype()
    if not isinstance(content, (bytes, bytearray)) or len(content) != math.prod(shape) * dtype.itemsize:
        raise PlainPickleError(f"an array of shape {quoted(shape)} whose content is of another size")
    array = np.frombuffer(content, dtype).reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _array(machine, _subclass, _shape, _kind):
    """Stands in for numpy's _reconstruct: an empty array, whose state follows."""
    return PlainArray(machine.language)


def _array_of_buffer(machine, content, kind, shape, order):
    """Stands in for numpy's _frombuffer, with which protocol 5 writes arrays."""
    array = PlainArray(machine.language)
    array.set_state((1, shape, kind, order == "F", content))
    return array


def _type(_machine, name, *_align_and_copy):
    return ArrayType(name)


def _encode(machine, text, encoding):
    """Stands in for _codecs.encode: how Python 3 writes bytes in protocol 2."""
    machine.bytes_left -= len(text)
    if encoding != "latin1" or machine.bytes_left < 0:
        raise PlainPickleError("it encodes text otherwise than bytes need")
    return text.encode("latin-1")


def _no_bytes(_machine):
    """Stands in for bytes: how Python 3 writes empty ones in protocol 2."""
    return b""


ARRAY_NAMES = {
    "numpy ndarray": object(),  # only named, never called
    "numpy dtype": _type,
    "numpy.core.multiarray _reconstruct": _array,
    "numpy._core.multiarray _reconstruct": _array,
    "_codecs encode": _encode,
    "__builtin__ bytes": _no_bytes,
}
BUFFER_NAMES = dict.fromkeys(("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"), _array_of_buffer)

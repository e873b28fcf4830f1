"""Stand-ins for numpy's functions while plain_pickle.py reads a pickle.

numpy's own functions trust a pickle; these make arrays of its bytes only after they have checked type, shape and size.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from messages.quoting import quoted

if TYPE_CHECKING:
    from pickles.plain_pickle import Language

ARRAY_TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class PlainPickleError(ValueError):
    """A pickle that is incomplete or does not hold plain data; the message is only the reason."""


class PlainArray:
    """Stands in for numpy.ndarray: ``set_state`` sets ``array``, which is read-only.

    ``array`` stays None if a tolerant language does not know the type, such as that of Python objects.
    """

    def __init__(self, language: "Language"):
        self.array: Optional[np.ndarray] = None
        self.language = language

    def set_state(self, state: Sequence[Any]) -> None:
        """Make the array from ``state`` (version, shape, type, whether in Fortran order, bytes); raises PlainPickleError."""
        _version, shape, kind, fortran_order, content = state
        tolerant = self.language.tolerant
        if tolerant and isinstance(kind, ArrayType) and kind.name not in self.language.arrays:
            return
        if not isinstance(kind, ArrayType) or kind.name not in self.language.arrays or (fortran_order and not tolerant):
            raise PlainPickleError("an array that is not of uint8 in C order")
        self.array = _filled(kind, shape, content, "F" if fortran_order else "C", self.language.dimensions)


def text_of(value: object) -> str:
    """``value`` as str; Python 2 pickled text as bytes. Raises PlainPickleError for anything else."""
    if not isinstance(value, (bytes, str)):
        raise PlainPickleError("something else in the place of a name")
    return value.decode("latin-1") if isinstance(value, bytes) else value


class ArrayType:
    """Stands in for numpy.dtype."""

    def __init__(self, name: object):
        self.name, self.order = text_of(name), "|"

    def set_state(self, state: Sequence[Any]) -> None:
        """Set the byte order; the rest of ``state`` describes fields, which no type in ARRAY_TYPES has."""
        self.order = text_of(state[1])
        if self.order not in ("<", ">", "|", "="):
            raise PlainPickleError("a type without a known byte order")

    def dtype(self) -> np.dtype:
        """numpy's own type."""
        return np.dtype(self.order.replace("|", "<") + self.name)


def _filled(kind, shape, content, order, max_dimensions):
    """The array of ``shape`` with ``content`` (bytes); raises PlainPickleError if they do not fit."""
    sides = shape if isinstance(shape, tuple) else (None,)
    if len(sides) > max_dimensions or not all(type(side) is int and side >= 0 for side in sides):
        raise PlainPickleError(f"an array whose shape is not a tuple of at most {max_dimensions} numbers")
    dtype = kind.dtype()
    if not isinstance(content, (bytes, bytearray)) or len(content) != math.prod(shape) * dtype.itemsize:
        raise PlainPickleError(f"an array of shape {quoted(shape)} whose content has another size")
    array = np.frombuffer(content, dtype).reshape(shape, order=order)  # [bytes / itemsize] -> shape
    array.flags.writeable = False
    return array


def _array(machine, _subclass, _shape, _kind):
    """Stands in for numpy's _reconstruct: an empty array; its state follows in the pickle."""
    return PlainArray(machine.language)


def _array_of_buffer(machine, content, kind, shape, order):
    """Stands in for numpy's _frombuffer, which protocol 5 uses for arrays."""
    array = PlainArray(machine.language)
    array.set_state((1, shape, kind, order == "F", content))
    return array


def _type(_machine, name, *_align_and_copy):
    return ArrayType(name)


def _encode(machine, text, encoding):
    """Stands in for _codecs.encode, which Python 3 uses for bytes in protocol 2."""
    machine.bytes_left -= len(text)
    if encoding != "latin1" or machine.bytes_left < 0:
        raise PlainPickleError("it encodes text in another way than pickled bytes need")
    return text.encode("latin-1")


def _no_bytes(_machine):
    """Stands in for bytes, which Python 3 uses for empty bytes in protocol 2."""
    return b""


ARRAY_NAMES = {
    "numpy ndarray": object(),  # pickles name it but never call it
    "numpy dtype": _type,
    "numpy.core.multiarray _reconstruct": _array,
    "numpy._core.multiarray _reconstruct": _array,
    "_codecs encode": _encode,
    "__builtin__ bytes": _no_bytes,
}
BUFFER_NAMES = dict.fromkeys(("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"), _array_of_buffer)

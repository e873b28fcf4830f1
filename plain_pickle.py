"""Reads pickles of plain data without running any code that they may name.

``pickle.load`` imports and calls whatever a file asks for. Here pickletools takes the file apart into its opcodes, which runs
nothing, and only those are obeyed that plain data need: numbers, text, bytes, lists, tuples, dicts and arrays of uint8, as
Python 2 and 3 write them with protocol 2. Of the functions that an array's pickle names none is imported, numpy's own neither,
which trust what they are told about types; stand-ins keep what the pickle says, and the array is made after checks.
"""

import math
import pickletools

import numpy as np

MOST_OPCODES = 1_000_000
"""More than ten times as many as the largest of CIFAR-10's pickles has: a bound on what a hostile file can build."""


class PlainPickleError(ValueError):
    """No whole pickle of plain data; the message is the reason alone."""


class PlainArray:
    """Stands in for numpy.ndarray: after its state was set, ``array`` is a read-only uint8 array."""

    def __init__(self):
        self.array = None

    def set_state(self, state):
        _version, shape, kind, fortran_order, content = state
        if not isinstance(kind, _Type) or kind.name != "u1" or fortran_order:
            raise PlainPickleError("an array that is not of uint8 in C order")
        if not (isinstance(shape, tuple) and len(shape) <= 4 and all(type(side) is int and side >= 0 for side in shape)):
            raise PlainPickleError("an array whose shape is not made of at most four numbers")
        if not isinstance(content, bytes) or len(content) != math.prod(shape):
            raise PlainPickleError(f"an array of shape {shape} whose content is of another size")
        self.array = np.frombuffer(content, dtype=np.uint8).reshape(shape)


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, name):
        self.name = name.decode("latin-1") if isinstance(name, bytes) else name

    def set_state(self, state):
        """Does nothing: the state tells byte order and fields, of which uint8 has none."""


def read_plain_pickle(data):
    """The value that the pickle ``data`` (bytes) holds; text of Python 2 comes as bytes, an array as a PlainArray.

    Raises PlainPickleError for anything but plain data, with nothing imported or called, and for a pickle that is cut short.
    """
    machine = _Machine(len(data))
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MOST_OPCODES:
                raise PlainPickleError(f"more than {MOST_OPCODES:,} opcodes")
            if opcode.name == "STOP":
                return machine.pop()
            step = _STEPS.get(opcode.name)
            if step is None:
                raise PlainPickleError(f"the opcode {opcode.name}, which plain data do not need")
            step(machine, argument)
    except PlainPickleError:
        raise
    except Exception as error:  # whatever a damaged file brings about in pickletools or on the stack
        raise PlainPickleError(f"damaged: {str(error)[:100] or type(error).__name__}") from None
    raise PlainPickleError("damaged: it has no end")


class _Machine:
    """The stack on which a pickle builds its value."""

    def __init__(self, size):
        self.stack, self.marks, self.memo = [], [], {}
        self.bytes_left = size  # text made into bytes anew cannot be longer than the file, unless it was multiplied

    def push(self, value):
        self.stack.append(value)

    def pop(self):
        return self.stack.pop()

    def pop_to_mark(self):
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def pop_last(self, count):
        items = self.stack[-count:]
        if len(items) < count:
            raise IndexError("a tuple of values that are not there")
        del self.stack[-count:]
        return tuple(items)

    def mark(self, _):
        self.marks.append(len(self.stack))

    def append(self, items):
        if type(self.stack[-1]) is not list:
            raise TypeError("an item for something that is no list")
        self.stack[-1].extend(items)

    def set_items(self, items):
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2]):
            # no numbers: their hashes are known, and a dict of a million with the same one would take hours
            if type(target) is not dict or type(key) not in (bytes, str):
                raise TypeError("a key that is no text, or not of a dict")
            target[key] = value

    def remember(self, place):
        self.memo[place] = self.stack[-1]

    def stand_in(self, name):
        if name not in _STAND_INS:
            raise PlainPickleError(f"it asks for {name[:60]!r}, which plain data do not need; nothing of it was run")
        self.push(_STAND_INS[name])

    def call(self, _):
        function, arguments = self.pop_last(2)
        if not any(function is known for known in _STAND_INS.values()):
            raise PlainPickleError("it calls what is no function")
        self.push(function(self, *arguments))

    def build(self, _):
        state = self.pop()
        if not isinstance(self.stack[-1], (PlainArray, _Type)):
            raise PlainPickleError("it sets the state of something that is no array")
        self.stack[-1].set_state(state)


def _array(_machine, _subclass, _shape, _kind):
    """Stands in for numpy's _reconstruct: an empty array, whose state follows."""
    return PlainArray()


def _type(_machine, name, _align, _copy):
    return _Type(name)


def _encode(machine, text, encoding):
    """Stands in for _codecs.encode: how Python 3 writes bytes in protocol 2."""
    machine.bytes_left -= len(text)
    if encoding != "latin1" or machine.bytes_left < 0:
        raise PlainPickleError("it encodes text otherwise than bytes need")
    return text.encode("latin-1")


def _no_bytes(_machine):
    """Stands in for bytes: how Python 3 writes empty ones in protocol 2."""
    return b""


_STAND_INS = {
    "numpy ndarray": object(),  # only named, never called
    "numpy dtype": _type,
    "numpy.core.multiarray _reconstruct": _array,
    "numpy._core.multiarray _reconstruct": _array,
    "_codecs encode": _encode,
    "__builtin__ bytes": _no_bytes,
}

_LITERALS = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE")
_STEPS = {
    **dict.fromkeys(_LITERALS, _Machine.push),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), lambda machine, text: machine.push(text.encode("latin-1"))),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
    "PROTO": lambda machine, version: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": _Machine.mark,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push(machine.pop_last(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.pop_last(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.pop_last(3)),
    "APPEND": lambda machine, _: machine.append(machine.pop_last(1)),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop_last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": _Machine.stand_in,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}

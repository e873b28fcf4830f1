"""Reads pickles without running the code that they name.

``pickle.load`` imports and calls whatever a file asks for. Here pickletools identifies each opcode and reads its argument, but
runs nothing, and a small stack machine executes the opcodes that data need. It imports none of the functions that a pickle
names, not even numpy's, which trust a pickle's types: stand-ins record the arguments, check them and make the arrays.

A ``Language`` defines which opcodes, functions and arrays are allowed. ``PLAIN`` has numbers, text, bytes, lists, tuples, dicts
and arrays of uint8, as Python 2 and 3 write them with protocol 2, and refuses everything else. A tolerant language reads
protocols 2 to 5 and replaces whatever it does not know by an ``Opaque``.
"""

import io
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Callable, Optional, Union

from pickles.pickled_arrays import ARRAY_NAMES, ARRAY_TYPES, ArrayType, PlainArray, PlainPickleError, text_of

MAX_OPCODES = 1_000_000  # limits what a hostile file can build; CIFAR-10's largest pickle has less than a tenth of them
MAX_LINE = 1000  # bytes; a line holds the name of a module or of a function


_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}


class Opaque:
    """Stands for a value that a tolerant language does not know; calls and changes keep only its ``name``."""

    def __init__(self, name: str):
        self.name = name


@dataclass(frozen=True)
class Language:
    """What a pickle may hold.

    ``names``: {"module name": its stand-in}; a call becomes stand_in(machine, *arguments). ``arrays``: the types of arrays, a
    subset of ARRAY_TYPES; ``dimensions``: their maximum number of dimensions. ``tolerant``: see the module. ``persistent``: a
    function from a persistent id to its value.
    """

    names: Mapping[str, Any]
    arrays: tuple[str, ...] = ARRAY_TYPES
    dimensions: int = 8
    tolerant: bool = False
    persistent: Optional[Callable[[Any], Any]] = None
    opcodes: Mapping[str, Callable[["_Machine", Any], Any]] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "opcodes", {**_STEPS, **_TOLERANT_STEPS} if self.tolerant else _STEPS)


def read_plain_pickle(data: Union[bytes, BinaryIO], language: Optional[Language] = None) -> Any:
    """The value in a pickle, with Python 2's text as bytes and arrays as PlainArray.

    ``data``: bytes, or a binary file at the beginning of a pickle, which is left at its end. ``language``: None for PLAIN.
    Imports and calls nothing. Raises PlainPickleError for a pickle that is cut short, damaged or not in this language.
    """
    file: Any = _Bounded(io.BytesIO(data) if isinstance(data, bytes) else data)  # as much of a file as pickletools needs
    machine = _Machine(file.left, language or PLAIN)
    try:
        for _ in range(MAX_OPCODES):
            opcode = _OPCODES.get(file.read(1))
            if opcode is None:
                raise PlainPickleError("damaged: it has no end, or a byte that is not an opcode")
            step = machine.language.opcodes.get(opcode.name)
            if opcode.name == "STOP":
                return machine.pop()
            if step is None:
                raise PlainPickleError(f"the opcode {opcode.name}, which plain data do not need")
            step(machine, opcode.arg and opcode.arg.reader(file))
        raise PlainPickleError(f"more than {MAX_OPCODES:,} opcodes")
    except PlainPickleError:
        raise
    except Exception:  # a damaged file can cause any error in pickletools or on the stack, with texts for programmers
        raise PlainPickleError("damaged: it is cut, or an opcode contradicts those before it") from None


class _Bounded:
    """A binary file that reads at most the bytes that are left, so that a false length allocates nothing."""

    def __init__(self, file):
        self.file, place = file, file.tell()
        self.left = file.seek(0, io.SEEK_END) - place
        file.seek(place)

    def read(self, count):
        content = self.file.read(min(count, self.left))
        self.left -= len(content)
        return content

    def readline(self):
        line = self.file.readline(MAX_LINE)
        self.left -= len(line)
        return line


class _Machine:
    """The stack machine that builds the value of a pickle."""

    def __init__(self, size, language):
        self.stack, self.marks, self.memo, self.language = [], [], {}, language
        self.bytes_left = size  # of text to encode: more than the file holds means that the pickle repeats itself

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
            raise PlainPickleError("damaged: a tuple of missing values")
        del self.stack[-count:]
        return tuple(items)

    def mark(self, _):
        self.marks.append(len(self.stack))

    def append(self, items):
        if isinstance(self.stack[-1], Opaque):
            return
        if type(self.stack[-1]) is not list:
            raise PlainPickleError("damaged: an item for something that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items):
        target = self.stack[-1]
        if isinstance(target, Opaque):
            return
        for key, value in zip(items[::2], items[1::2]):
            # Long numbers can be chosen so that they collide as keys of a dict, which then takes hours to fill
            plain = type(key) in (bytes, str) or (type(key) is int and key.bit_length() <= 64)
            if type(target) is not dict or not (plain or self.language.tolerant):
                raise PlainPickleError("damaged: a key that is neither text nor a number, or not of a dict")
            target[key if plain else Opaque("key")] = value

    def remember(self, place):
        self.memo[place] = self.stack[-1]

    def name(self, name):
        if name in self.language.names:
            self.push(self.language.names[name])
        elif self.language.tolerant:
            self.push(Opaque(name))
        else:
            raise PlainPickleError(f"it asks for {name[:60]!r}, which plain data do not need; nothing of it was run")

    def call(self, _):
        function, arguments = self.pop_last(2)
        if isinstance(function, Opaque):
            return self.push(Opaque(function.name))
        if not any(function is known for known in self.language.names.values()):
            raise PlainPickleError("it calls something that is not a function")
        self.push(function(self, *arguments))

    def build(self, _):
        state = self.pop()
        if isinstance(self.stack[-1], (PlainArray, ArrayType)):
            self.stack[-1].set_state(state)
        elif not self.language.tolerant:
            raise PlainPickleError("it sets the state of something that is not an array")

    def make(self, arguments):
        """Push an Opaque for an object of a class; weights consist of no such objects."""
        thing = arguments[0]
        self.push(thing if isinstance(thing, Opaque) else Opaque("object"))

    def persistent(self, _):
        if self.language.persistent is None:
            raise PlainPickleError("a persistent id, which plain data do not need")
        self.push(self.language.persistent(self.pop()))


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
    "GLOBAL": _Machine.name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}


def _named_on_the_stack(machine, _):
    module, name = machine.pop_last(2)
    machine.name(f"{text_of(module)} {text_of(name)}")


_MORE_LITERALS = (
    "BINFLOAT",
    "LONG4",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
)
_TOLERANT_STEPS = {
    **dict.fromkeys(_MORE_LITERALS, _Machine.push),
    **dict.fromkeys(("FRAME", "READONLY_BUFFER"), lambda machine, _: None),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "STACK_GLOBAL": _named_on_the_stack,
    "INST": lambda machine, name: (machine.pop_to_mark(), machine.push(Opaque(name))),
    "OBJ": lambda machine, _: machine.make(machine.pop_to_mark()),
    "NEWOBJ": lambda machine, _: machine.make(machine.pop_last(2)),
    "NEWOBJ_EX": lambda machine, _: machine.make(machine.pop_last(3)),
    "EMPTY_SET": lambda machine, _: machine.push([]),  # sets hold no weights, so a list will do
    "ADDITEMS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "FROZENSET": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "BINPERSID": _Machine.persistent,
}

PLAIN = Language(ARRAY_NAMES, arrays=("u1",), dimensions=4)

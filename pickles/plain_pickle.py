"""Reads pickles without running any code that they may name.

``pickle.load`` imports and calls whatever a file asks for. Here pickletools tells what each opcode is and reads its argument,
which runs nothing, and a small machine obeys the opcodes that data need. Of the functions that a pickle names none is imported,
numpy's own neither, which trust what they are told about types; stand-ins keep what the pickle says, and arrays are made after
checks. A ``Language`` says which opcodes, functions and arrays there are: ``PLAIN`` knows numbers, text, bytes, lists, tuples,
dicts and arrays of uint8, as Python 2 and 3 write them with protocol 2, and refuses all else; a tolerant one reads protocols 2
to 5 and puts an ``Opaque`` in the place of whatever it does not know.
"""

import io
import pickletools
from dataclasses import dataclass, field

from pickles.pickled_arrays import ARRAY_NAMES, ARRAY_TYPES, ArrayType, PlainArray, PlainPickleError, text_of

MOST_OPCODES = 1_000_000
"""More than ten times as many as the largest of CIFAR-10's pickles has: a bound on what a hostile file can build."""
LONGEST_LINE = 1000  # bytes; the names of a module and of a function stand on lines


class Opaque:
    """Stands for what a tolerant language does not know: whatever is done with it, its ``name`` alone is kept."""

    def __init__(self, name):
        self.name = name


@dataclass(frozen=True)
class Language:
    """What a pickle may hold.

    ``names``: {"module name": what stands for it}; where that can be called, it is, as stand_in(machine, *arguments).
    ``arrays``: the types of arrays, a subset of ARRAY_TYPES; ``dimensions``: the most that they have. ``tolerant``: see the
    module. ``persistent``: a function that gives the value for a persistent id.
    """

    names: dict
    arrays: tuple = ARRAY_TYPES
    dimensions: int = 8
    tolerant: bool = False
    persistent: object = None
    opcodes: dict = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "opcodes", {**_STEPS, **_TOLERANT_STEPS} if self.tolerant else _STEPS)


def read_plain_pickle(data, language=None):
    """The value that a pickle holds; text of Python 2 comes as bytes, an array as a PlainArray.

    ``data``: bytes, or a binary file at the pickle's beginning, which is left at its end. ``language``: None for PLAIN. Raises
    PlainPickleError for a pickle that is cut short, damaged or not of this language, with nothing imported or called.
    """
    file = _Bounded(io.BytesIO(data) if isinstance(data, bytes) else data)
    machine = _Machine(file.left, language or PLAIN)
    try:
        for _ in range(MOST_OPCODES):
            opcode = pickletools.code2op.get(file.read(1).decode("latin-1"))
            if opcode is None:
                raise PlainPickleError("damaged: it has no end, or a byte that is no opcode")
            step = machine.language.opcodes.get(opcode.name)
            if opcode.name == "STOP":
                return machine.pop()
            if step is None:
                raise PlainPickleError(f"the opcode {opcode.name}, which plain data do not need")
            step(machine, opcode.arg and opcode.arg.reader(file))
        raise PlainPickleError(f"more than {MOST_OPCODES:,} opcodes")
    except PlainPickleError:
        raise
    except Exception as error:  # whatever a damaged file brings about in pickletools or on the stack
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise PlainPickleError(f"damaged: {reason}") from None


class _Bounded:
    """A binary file of which nobody asks for more than is left, so that a length that lies allocates nothing."""

    def __init__(self, file):
        self.file, place = file, file.tell()
        self.left = file.seek(0, io.SEEK_END) - place
        file.seek(place)

    def read(self, count):
        content = self.file.read(min(count, self.left))
        self.left -= len(content)
        return content

    def readline(self):
        line = self.file.readline(LONGEST_LINE)
        self.left -= len(line)
        return line


class _Machine:
    """The stack on which a pickle builds its value."""

    def __init__(self, size, language):
        self.stack, self.marks, self.memo, self.language = [], [], {}, language
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
        if isinstance(self.stack[-1], Opaque):
            return
        if type(self.stack[-1]) is not list:
            raise TypeError("an item for something that is no list")
        self.stack[-1].extend(items)

    def set_items(self, items):
        target = self.stack[-1]
        if isinstance(target, Opaque):
            return
        for key, value in zip(items[::2], items[1::2]):
            # Numbers that are long enough can be made to collide as keys of a dict, which then takes hours to fill
            plain = type(key) in (bytes, str) or (type(key) is int and key.bit_length() <= 64)
            if type(target) is not dict or not (plain or self.language.tolerant):
                raise TypeError("a key that is no text or number, or not of a dict")
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
            raise PlainPickleError("it calls what is no function")
        self.push(function(self, *arguments))

    def build(self, _):
        state = self.pop()
        if isinstance(self.stack[-1], (PlainArray, ArrayType)):
            self.stack[-1].set_state(state)
        elif not self.language.tolerant:
            raise PlainPickleError("it sets the state of something that is no array")

    def make(self, arguments):
        """Stands in for an object of a class; nothing that weights are made of is written in this way."""
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
    "EMPTY_SET": lambda machine, _: machine.push([]),  # no weights are in a set: a list does as well
    "ADDITEMS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "FROZENSET": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "BINPERSID": _Machine.persistent,
}

PLAIN = Language(ARRAY_NAMES, arrays=("u1",), dimensions=4)

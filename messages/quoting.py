"""Quotes values and names from strangers' files for error messages: short, printable, on one line."""

import reprlib
from collections.abc import Sequence

MAX_LETTERS = 200  # of a value
MOST = 10  # names in a list
MAX_LETTERS_OF_A_NAME = 600  # the user must find a path again, and paths are long


class _Short(reprlib.Repr):
    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = MAX_LETTERS
        self.maxlevel = 3

    def repr_int(self, x, level):  # Python refuses to write out a long number, or takes long
        return super().repr_int(x, level) if abs(x) < 10**MAX_LETTERS else f"a number of {x.bit_length():,} bits"


_SHORT = _Short()


def quoted(value: object) -> str:
    """``repr(value)``, shortened if it is long, deeply nested or has many parts."""
    text = _SHORT.repr(value)
    return text if len(text) <= 2 * MAX_LETTERS else f"{text[:MAX_LETTERS]}...{text[-MAX_LETTERS:]}"


def named(name: object) -> str:
    """A name or path as text; like ``quoted`` if it is too long or not printable on one line."""
    text = str(name)
    return text if text.isprintable() and len(text) <= MAX_LETTERS_OF_A_NAME else quoted(text)


def listed(names: Sequence[object]) -> str:
    """The first MOST names and how many there are besides; "none" if there are none."""
    if not names:
        return "none"
    more = f" and {len(names) - MOST:,} more" if len(names) > MOST else ""
    return ", ".join(map(named, names[:MOST])) + more

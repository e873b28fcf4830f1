"""Values and names from files of others, as the one line of an error can take them: short, printable, on one line."""

import reprlib

MAX_LETTERS = 200  # of a value
MAX_LETTERS_OF_A_NAME = 600  # paths are long, and to be found again


class _Short(reprlib.Repr):
    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = MAX_LETTERS
        self.maxlevel = 3

    def repr_int(self, x, level):  # which Python would refuse, or take long, to write out
        return super().repr_int(x, level) if abs(x) < 10**MAX_LETTERS else f"a number of {x.bit_length():,} bits"


_SHORT = _Short()


def quoted(value: object) -> str:
    """``repr(value)``, with the middle left out where it is long, nested deeply or has many parts."""
    text = _SHORT.repr(value)
    return text if len(text) <= 2 * MAX_LETTERS else f"{text[:MAX_LETTERS]}...{text[-MAX_LETTERS:]}"


def named(name: object) -> str:
    """A name or path as it stands; one that is too long, or that would not show on one line, as ``quoted`` has it."""
    text = str(name)
    return text if text.isprintable() and len(text) <= MAX_LETTERS_OF_A_NAME else quoted(text)

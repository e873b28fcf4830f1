"""Makes text safe for the terminal: names come from strangers, and can contain sequences that a terminal executes."""

import sys
import unicodedata

from messages.reason import reason_of

JOINERS = "\u200c\u200d"  # not printable by themselves, but part of emoji and of several scripts


def printable(text: object) -> str:
    """The text on one line, with escapes for unprintable letters: control and bidirectional characters, invalid UTF-8."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def columns_of(text: str) -> int:
    """Columns that the text takes: Chinese, Japanese and Korean characters take two, a separate accent none."""
    composed = unicodedata.normalize("NFC", text)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in composed)


def print_error(script: str, error: BaseException) -> None:
    """Print ``SCRIPT.py: error: ...`` in one line on stderr."""
    text = reason_of(error) if isinstance(error, OSError) else printable(error)
    print_line(f"{script}.py: error: {text}")


def print_line(text: str) -> None:
    """Print the line on stderr in a single write, so that nothing which another thread or process prints splits it.

    Without a stderr, which a shell can close, it goes to stdout, as ``print`` does.
    """
    stream = sys.stderr or sys.stdout
    if stream:
        stream.write(f"{text}\n")
        stream.flush()

"""Text from strangers' files in Markdown: on one line, and nothing in it is a link, a picture, HTML or a cell's end."""

import re
from collections.abc import Sequence

from messages.terminal import printable

MARKS = re.compile(r"([\\`*\[\]<>|]|^[#+\-~]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_]))")
"""What begins something in Markdown; an underscore within a word, as in sa_resnet, does not."""


def in_markdown(text: object) -> str:
    """The text as it looks, once Markdown is drawn."""
    return MARKS.sub(r"\\\1", printable(text))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the cells are Markdown already."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"

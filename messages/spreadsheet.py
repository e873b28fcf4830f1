"""Cells of tables that a spreadsheet would take for a formula, and run: names come from strangers.

An apostrophe before such a cell makes it text: OWASP, "CSV Injection". It is taken away again where our own tables are read.
"""

import re

FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last four: = + - @ as wide as Chinese characters
"""Begins a cell that must be changed; with apostrophes before it also one whose own apostrophe would be taken for ours."""


def defused(cell: object) -> object:
    """``cell``, if it is text with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def restored(cell: str) -> str:
    """The text that ``defused`` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell

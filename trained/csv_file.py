"""Reads CSV files that this toolkit wrote, row by row, in bounded memory."""

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path

from machine.regular_file import open_regular
from messages.quoting import quoted
from messages.spreadsheet import restored

MAX_LETTERS = 2**18  # of a row


def read_rows(path: Path, needed: Collection[str], max_bytes: int) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line of its end, {column: text}) of each row of ``path``; the first line names the columns.

    ``needed``: columns that must be there. Raises FileNotFoundError, another OSError, ValueError or csv.Error, whose message is
    only the reason, where the file is no such table.
    """
    with open_regular(path, max_bytes, follow_links=False) as file:
        lines = _Lines(io.TextIOWrapper(file, encoding="utf-8", newline=""))
        reader = csv.reader(lines, strict=True)
        columns: list[str] = []
        for number, row in enumerate(reader):
            lines.taken = 0
            if number == 0:
                columns = row
                missing = [name for name in needed if row.count(name) != 1]
                if missing:
                    raise ValueError(f"its first line does not name the column {missing[0]} once")
            elif len(row) != len(columns):
                raise ValueError(f"line {reader.line_num}: {len(row)} values in {len(columns)} columns")
            else:
                yield reader.line_num, {name: restored(text) for name, text in zip(columns, row)}
        if not columns:
            raise ValueError("it is empty")


def check_cell(fits: bool, line: int, column: str, text: str, expected: str) -> None:
    """Raise ValueError, which names the place, unless the cell ``fits``."""
    if not fits:
        raise ValueError(f"line {line}: {column} = {quoted(text)}: expected {expected}")


class _Lines:
    """The lines of ``text``; raises ValueError once MAX_LETTERS were read since ``taken`` was set to 0."""

    def __init__(self, text):
        self.text, self.taken = text, 0

    def __iter__(self):
        return self

    def __next__(self):
        line = self.text.readline(MAX_LETTERS + 1)
        self.taken += len(line)
        if self.taken > MAX_LETTERS:
            raise ValueError(f"a row of more than {MAX_LETTERS:,} letters")
        if "\0" in line:  # which the csv module of some Pythons lets pass
            raise ValueError("it holds a zero byte")
        if not line:
            raise StopIteration
        return line

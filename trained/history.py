"""The history of a run, one row per epoch: its columns, ``history.csv``, the best epoch."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from machine.whole_file import write_csv
from messages.reason import reason_of
from settings.format_number import FormatError, check_format
from trained.csv_file import check_cell, read_rows
from trained.rules import NEEDED, is_count, is_number
from trained.run_error import RunError

FORMAT = 2
"""Of history.csv. 1: no column ``format``; 2: with one, the last."""
MAX_BYTES = 2**26  # of history.csv; a hundred thousand epochs need fewer


class Column(NamedTuple):
    """A column of the history.

    ``kind``: int or float. ``default``: the value for files older than the column, NEEDED if all files have the column. With
    the default None, for "not known", the column may hold None. ``above``: what every value is higher than.
    """

    kind: type = float
    default: object = NEEDED
    above: float = float("-inf")


COLUMNS = {
    "epoch": Column(int),
    "learning_rate": Column(),
    "train_loss": Column(),
    "train_acc": Column(),
    "val_loss": Column(),
    "val_acc": Column(),
    "seconds": Column(),
    "images_per_second": Column(above=0.0),
    "train_balanced_acc": Column(default=None),
    "val_balanced_acc": Column(default=None),
    "train_size": Column(int, default=None, above=0),
}
"""The columns of the history by name. To add one, add one line here, with a default."""
Row = dict[str, Any]
"""{column: int, float or None}"""


def best_epoch(history: Sequence[Row]) -> Row:
    """The row with the highest validation accuracy; of equal ones the lowest validation loss, then the first.

    Raises ValueError if ``history`` is empty.
    """
    return max(history, key=lambda row: (row["val_acc"], -row["val_loss"]))


def is_row(row: object) -> bool:
    """Whether ``row`` is a dict with good values in all COLUMNS without a default; it may have other keys as well."""
    return isinstance(row, dict) and all(
        _fits(column, row[name]) if name in row else column.default is not NEEDED for name, column in COLUMNS.items()
    )


def is_best(value: object) -> bool:
    """Whether ``value`` can be a best epoch: None, or a dict with epoch, val_acc, val_loss and good values in COLUMNS."""
    return value is None or (
        isinstance(value, dict)
        and {"epoch", "val_acc", "val_loss"} <= value.keys()
        and all(_fits(column, value[name]) for name, column in COLUMNS.items() if name in value)
    )


def known_columns(row: Optional[Row]) -> Optional[Row]:
    """``row``, if there is one, without what COLUMNS does not name."""
    return row and {name: value for name, value in row.items() if name in COLUMNS}


def filled_row(row: Row) -> Row:
    """``row`` with exactly COLUMNS, in their order, and defaults for missing ones; raises KeyError if there is no default."""
    return {name: row[name] if name in row or column.default is NEEDED else column.default for name, column in COLUMNS.items()}


def write_history(run: Path, rows: Iterable[Row]) -> None:
    """Write ``history.csv``, one row per epoch, numbers with all their digits. Raises OSError."""
    write_csv(run / "history.csv", [*COLUMNS, "format"], ([*filled_row(row).values(), FORMAT] for row in rows))


def read_history(run: Path) -> list[Row]:
    """The rows of ``history.csv``, of the epochs from 1 on; ignores columns that COLUMNS does not name.

    Raises RunError if the file is missing or damaged, FormatError if a newer version of the toolkit wrote it.
    """
    path = Path(run) / "history.csv"
    try:
        rows = []
        for line, texts in read_rows(path, [name for name, column in COLUMNS.items() if column.default is NEEDED], MAX_BYTES):
            rows.append(_row_of_text(path, line, texts))
            check_cell(rows[-1]["epoch"] == len(rows), line, "epoch", texts["epoch"], f"{len(rows)}")
        if not rows:
            raise ValueError("it holds no epoch")
        return rows
    except FormatError:
        raise
    except FileNotFoundError:
        raise RunError(f"{run} has no history.csv: it is not a run folder, or no epoch has finished") from None
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path} cannot be read: {reason_of(error, path)}; restore a copy, or train again") from None


def _fits(column, value):
    if value is None:
        return column.default is None
    return (is_count(value) if column.kind is int else is_number(value)) and value > column.above


def _row_of_text(path, line, texts):
    """The row of numbers in ``texts``, {column: text}."""
    found = texts.get("format")
    check_format(None if found is None else _number(int, found), FORMAT, str(path))
    row = {}
    for name, column in COLUMNS.items():
        if name in texts:
            row[name] = None if not texts[name] and column.default is None else _number(column.kind, texts[name])
            expected = "a whole number" if column.kind is int else "a number"
            check_cell(_fits(column, row[name]), line, name, texts[name], expected)
    return filled_row(row)


def _number(kind, text):
    """The number in ``text``, or the text itself where there is none."""
    try:
        number = float(text)
        return int(number) if kind is int else number
    except (ValueError, OverflowError):  # OverflowError: int(float("inf"))
        return text

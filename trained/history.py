"""The history of a run, one row an epoch: its columns, ``history.csv``, the best epoch."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

from machine.regular_file import open_regular
from machine.whole_file import write_csv
from settings.format_number import FormatError, check_format
from trained.rules import NEEDED, is_count, is_number
from trained.run_error import RunError

FORMAT = 2
"""Of history.csv. 1: no column ``format``; 2: with one, the last."""
MAX_BYTES = 2**26  # of history.csv: a hundred thousand epochs have fewer


class Column(NamedTuple):
    """``kind``: int or float. ``default``: the value in files that were written before the column was, NEEDED for a column of
    every file; None, for "not known", makes None a value of the column."""

    kind: type = float
    default: object = NEEDED


COLUMNS = {
    "epoch": Column(int),
    "learning_rate": Column(),
    "train_loss": Column(),
    "train_acc": Column(),
    "val_loss": Column(),
    "val_acc": Column(),
    "seconds": Column(),
    "images_per_second": Column(),
}
"""The columns of the history by name. A new column is one line here, with a default."""


def best_epoch(history: list) -> dict:
    """The row of highest validation accuracy; of lower validation loss where those are equal; the first where both are."""
    return max(history, key=lambda row: (row["val_acc"], -row["val_loss"]))


def is_row(row: object) -> bool:
    """Whether ``row`` is a dict with what COLUMNS says; it may lack columns that have a default, and have others as well."""
    return isinstance(row, dict) and all(
        _fits(column, row[name]) if name in row else column.default is not NEEDED for name, column in COLUMNS.items()
    )


def is_best(value: object) -> bool:
    """Whether ``value`` can stand for the best epoch: None, or a dict with epoch, val_acc and val_loss, its columns as COLUMNS
    says."""
    return value is None or (
        isinstance(value, dict)
        and {"epoch", "val_acc", "val_loss"} <= value.keys()
        and all(_fits(column, value[name]) for name, column in COLUMNS.items() if name in value)
    )


def filled_row(row: dict) -> dict:
    """The columns of ``row`` that COLUMNS names, in that order, the default where it lacks one; raises KeyError."""
    return {name: row[name] if name in row or column.default is NEEDED else column.default for name, column in COLUMNS.items()}


def write_history(run: Path, rows: list) -> None:
    """Write ``history.csv``, one row (a dict by COLUMNS) an epoch; numbers with all their digits. Raises OSError."""
    write_csv(run / "history.csv", [*COLUMNS, "format"], ([*filled_row(row).values(), FORMAT] for row in rows))


def read_history(run: Path) -> list:
    """The rows of ``history.csv`` as dicts by COLUMNS; columns that it does not name are passed over.

    Raises RunError where the file cannot be used, FormatError where a newer version of the toolkit wrote it.
    """
    path = Path(run) / "history.csv"
    try:
        with open_regular(path, MAX_BYTES) as file:
            reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
            return [_row_of_text(path, reader.line_num, texts) for texts in reader]
    except FormatError:
        raise
    except FileNotFoundError:
        raise RunError(f"{run} has no history.csv: not a run folder, or no epoch was finished") from None
    except (OSError, ValueError, OverflowError, csv.Error) as error:  # OverflowError: int(float("inf"))
        raise RunError(f"{path} cannot be read: {error}; put back a copy, or train anew") from None


def _fits(column, value):
    if value is None:
        return column.default is None
    return is_count(value) if column.kind is int else is_number(value)


def _row_of_text(path, line, texts):
    """A row of numbers; ``texts``: what csv.DictReader gives, in which a line that is too short has None."""
    found = texts.get("format")
    check_format(None if found is None else int(found), FORMAT, str(path))
    row = {name: _value(column, text) for name, column in COLUMNS.items() if (text := texts.get(name)) is not None}
    if not is_row(row):
        raise ValueError(f"line {line}: expected a number in each of {', '.join(COLUMNS)}")
    return filled_row(row)


def _value(column, text):
    if not text and column.default is None:
        return None
    number = float(text)
    return int(number) if column.kind is int else number

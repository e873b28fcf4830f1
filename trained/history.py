"""The history of a run, one row per epoch: its columns, ``history.csv``, the best epoch."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machine.regular_file import open_regular
from machine.whole_file import write_csv
from messages.reason import reason_of
from settings.format_number import FormatError, check_format
from trained.rules import NEEDED, is_count, is_number
from trained.run_error import RunError

FORMAT = 2
"""Of history.csv. 1: no column ``format``; 2: with one, the last."""
MAX_BYTES = 2**26  # of history.csv; a hundred thousand epochs need fewer


class Column(NamedTuple):
    """A column of the history.

    ``kind``: int or float. ``default``: the value for files older than the column, NEEDED if all files have the column. With
    the default None, for "not known", the column may hold None.
    """

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
    "train_balanced_acc": Column(default=None),
    "val_balanced_acc": Column(default=None),
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


def filled_row(row: Row) -> Row:
    """``row`` with exactly COLUMNS, in their order, and defaults for missing ones; raises KeyError if there is no default."""
    return {name: row[name] if name in row or column.default is NEEDED else column.default for name, column in COLUMNS.items()}


def write_history(run: Path, rows: Iterable[Row]) -> None:
    """Write ``history.csv``, one row per epoch, numbers with all their digits. Raises OSError."""
    write_csv(run / "history.csv", [*COLUMNS, "format"], ([*filled_row(row).values(), FORMAT] for row in rows))


def read_history(run: Path) -> list[Row]:
    """The rows of ``history.csv``; ignores columns that COLUMNS does not name.

    Raises RunError if the file is missing or damaged, FormatError if a newer version of the toolkit wrote it.
    """
    path = Path(run) / "history.csv"
    try:
        with open_regular(path, MAX_BYTES) as file:
            reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
            return [_row_of_text(path, reader.line_num, texts) for texts in reader]
    except FormatError:
        raise
    except FileNotFoundError:
        raise RunError(f"{run} has no history.csv: it is not a run folder, or no epoch has finished") from None
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path} cannot be read: {reason_of(error, path)}; restore a copy, or train again") from None


def _fits(column, value):
    if value is None:
        return column.default is None
    return is_count(value) if column.kind is int else is_number(value)


def _row_of_text(path, line, texts):
    """The row of numbers in ``texts``, a row from csv.DictReader, which has None where the line is too short."""
    found = texts.get("format")
    check_format(None if found is None else int(found), FORMAT, str(path))
    try:
        row = {name: _value(column, text) for name, column in COLUMNS.items() if (text := texts.get(name)) is not None}
    except (ValueError, OverflowError):  # OverflowError: int(float("inf"))
        row = {}
    if not is_row(row):
        raise ValueError(f"line {line}: expected a number in each of {', '.join(COLUMNS)}")
    return filled_row(row)


def _value(column, text):
    if not text and column.default is None:
        return None
    number = float(text)
    return int(number) if column.kind is int else number

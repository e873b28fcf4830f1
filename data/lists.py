"""The lists of a data folder: train_list.txt and val_list.txt (``relative/path label``), labels.txt (a class name a line).

The form that PaddleX and PaddleClas read. The label is what follows the last space, so names may hold spaces. DataFolder reads
the lists of a folder.
"""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Union

from machine.regular_file import sha256_of
from machine.whole_file import write_text
from messages.quoting import quoted
from messages.user_error import UserError

TRAIN_LIST, VAL_LIST, LABELS = "train_list.txt", "val_list.txt", "labels.txt"

LABEL = re.compile("-?[0-9]{1,9}")  # int() would take hours over a million digits, or refuse them
MAX_LIST_BYTES = 2**30
"""Of a list: more than ten million photographs."""
MAX_CLASSES = 100_000  # five times as many as the largest data sets have; networks are built for as many as a file says


class DataError(UserError):
    """Lists or photographs that cannot be used; the message names the list file and line."""


class Sample(NamedTuple):
    """A photograph of a data set: its name (in a folder the relative path), its label from 0, and its place: the number of its
    line in the list, from 1, or its index in the file it comes from, from 0."""

    name: str
    label: int
    place: int


def parse_entry(line: str, num_classes: int, where: str) -> tuple[str, int]:
    """(relative path, label) of a line of a list; raises DataError, which begins with ``where``."""
    path, _, label = line.rpartition(" ")
    if not path or not LABEL.fullmatch(label):
        raise DataError(f"{where}: {quoted(line)}: expected 'relative/path label', the label a whole number")
    if not 0 <= int(label) < num_classes:
        raise DataError(f"{where}: label {label}, but labels.txt names {num_classes} classes (0 to {num_classes - 1})")
    return path, int(label)


def list_digest(list_file: Union[str, os.PathLike]) -> str:
    """SHA-256 of a list's content: equal for two runs that saw the same split. Raises OSError."""
    return sha256_of(list_file, MAX_LIST_BYTES)


def write_lists(root: Path, classes: Iterable[str], train: Iterable[tuple[str, int]], val: Iterable[tuple[str, int]]) -> None:
    """Write the three files of the folder ``root``; ``train`` and ``val`` hold (relative path, label) pairs. Raises OSError."""
    write_text(root / LABELS, "".join(f"{name}\n" for name in classes))
    for file_name, entries in ((TRAIN_LIST, train), (VAL_LIST, val)):
        write_text(root / file_name, "".join(f"{path} {label}\n" for path, label in entries))


def split_command(data: Union[str, os.PathLike]) -> str:
    """The command that writes the lists of ``data``, for messages."""
    return f"python train_val_split.py --data {shlex.quote(str(data))}"

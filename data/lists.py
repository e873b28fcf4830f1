"""The lists of a data folder: train_list.txt and val_list.txt (``relative/path label``), labels.txt (one class name per line).

PaddleX and PaddleClas read the same format. The label follows the last space, so names may contain spaces. DataFolder reads
these lists.
"""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional, Union

from machine.regular_file import sha256_of
from machine.whole_file import write_text
from messages.quoting import quoted
from messages.user_error import UserError

TRAIN_LIST, VAL_LIST, TEST_LIST, LABELS = "train_list.txt", "val_list.txt", "test_list.txt", "labels.txt"
SIDES = {"train": TRAIN_LIST, "val": VAL_LIST, "test": TEST_LIST}
"""The parts of a data set: photographs to train on, to choose the best epoch by, and for a final figure that chose nothing."""

LABEL = re.compile("-?[0-9]{1,9}")  # int() takes hours for a million digits, or refuses them
MAX_LIST_BYTES = 2**30  # enough for more than ten million photographs
MAX_CLASSES = 100_000  # five times the number in the largest data sets; a file must not make a network of any size


class DataError(UserError):
    """Lists or photographs that cannot be used; the message names the list file and line."""


class Sample(NamedTuple):
    """A photograph of a data set."""

    name: str  # in a folder the relative path
    label: int  # from 0
    place: int  # its line in the list, from 1, or its index in the file that holds it, from 0


def parse_entry(line: str, num_classes: int, where: str) -> tuple[str, int]:
    """(relative path, label) of a line of a list; raises DataError with a message that begins with ``where``."""
    path, _, label = line.rpartition(" ")
    if not path or not LABEL.fullmatch(label):
        raise DataError(f"{where}: {quoted(line)}: expected 'relative/path label', where the label is a whole number")
    if not 0 <= int(label) < num_classes:
        raise DataError(f"{where}: label {label}, but labels.txt names {num_classes} classes (0 to {num_classes - 1})")
    return path, int(label)


def list_digest(list_file: Union[str, os.PathLike]) -> str:
    """SHA-256 of a list's content, which is equal for two runs on the same split. Raises OSError."""
    return sha256_of(list_file, MAX_LIST_BYTES)


def write_lists(
    folder: Path,
    classes: Iterable[str],
    train: Iterable[tuple[str, int]],
    val: Iterable[tuple[str, int]],
    test: Optional[Iterable[tuple[str, int]]] = None,
) -> None:
    """Write labels.txt and the lists into ``folder``; the lists hold (relative path, label) pairs. Raises OSError."""
    write_text(folder / LABELS, "".join(f"{name}\n" for name in classes))
    for file_name, entries in zip(SIDES.values(), (train, val, test)):
        if entries is not None:
            write_text(folder / file_name, "".join(f"{path} {label}\n" for path, label in entries))


def split_command(data: Union[str, os.PathLike], lists_dir: Optional[Union[str, os.PathLike]] = None) -> str:
    """The command that writes the lists of ``data``, for messages."""
    lists = "" if lists_dir is None else f" --lists_dir {shlex.quote(str(lists_dir))}"
    return f"python train_val_split.py --data {shlex.quote(str(data))}{lists}"

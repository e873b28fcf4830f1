"""The lists of a data folder: train_list.txt, val_list.txt and test_list.txt (``relative/path label``), labels.txt (one class
name per line).

PaddleClas reads the same format, if no path holds a space. Here the label follows the last space, so names may contain spaces.
DataFolder reads these lists.
"""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional, Union

from data.list_text import NotTextError, read_lines
from data.paddlex import PADDLEX_FILES, is_readable, paddlex_lists
from data.split_record import Origin, SplitRecord
from machine.regular_file import sha256_of
from messages.quoting import MOST, named, quoted
from messages.user_error import UserError

TRAIN_LIST, VAL_LIST, TEST_LIST, LABELS = "train_list.txt", "val_list.txt", "test_list.txt", "labels.txt"
SIDES = {"train": TRAIN_LIST, "val": VAL_LIST, "test": TEST_LIST}
"""The parts of a data set: photographs to train on, to choose the best epoch by, and for a final figure that chose nothing."""
LISTS = (LABELS, *SIDES.values())
OLDER_LISTS = (LABELS, TRAIN_LIST, VAL_LIST)  # what versions without split.json wrote

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


def origin_of(record: SplitRecord, name: str) -> Origin:
    """Where the list ``name`` in the folder of ``record`` comes from. Raises OSError."""
    return record.origin(name, by_older=name in OLDER_LISTS)


def write_lists(
    folder: Path,
    classes: Iterable[str],
    train: Iterable[tuple[str, int]],
    val: Iterable[tuple[str, int]],
    test: Optional[Iterable[tuple[str, int]]] = None,
    list_format: str = "paddleclas",
    photographs: Optional[Path] = None,
) -> list[str]:
    """Write the lists of a split into ``folder``; returns what the user should know of it, a line each.

    ``train``, ``val`` and ``test`` hold (relative path, label) pairs; without ``test`` there is no test list. ``list_format``:
    one of data.paddlex.LIST_FORMATS. ``photographs``: the folder that the paths are relative to, by default ``folder``.

    A list of the user's that must give way is kept as a copy, NAME.old; a labels.txt that names the same classes stays as it
    is. Lists that the toolkit wrote earlier and that this split does not have are removed. Raises OSError, FormatError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, sides = list(classes), {"train": list(train), "val": list(val)}
    if test is not None:
        sides["test"] = list(test)
    texts = {LABELS: "".join(f"{name}\n" for name in names)}
    texts |= {SIDES[side]: "".join(f"{path} {label}\n" for path, label in sides[side]) for side in sides}
    notes = _note_on_spaces(sides)
    if list_format == "paddlex3":
        for_paddlex = paddlex_lists(names, sides, photographs or folder, folder)
        texts |= for_paddlex.texts
        notes = _note_on_paddlex(for_paddlex, sum(map(len, sides.values())))
    return _replace(folder, texts, names) + notes


def _replace(folder, texts, classes):
    """Write ``texts`` in place of what is there; returns the lines on what was kept and removed."""
    record, notes, kept, removed = SplitRecord(folder), [], [], []
    written = dict(texts)
    for name in (*LISTS, *PADDLEX_FILES):
        origin = origin_of(record, name)
        unwanted = name not in texts
        if origin == Origin.MISSING or (unwanted and origin != Origin.OURS and name not in LISTS):
            continue
        if name == LABELS and origin == Origin.USERS and _names_classes(folder / name, classes):
            del written[name]  # and it gets no digest: the next split must not take it for ours
            notes.append(f"{named(folder / name)} stays: its order is the order of the classes")
            continue
        if origin != Origin.OURS and not _has_text(folder / name, texts.get(name)):
            kept.append(record.keep(name))
        if unwanted:
            (folder / name).unlink()
            removed.append(name)
    record.write(written)
    if kept:
        notes.append(f"earlier files are kept in {named(folder)} as {', '.join(kept)}")
    if removed:
        notes.append(f"removed from {named(folder)}, because this split has none: {', '.join(removed)}")
    return notes


def _names_classes(path, classes):
    """Whether a labels.txt names ``classes``, in this order."""
    try:
        text = read_lines(path, MAX_LIST_BYTES)
    except (OSError, NotTextError):
        return False
    other = text.in_gb18030()
    return any("\n".join(lines).rstrip() == "\n".join(classes).rstrip() for lines in (text.lines, other.lines if other else []))


def _has_text(path, text):
    if text is None or path.stat().st_size > MAX_LIST_BYTES:
        return False
    return path.read_bytes() == text.encode("utf-8", "backslashreplace")


def _note_on_spaces(sides):
    paths = [path for entries in sides.values() for path, _ in entries]
    count = sum(not is_readable(path) for path in paths)
    if not count:
        return []
    return [
        f"{count} of {len(paths)} paths hold a space: train.py and the others read them; PaddleClas, which splits a line at "
        f"its first space, does not"
    ]


def _note_on_paddlex(lists, total):
    if not lists.left_out:
        return []
    lost = "".join(f"; class {name} has no line in {file}" for name, file in lists.lost[:MOST])
    lost += f"; {len(lists.lost) - MOST:,} more classes lack lines" if len(lists.lost) > MOST else ""
    return [f"{lists.left_out} of {total} photographs are missing from the lists for PaddleX 3, which reads no spaces{lost}"]


def split_command(data: Union[str, os.PathLike], lists_dir: Optional[Union[str, os.PathLike]] = None) -> str:
    """The command that writes the lists of ``data``, for messages."""
    lists = "" if lists_dir is None else f" --lists_dir {shlex.quote(str(lists_dir))}"
    return f"python train_val_split.py --data {shlex.quote(str(data))}{lists}"

"""The lists of a data folder: train_list.txt and val_list.txt (``relative/path label``), labels.txt (a class name a line).

The form that PaddleX and PaddleClas read. The label is what follows the last space, so names may hold spaces.
"""

import hashlib
import re
from pathlib import Path

from reporting.quoting import named, quoted
from reporting.whole_file import write_text

TRAIN_LIST, VAL_LIST, LABELS = "train_list.txt", "val_list.txt", "labels.txt"
LABEL = re.compile(r"-?\d{1,9}")  # int() would take hours over a million digits, or refuse them


class DataError(ValueError):
    """Lists or photographs that cannot be used; the message names the list file and line."""


def read_classes(root):
    """Class names of the data folder ``root``, in label order, from its ``labels.txt``; raises DataError."""
    path = Path(root) / LABELS
    classes = {}
    for number, name in enumerate(_read_lines(path), start=1):
        if not name.strip():
            continue
        if name in classes:
            raise DataError(f"{path} line {number}: {named(name)} is there twice (line {classes[name]}); a name has one label")
        classes[name] = number
    if len(classes) < 2:
        raise DataError(f"{path}: {len(classes)} class names; expected at least two, one a line")
    return list(classes)


def read_list(list_file, num_classes):
    """[(relative path, label, line number), ...] of a list of ``relative/path label`` lines; raises DataError."""
    list_file = Path(list_file)
    samples = []
    for number, line in enumerate(_read_lines(list_file), start=1):
        if not line.strip():
            continue
        path, _, label = line.rpartition(" ")
        where = f"{list_file} line {number}"
        if not path or not LABEL.fullmatch(label):
            raise DataError(f"{where}: {quoted(line)}: expected 'relative/path label', the label a whole number")
        if not 0 <= int(label) < num_classes:
            raise DataError(f"{where}: label {label}, but labels.txt names {num_classes} classes (0 to {num_classes - 1})")
        if not _is_file(list_file.parent / path):
            raise DataError(
                f"{where}: there is no file {named(list_file.parent / path)}; has the data folder changed? "
                f"python train_val_split.py --data {list_file.parent} writes the lists anew"
            )
        samples.append((path, int(label), number))
    if not samples:
        raise DataError(f"{list_file} is empty: python train_val_split.py --data {list_file.parent} writes it")
    return samples


def list_digest(list_file) -> str:
    """SHA-256 of a list's content: equal for two runs that saw the same split."""
    return hashlib.sha256(Path(list_file).read_bytes()).hexdigest()


def write_lists(root, classes, train, val) -> None:
    """Write the three files of the folder ``root``; ``train`` and ``val`` hold (relative path, label) pairs."""
    write_text(root / LABELS, "".join(f"{name}\n" for name in classes))
    for file_name, entries in ((TRAIN_LIST, train), (VAL_LIST, val)):
        write_text(root / file_name, "".join(f"{path} {label}\n" for path, label in entries))


def _is_file(path):
    try:
        return path.is_file()
    except OSError:  # a name longer than names can be, or a folder that may not be entered
        return False


def _read_lines(path):
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            f"there is no {path}: python train_val_split.py --data {path.parent} writes it from class folders"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    # not splitlines(), which would also break at rarer characters that a file name may hold
    return [line.rstrip("\r") for line in text.split("\n")]

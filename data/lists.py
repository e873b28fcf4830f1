"""The lists of a data folder: train_list.txt and val_list.txt (``relative/path label``), labels.txt (a class name a line).

The form that PaddleX and PaddleClas read. The label is what follows the last space, so names may hold spaces. A list may come
from a stranger: without ``follow_links`` it reaches no file outside of its folder.
"""

import os
import re
import shlex
import stat
from pathlib import Path

from data.data_folder import leads_out
from machine.regular_file import NotRegularError, open_regular, sha256_of
from machine.whole_file import write_text
from messages.quoting import named, quoted
from messages.user_error import UserError

TRAIN_LIST, VAL_LIST, LABELS = "train_list.txt", "val_list.txt", "labels.txt"

LABEL = re.compile("-?[0-9]{1,9}")  # int() would take hours over a million digits, or refuse them
MOST_BYTES = 2**30
"""A list may have as many: more than ten million photographs."""
MOST_CLASSES = 100_000  # five times as many as the largest data sets have; networks are built for as many as a file says


class DataError(UserError):
    """Lists or photographs that cannot be used; the message names the list file and line."""


def read_classes(root, follow_links=False, data=None):
    """Class names of the data folder ``root``, in label order, from its ``labels.txt``; raises DataError.

    ``data``: what the user calls the folder, for messages.
    """
    path = Path(root) / LABELS
    lines = _read_lines(path, follow_links, data)
    while lines and not lines[-1].strip():
        lines.pop()
    if not 2 <= len(lines) <= MOST_CLASSES:
        raise DataError(f"{path}: {len(lines)} class names; expected at least two, at most {MOST_CLASSES:,}, one a line")
    first = {}
    for number, name in enumerate(lines, start=1):
        if not name.strip():
            raise DataError(f"{path} line {number} is blank: the labels of the classes after it would be in doubt; remove it")
        if first.setdefault(name, number) != number:
            raise DataError(
                f"{path} line {number}: {named(name)} is the class of line {first[name]} already: give it another name"
            )
    return lines


def read_list(list_file, num_classes, follow_links=False, data=None):
    """[(relative path, label, line number), ...] of a list of ``relative/path label`` lines; raises DataError.

    Without ``follow_links``, entries that are absolute, climb out of the folder with ".." or leave it through a link are
    refused. ``data``: what the user calls the folder, for messages.
    """
    list_file = Path(list_file)
    check = _EntryCheck(list_file.parent, follow_links)
    labels = {}  # path -> its label and the first line with it
    samples = []
    for number, line in enumerate(_read_lines(list_file, follow_links, data), start=1):
        if not line.strip():
            continue
        where = f"{list_file} line {number}"
        path, label = _entry(line, num_classes, where)
        known, first = labels.setdefault(path, (label, number))
        if known != label:
            raise DataError(f"{where}: {named(path)} has label {label} here and {known} in line {first}: keep one of the two")
        problem = check.problem(path)
        if problem:
            remedy = f"has the data folder changed? {_split_command(data or list_file.parent)} writes the lists anew"
            if problem.leaves_folder:
                remedy = "keep lists and photographs in one folder, or say --follow_links if you trust the list"
            raise DataError(f"{where}: {problem}; {remedy}")
        samples.append((path, label, number))
    if not samples:
        raise DataError(f"{list_file} is empty: {_split_command(data or list_file.parent)} writes it")
    return samples


def list_digest(list_file) -> str:
    """SHA-256 of a list's content: equal for two runs that saw the same split."""
    return sha256_of(list_file, MOST_BYTES)


def write_lists(root, classes, train, val) -> None:
    """Write the three files of the folder ``root``; ``train`` and ``val`` hold (relative path, label) pairs."""
    write_text(root / LABELS, "".join(f"{name}\n" for name in classes))
    for file_name, entries in ((TRAIN_LIST, train), (VAL_LIST, val)):
        write_text(root / file_name, "".join(f"{path} {label}\n" for path, label in entries))


class _Problem(str):
    """Why an entry cannot be used."""

    leaves_folder = False


class _Leaves(_Problem):
    leaves_folder = True


class _EntryCheck:
    """Whether entries are files inside of the folder; one look at the disk for a file, one for each folder that holds some."""

    def __init__(self, root, follow_links):
        self.root, self.follow_links = os.fspath(root), follow_links
        self.outside = {}  # parent -> whether it is outside of the root

    def problem(self, path):
        """None, or a _Problem."""
        place = os.path.join(self.root, path)
        parent = os.path.dirname(path)
        try:
            if self.follow_links:
                status = os.stat(place)
            else:
                if os.path.isabs(path):
                    return _Leaves(f"{named(path)} is absolute, not relative to the list's folder")
                if parent not in self.outside:
                    self.outside[parent] = leads_out(os.path.join(self.root, parent), self.root)
                if self.outside[parent]:
                    return _Leaves(f"{named(path)} is outside of the folder {self.root}")
                status = os.lstat(place)
                if stat.S_ISLNK(status.st_mode):
                    if leads_out(place, self.root):
                        return _Leaves(f"{named(path)} is a link that leads out of the folder {self.root}")
                    status = os.stat(place)
        except (OSError, ValueError):  # ValueError: a NUL byte
            return _Problem(f"there is no file {named(place)}")
        return None if stat.S_ISREG(status.st_mode) else _Problem(f"{named(place)} is no file")


def _entry(line, num_classes, where):
    path, _, label = line.rpartition(" ")
    if not path or not LABEL.fullmatch(label):
        raise DataError(f"{where}: {quoted(line)}: expected 'relative/path label', the label a whole number")
    if not 0 <= int(label) < num_classes:
        raise DataError(f"{where}: label {label}, but labels.txt names {num_classes} classes (0 to {num_classes - 1})")
    return path, int(label)


def _split_command(data):
    return f"python train_val_split.py --data {shlex.quote(str(data))}"


def _read_lines(path, follow_links, data):
    if not follow_links and path.is_symlink() and leads_out(path, path.parent):
        raise DataError(f"{path} is a link that leads out of its folder: put the list itself there, or say --follow_links")
    try:
        with open_regular(path, MOST_BYTES) as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no {path}: {_split_command(data or path.parent)} writes it from class folders") from None
    except NotRegularError as error:
        raise DataError(f"{path}: {error}; {_split_command(data or path.parent)} writes it anew") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    # not splitlines(), which would also break at rarer characters that a file name may hold
    return [line.rstrip("\r") for line in text.split("\n")]

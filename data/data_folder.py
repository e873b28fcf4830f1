"""A data folder: photographs, and the lists that name those to train on and those to validate on.

A list may come from a stranger: unless the user allows links, it reaches no file outside its folder.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

from data.archive import unpacked
from data.data_source import DataSource
from data.fold_folders import count_folds, folder_of_fold, is_fold_of
from data.folder_walk import files_below, leads_out
from data.list_text import GB18030, NotTextError, read_lines
from data.lists import (
    LABELS,
    LISTS,
    MAX_CLASSES,
    MAX_LIST_BYTES,
    TEST_LIST,
    TRAIN_LIST,
    VAL_LIST,
    DataError,
    Sample,
    parse_entry,
    split_command,
)
from data.paddlex import PADDLEX_FILES
from data.split_record import OLD, PHOTOGRAPHS, RECORD, REPORT
from machine.regular_file import NotRegularError
from messages.quoting import named
from messages.reason import reason_of

WRITTEN_BY_US = {*LISTS, *PADDLEX_FILES, RECORD, REPORT, PHOTOGRAPHS}
USUAL_FOLDS = 5  # that a message suggests
SAVE_AS_UTF8 = "save the file as UTF-8"


class DataFolder:
    """The folder ``root`` of photographs, and the folder ``lists`` of the lists that name them, by default the same.

    ``follow_links``: also use photographs and lists outside it that links or entries lead to. ``name``: the user's name for it
    (``--data``), for messages; by default its path. ``lists_dir``: another folder for the lists (``--lists_dir``); the paths
    in them stay relative to ``root``. ``fold``: its number from 1, for the lists of a fold; they lie below ``split_lists``,
    which holds the plain lists and the record of the photographs. 0: the plain lists.
    """

    def __init__(
        self,
        root: Union[str, os.PathLike],
        follow_links: bool = False,
        name: Optional[Union[str, os.PathLike]] = None,
        lists_dir: Optional[Union[str, os.PathLike]] = None,
        fold: int = 0,
    ):
        self.root, self.follow_links, self.name, self.lists_dir = Path(root), follow_links, str(name or root), lists_dir
        self.split_lists = self.root if lists_dir is None else Path(lists_dir)
        self.fold, self.lists = fold, folder_of_fold(self.split_lists, fold) if fold else self.split_lists

    @classmethod
    def open(
        cls,
        data: Union[str, os.PathLike],
        follow_links: bool = False,
        lists_dir: Optional[Union[str, os.PathLike]] = None,
        fold: int = 0,
    ) -> "DataFolder":
        """The folder that ``--data`` names: ``data`` itself, or the content of the archive ``data`` (see archive.unpacked).

        Raises DataError; a missing folder is an error only when its lists are read.
        """
        path = Path(data)
        if lists_dir is not None and os.path.lexists(lists_dir) and not os.path.isdir(lists_dir):
            raise DataError(f"--lists_dir {lists_dir} is not a folder: give it the folder that the lists lie in")
        if path.is_file():
            return cls(unpacked(path), follow_links, data, lists_dir, fold)
        if path.exists() and not path.is_dir():
            raise DataError(f"{path} is neither a folder nor an archive: give --data a folder of class folders")
        return cls(path, follow_links, data, lists_dir, fold)

    @classmethod
    def of(cls, source: DataSource) -> "DataFolder":
        """The folder that ``source`` names; raises DataError as ``open`` does."""
        return cls.open(source.data, source.follow_links, source.lists_dir, source.fold)

    @property
    def split_command(self) -> str:
        """The command that writes this folder's lists, for messages."""
        folds = f" --folds {max(count_folds(self.split_lists) or USUAL_FOLDS, self.fold)}" if self.fold else ""
        return split_command(self.name, self.lists_dir) + folds

    def has_classes(self) -> bool:
        """Whether there is a labels.txt."""
        return (self.lists / LABELS).is_file()

    def leads_out(self, path: Union[str, os.PathLike]) -> bool:
        """Whether ``path`` must not be used: with all links resolved it lies outside the folder, and links are not allowed."""
        return not self.follow_links and leads_out(path, self.root)

    def files_below(
        self, folder: Union[str, os.PathLike], on_error: Optional[Callable[[OSError], None]] = None
    ) -> Iterator[tuple[str, Optional[str]]]:
        """Yield (path, problem) of every visible file below ``folder``, a folder in this one: see folder_walk.files_below.

        What a split writes into the folder of the lists does not count: that folder may lie among the class folders.
        """
        lists = os.path.abspath(self.split_lists)
        for path, problem in files_below(folder, self.root, self.follow_links, on_error):
            place, name = os.path.split(os.path.abspath(path))
            if name.split(OLD)[0] not in WRITTEN_BY_US or not (place == lists or is_fold_of(place, lists)):
                yield path, problem

    def read_classes(self) -> list[str]:
        """The class names in label order, from ``labels.txt``; raises DataError."""
        path = self.lists / LABELS
        text = self._read_lines(path)
        other = text.in_gb18030()
        if other and self._unconfirmed(text) and not self._unconfirmed(other):
            text = other
        lines = text.lines
        while lines and not lines[-1].strip():
            lines.pop()
        if not 2 <= len(lines) <= MAX_CLASSES:
            raise DataError(f"{path}: {len(lines)} class names; expected at least two, at most {MAX_CLASSES:,}, one a line")
        first = {}
        for number, name in enumerate(lines, start=1):
            if not name.strip():
                raise DataError(
                    f"{path} line {number} is blank, which leaves the labels of the classes after it in doubt; remove it"
                )
            if first.setdefault(name, number) != number:
                raise DataError(
                    f"{path} line {number}: {named(name)} is the class of line {first[name]} already: choose another name"
                )
        doubtful = self._unconfirmed(text) if text.encoding == GB18030 else None
        if doubtful:
            raise DataError(
                f"{path} line {first[doubtful]} is not UTF-8; in GB18030 it reads {named(doubtful)}, but {self.root} has no "
                f"such folder to confirm it: {SAVE_AS_UTF8}"
            )
        return lines

    def read_list(self, list_name: str, num_classes: int) -> list[Sample]:
        """The samples of the list ``list_name``; labels must be below ``num_classes``. Raises DataError.

        Unless links are allowed, refuses entries that are absolute or leave the folder through ".." or a link.
        """
        list_file = self.lists / list_name
        text = self._read_lines(list_file)
        try:
            return self._samples(list_file, text, num_classes)
        except DataError:
            other = text.in_gb18030()
            if other:
                with contextlib.suppress(DataError):
                    return self._samples(list_file, other, num_classes)
            raise

    def _samples(self, list_file, text, num_classes):
        """The samples of the ListText ``text``; raises DataError."""
        check = _EntryCheck(self)
        labels = {}  # path -> its label and the first line with it
        samples = []
        for number, line in enumerate(text.lines, start=1):
            if not line.strip():
                continue
            where = f"{list_file} line {number}"
            path, label = parse_entry(line, num_classes, where)
            problem = check.problem(path)
            if problem and "\\" in path:  # from Windows; a name may hold the character elsewhere, so it is the second choice
                path = path.replace("\\", "/")
                problem = check.problem(path)
            if problem:
                raise DataError(f"{where}: {problem.reason}; {self._remedy(problem, text.encoding)}")
            known, first = labels.setdefault(path, (label, number))
            if known != label:
                raise DataError(
                    f"{where}: {named(path)} has label {label} here and {known} in line {first}: keep one of the two"
                )
            samples.append(Sample(path, label, number))
        if not samples:
            raise DataError(f"{list_file} is empty: {self.split_command} writes it")
        return samples

    def class_of_paths(self) -> dict[str, str]:
        """{relative path: class name} of all photographs in the lists, empty without labels.txt; raises DataError.

        The test list counts where there is one.
        """
        if not self.has_classes():
            return {}
        classes = self.read_classes()
        names = [TRAIN_LIST, VAL_LIST, *([TEST_LIST] if (self.lists / TEST_LIST).is_file() else [])]
        samples = [sample for name in names for sample in self.read_list(name, len(classes))]
        return {sample.name: classes[sample.label] for sample in samples}

    def _unconfirmed(self, text):
        """The first class name of a ListText that has letters beyond ASCII and no folder here; None: there is none."""
        return next(
            (name for name in text.lines if not name.isascii() and not os.path.isdir(os.path.join(self.root, name))), None
        )

    def _remedy(self, problem, encoding):
        if problem.leaves_folder:
            return "keep lists and photographs in one folder, or use --follow_links if you trust the list"
        if encoding == GB18030:
            return f"the list is not UTF-8 and was read as GB18030: {SAVE_AS_UTF8}"
        return f"has the data folder changed? {self.split_command} writes the lists again"

    def _read_lines(self, path):
        """The ListText of a list; raises DataError."""
        if path.is_symlink() and not self.follow_links and leads_out(path, self.lists):
            raise DataError(f"{path} is a link that leads out of its folder: put the list itself there, or use --follow_links")
        try:
            return read_lines(path, MAX_LIST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            count = count_folds(self.split_lists) if self.fold else 0
            if self.fold > count > 0:
                remedy = f"the split has {count} folds: choose --fold 1 to {count}, or {self.split_command} divides it anew"
            elif path.name == TEST_LIST:
                remedy = f"{self.split_command} --test_fraction 0.2 writes it, with new lists to train on"
            else:
                remedy = f"{self.split_command} writes it{'' if self.fold else ' from class folders'}"
            raise DataError(f"there is no {path}: {remedy}") from None
        except NotRegularError as error:
            raise DataError(f"{path}: {error}; {self.split_command} writes it again") from None
        except NotTextError as error:
            raise DataError(f"{error.where(path)} cannot be read: {error}: {SAVE_AS_UTF8}") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {reason_of(error, path)}; {self.split_command} writes it again") from None


class _Problem(NamedTuple):
    """The reason why an entry cannot be used, and whether it is that the entry leaves the folder."""

    reason: str
    leaves_folder: bool = False


class _EntryCheck:
    """Checks that entries are files inside a folder, with one system call per file and one check per parent folder."""

    def __init__(self, folder):
        self.root, self.follow_links = os.fspath(folder.root), folder.follow_links
        self.outside = {}  # parent -> whether it is outside the root

    def problem(self, path):
        """The _Problem of the entry ``path``, or None."""
        place = os.path.join(self.root, path)
        parent = os.path.dirname(path)
        try:
            if self.follow_links:
                status = os.stat(place)
            else:
                if os.path.isabs(path):
                    return _Problem(f"{named(path)} is absolute, not relative to the list's folder", True)
                if parent not in self.outside:
                    self.outside[parent] = leads_out(os.path.join(self.root, parent), self.root)
                if self.outside[parent]:
                    return _Problem(f"{named(path)} is outside the folder {self.root}", True)
                status = os.lstat(place)
                if stat.S_ISLNK(status.st_mode):
                    if leads_out(place, self.root):
                        return _Problem(f"{named(path)} is a link that leads out of the folder {self.root}", True)
                    status = os.stat(place)
        except (OSError, ValueError):  # ValueError: a NUL byte
            return _Problem(f"there is no file {named(place)}")
        return None if stat.S_ISREG(status.st_mode) else _Problem(f"{named(place)} is not a regular file")

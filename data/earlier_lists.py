"""What lies in the folder of the lists before a split: whether it can be written to, and lists that the user brought along."""

import errno
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data.class_folders import composed
from data.data_folder import DataFolder
from data.found_photographs import SplitError
from data.lists import LABELS, LISTS, DataError, origin_of
from data.paddlex import PADDLEX_FILES, in_lists, is_readable
from data.split_record import PHOTOGRAPHS, RECORD, REPORT, Origin, SplitRecord
from machine.whole_file import PREFIX
from messages.quoting import named

SHOWN = 3  # class names in a message


def check_may_write(folder: DataFolder, overwrite: bool = False, list_format: str = "paddleclas") -> None:
    """Raise SplitError where a split cannot or must not write its lists: before any photograph is read.

    The place must take a new file, no folder may have a list's name, and lists that the toolkit did not write stay unless
    ``overwrite``. labels.txt is up to kept_class_order. Raises FormatError for a newer split.json. A missing data folder is no
    matter of this function.
    """
    if folder.lists_dir is None and not folder.root.is_dir():
        return
    _check_place(folder)
    to_write = (*LISTS, *(PADDLEX_FILES if list_format == "paddlex3" else ()))
    for name in (*to_write, RECORD, REPORT, PHOTOGRAPHS):
        if (folder.lists / name).is_dir():
            raise SplitError(f"{folder.lists / name} is a folder, but a list of this name must be written: rename the folder")
    record = SplitRecord(folder.lists)
    users = [name for name in to_write if name != LABELS and origin_of(record, name) == Origin.USERS]
    if users and not overwrite:
        use = "the scripts use such a list as it is; " if set(users) & set(LISTS) else ""
        raise SplitError(
            f"{named(folder.lists)} holds {', '.join(users)}, not as this toolkit wrote it: {use}--overwrite splits anew and "
            f"keeps the old one as {users[0]}.old"
        )


def kept_class_order(folder: DataFolder, found: Iterable[str], overwrite: bool = False) -> list[str]:
    """The classes ``found`` in the order of their labels: that of labels.txt if it names the same classes, else their own.

    Raises SplitError or DataError, unless ``overwrite``, where the user's own labels.txt names others or cannot be used.
    """
    by_name = {composed(name): name for name in found}
    in_order = list(found)
    origin = origin_of(SplitRecord(folder.lists), LABELS)
    if origin == Origin.MISSING:
        return in_order
    is_bound = origin == Origin.USERS and not overwrite
    try:
        names = [composed(name) for name in folder.read_classes()]
    except DataError as error:
        if is_bound:
            raise DataError(f"{error}; --overwrite writes it anew and keeps this one as {LABELS}.old") from None
        return in_order
    if set(names) == set(by_name):
        return [by_name[name] for name in names]
    if is_bound:
        raise SplitError(
            f"{named(folder.lists / LABELS)} {_difference(names, by_name, folder.root)}: correct it, or let --overwrite write "
            f"it anew and keep this one as {LABELS}.old"
        )
    return in_order


def check_paddlex_paths(folder: DataFolder, files: Mapping[str, Sequence[str]]) -> None:
    """Raise SplitError where PaddleX 3 could read no photograph of a class. ``files``: {class name: [relative path, ...]}."""
    for name, paths in files.items():
        if not any(is_readable(in_lists(path, folder.root, folder.lists)) for path in paths):
            raise SplitError(
                f"class {named(name)}: every path holds a space, which PaddleX 3 cannot read, such as "
                f"{named(folder.root / paths[0])}: rename the folder or the files, or leave out --list_format paddlex3"
            )


def _check_place(folder):
    """Raise SplitError unless files can be made in the folder of the lists, or in the one that it will be made in."""
    place = Path(os.path.abspath(folder.lists))
    while not os.path.lexists(place):
        place = place.parent
    try:
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", str(place))
        handle, probe = tempfile.mkstemp(prefix=PREFIX, dir=place)  # os.access knows nothing of a read-only file system
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        reason = f"{named(place)} cannot be written to ({error.strerror})"
        if folder.lists_dir is None:
            raise SplitError(
                f"{reason}: put the lists elsewhere with --lists_dir FOLDER, which train.py, eval.py and the others take too"
            ) from None
        raise SplitError(f"--lists_dir {named(folder.lists_dir)}: {reason}: choose another folder") from None


def _difference(names, found, root):
    extra, missing = [name for name in names if name not in found], [name for name in found if name not in names]
    if not extra:
        return f"lacks {_some(missing)}, a class of {named(root)}"
    return f"names {_some(extra)}, no class of {named(root)}{f', and lacks {_some(missing)}' if missing else ''}"


def _some(names):
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(named(name) for name in names[:SHOWN]) + more

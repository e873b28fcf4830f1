"""Divides photographs into folds, for k-fold cross-validation, and writes the lists of each fold.

Each photograph is on the validation list of exactly one fold, and on the training lists of all others; the photographs to test
on are in none. So every photograph is once predicted by a network that was not trained on it.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from data.class_folders import sort_key
from data.data_folder import DataFolder
from data.earlier_lists import check_may_write
from data.fold_folders import FOLDS, fold_folders, folder_of_fold
from data.found_photographs import SplitError
from data.lists import LISTS, write_lists
from data.paddlex import PADDLEX_FILES
from data.split_record import RECORD, Origin, SplitRecord
from messages.quoting import listed, named

Entries = Sequence[tuple[str, int]]
"""(relative path, label) of photographs."""


class Fold(NamedTuple):
    """The lists of one fold: the photographs to train on, and those to validate on."""

    train: Entries
    val: Entries


def check_folds(folder: DataFolder, count: int, overwrite: bool, list_format: str) -> None:
    """Raise SplitError where the lists of ``count`` folds cannot or must not be written: see check_may_write."""
    if not count:
        return
    existing = [int(place.name) for place in fold_folders(folder.split_lists)]
    for number in sorted({*existing, *range(1, count + 1)}):
        check_may_write(_with_fold(folder, number), overwrite, list_format)


def divide_into_folds(groups: Mapping[str, Sequence[Sequence[str]]], count: int) -> list[dict[str, list[str]]]:
    """The validation photographs of each of ``count`` folds: [{class: paths}, ...].

    ``groups``: {class: groups of duplicates, in random order}; a group stays whole. Each class is spread evenly over the folds,
    and so are all photographs. Raises SplitError where there are too few groups for each fold to have one.
    """
    total = sum(map(len, groups.values()))
    if total < count:
        raise SplitError(f"folds = {count}: there are {total} different photographs to divide, give at most {total}")
    folds: list[dict[str, list[str]]] = [{name: [] for name in groups} for _ in range(count)]
    sizes = [0] * count
    for name in sorted(groups, key=sort_key):
        for group in sorted(groups[name], key=len, reverse=True):  # what is left to even out is then small
            number = min(range(count), key=lambda fold: (len(folds[fold][name]), sizes[fold]))
            folds[number][name] += group
            sizes[number] += len(group)
    return folds


def lists_of_folds(divided: Sequence[Mapping[str, Sequence[str]]], names: Sequence[str]) -> list[Fold]:
    """The lists of the folds that divide_into_folds has made; ``names``: the classes in the order of their labels."""
    parts = [
        [(path, label) for label, name in enumerate(names) for path in sorted(fold[name], key=sort_key)] for fold in divided
    ]
    whole = [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((path for fold in divided for path in fold[name]), key=sort_key)
    ]
    return [Fold([entry for entry in whole if entry not in own], part) for part, own in zip(parts, map(set, parts))]


def write_folds(
    folder: DataFolder, names: Sequence[str], folds: Sequence[Fold], test: Optional[Entries], list_format: str
) -> None:
    """Write the lists of all folds, the first one last: see count_folds. Raises OSError, FormatError."""
    for number in range(len(folds), 0, -1):
        place, fold = folder_of_fold(folder.split_lists, number), folds[number - 1]
        write_lists(place, names, fold.train, fold.val, test, list_format, folder.root)


def remove_folds(folder: DataFolder) -> list[str]:
    """Remove the lists of folds that an earlier split wrote; returns what the user should know, a line each.

    Lists that somebody has changed stay. Raises OSError, FormatError.
    """
    notes = []
    for place in fold_folders(folder.split_lists):
        record = SplitRecord(place)
        if not record.exists:
            continue
        origins = {name: record.origin(name, by_older=False) for name in (*LISTS, *PADDLEX_FILES)}
        for name, origin in origins.items():
            if origin == Origin.OURS:
                (place / name).unlink()
        changed = [name for name, origin in origins.items() if origin == Origin.USERS]
        if changed:
            notes.append(
                f"{named(place)} keeps {', '.join(changed)}, not as this toolkit wrote it; the split has changed since"
            )
            continue
        (place / RECORD).unlink()
        with contextlib.suppress(OSError):  # something else of the user's is there
            place.rmdir()
    with contextlib.suppress(OSError):
        (folder.split_lists / FOLDS).rmdir()
    return notes


def notes_on_folds(folder: DataFolder, groups: Mapping[str, Sequence[Sequence[str]]], folds: Sequence[Fold]) -> list[str]:
    """What the user should know of the ``folds``, a line each."""
    count, sizes = len(folds), sorted(len(fold.val) for fold in folds)
    size = f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
    place = named(folder.split_lists / FOLDS)
    notes = [
        f"{count} folds of {size} photographs in {place}: train.py --fold 1 trains on one, compare.py --folds {count} on all"
    ]
    few = [f"{named(name)} ({len(own)})" for name, own in groups.items() if len(own) < count]
    if few:
        notes.append(f"fewer different photographs than {count} folds, so that some folds validate none: {listed(few)}")
    return notes


def _with_fold(folder, number):
    return DataFolder(folder.root, folder.follow_links, folder.name, folder.lists_dir, number)

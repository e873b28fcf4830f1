"""Where the lists of folds lie: ``folds/1``, ``folds/2``, ... below the plain lists, each a whole set of lists."""

import os
import re
from pathlib import Path
from typing import Union

FOLDS = "folds"
_NUMBER = re.compile("[1-9][0-9]?")


def folder_of_fold(lists: Path, number: int) -> Path:
    """The folder of the lists of the fold ``number``, from 1; ``lists``: that of the plain lists."""
    return lists / FOLDS / str(number)


def fold_folders(lists: Path) -> list[Path]:
    """The folders of folds that exist, in order of their numbers. Raises OSError for a folder that cannot be read."""
    parent = lists / FOLDS
    found = [entry for entry in parent.iterdir() if _NUMBER.fullmatch(entry.name)] if parent.is_dir() else []
    return sorted((entry for entry in found if entry.is_dir()), key=lambda entry: int(entry.name))


def count_folds(lists: Path) -> int:
    """How many folds the split has, 0 where it has none. The first is written last: where it is, all are."""
    count = 0
    while (folder_of_fold(lists, count + 1) / "val_list.txt").is_file():
        count += 1
    return count


def is_fold_of(place: Union[str, os.PathLike], lists: Union[str, os.PathLike]) -> bool:
    """Whether ``place`` is the folder of a fold below ``lists``, both absolute."""
    parent, number = os.path.split(place)
    return parent == os.path.join(lists, FOLDS) and bool(_NUMBER.fullmatch(number))

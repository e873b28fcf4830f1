"""Sorts photographs into folders by predicted class: links to them or copies, never the photographs themselves."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from prediction.predictions import Prediction

UNSURE = "unsure"
MAX_LETTERS = 100


def sort_photographs(records: Iterable[Prediction], folder: Path, classes: list[str], copy: bool) -> dict[str, int]:
    """Put every readable photograph into ``folder/CLASS``, unsure ones into ``folder/unsure``; returns {folder name: number}.

    As symbolic links, or with ``copy``, or where links cannot be made, as copies. Nothing is overwritten: a photograph of the
    same name gets a number, and one that is there already is passed over. Raises OSError.
    """
    *of_classes, unsure = _folder_names([*classes, UNSURE])
    names = dict(zip(classes, of_classes))
    counts: dict[str, int] = {}
    for record in records:
        if not record.classes:
            continue
        name = unsure if record.unsure else names[record.name]
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        counts[name] = counts.get(name, 0) + _put(Path(record.path), place, copy)
    return counts


def _put(photograph, place, copy):
    """1 if the photograph was put into the folder ``place``, 0 if it was there already."""
    number = 1
    while True:
        ending = f"_{number}" if number > 1 else ""
        target = place / f"{photograph.stem}{ending}{photograph.suffix}"
        if not os.path.lexists(target):
            break
        if _same(photograph, target):
            return 0
        number += 1
    if not copy:
        try:
            target.symlink_to(os.path.abspath(photograph))
            return 1
        except OSError:  # Windows lets only some users make links; some file systems have none
            pass
    with open(target, "xb") as new, open(photograph, "rb") as old:  # "x": never over a file that has appeared meanwhile
        shutil.copyfileobj(old, new)
    return 1


def _same(photograph, target):
    if target.is_symlink():
        return os.path.realpath(target) == os.path.realpath(photograph)
    if not target.is_file() or target.stat().st_size != photograph.stat().st_size:
        return False
    with open(photograph, "rb") as one, open(target, "rb") as other:
        while part := one.read(2**20):
            if part != other.read(2**20):
                return False
    return True


def _folder_names(names):
    """A name of a folder for each of ``names``, all different; a class name from a stranger's run may hold anything."""
    folders, taken = [], set()
    for name in names:
        plain = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", name).strip(". ")[:MAX_LETTERS] or "_"
        folder, number = plain, 1
        while folder.lower() in taken:
            number += 1
            folder = f"{plain}_{number}"
        taken.add(folder.lower())
        folders.append(folder)
    return folders

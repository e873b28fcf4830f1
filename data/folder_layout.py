"""Recognises how a folder of photographs is laid out: class folders, or a split into parts with the same class folders each.

ROOT/CLASS/PHOTOGRAPH, or ROOT/PART/CLASS/PHOTOGRAPH with parts such as train, val and test, as ImageNet, Keras, Ultralytics and
Kaggle have it. Single folders around either are passed over.
"""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional

from data.data_folder import DataFolder
from data.folder_walk import is_hidden, is_output
from data.found_photographs import SplitError
from data.photograph_formats import may_be_photograph

NAMES = {
    "train": {"train", "training", "trainset", "trn"},
    "val": {"val", "valid", "validation", "validate", "valset", "dev"},
    "test": {"test", "testing", "testset", "tst"},
}
"""The words that a part's folder has in its name, alone or with others: seg_train, imagenet-val."""


class Layout(NamedTuple):
    """``base``: the folder of the class folders or of the parts; ``parts``: {side: folder of its class folders} if split."""

    base: Path
    parts: dict[str, Path]


def layout_of(folder: DataFolder) -> Layout:
    """The layout of ``folder``, which exists; raises SplitError where two folders could be the same part, OSError."""
    base = _unwrapped(folder, folder.root)
    parts = {side: _unwrapped(folder, path) for side, path in _parts(base).items()}
    if "train" not in parts or len(parts) == 1:
        return Layout(base, {})
    classes = {side: _names_of_folders(path) for side, path in parts.items()}
    labelled = {side: parts[side] for side in NAMES if side in parts and classes[side] & classes["train"]}
    if len(classes["train"]) < 2:
        return Layout(base, {})
    if len(labelled) == 1 and not look_like_parts(path.name for path in _with_photographs(folder, base)):
        return Layout(base, {})  # a class that is called train, among others
    return Layout(base, labelled)


def side_of(name: str) -> Optional[str]:
    """The part that a folder of this name holds, one of data.lists.SIDES, if the name says so."""
    words = set(re.findall("[a-z]+", name.lower()))
    sides = [side for side, known in NAMES.items() if words & known]
    return sides[0] if len(sides) == 1 else None


def look_like_parts(names: Iterable[str]) -> bool:
    """Whether folders of these names are the parts of a split, of which one is to train on."""
    sides = [side_of(name) for name in names]
    return len(sides) > 1 and None not in sides and "train" in sides


def visible_folders(folder: Path) -> list[Path]:
    """The folders in ``folder`` that can hold photographs, in order of their names; raises OSError."""
    return sorted(_folders(folder))


def _parts(base):
    """{side: its folder}, of the folders whose names say so."""
    found: dict[str, list[Path]] = {}
    for path in visible_folders(base):
        side = side_of(path.name)
        if side:
            found.setdefault(side, []).append(path)
    return {side: path for side in found if (path := _only_part(base, side, found))}


def _only_part(base, side, found):
    """The folder of this side: the one with the plain name, else the one that has class folders in common with other sides."""
    paths = found[side]
    exact = [path for path in paths if path.name.lower() in NAMES[side]]
    if len(paths) == 1 or len(exact) == 1:
        return (exact or paths)[0]
    others = {name for other, members in found.items() if other != side for path in members for name in _names_of_folders(path)}
    alike = [path for path in paths if _names_of_folders(path) & others]
    if len(alike) > 1:
        raise SplitError(
            f"{base} holds {len(alike)} folders that could be the {side} part of a split: "
            f"{', '.join(path.name for path in alike)}; keep one there"
        )
    return alike[0] if alike else None


def _unwrapped(folder, place):
    """``place``, or the first folder below it that holds several folders of photographs, past single ones."""
    inner = place
    while True:
        inside = list(itertools.islice(_with_photographs(folder, inner), 2))
        if len(inside) > 1:
            return inner
        if len(inside) != 1 or any(may_be_photograph(path) for path in inner.iterdir() if path.is_file()):
            return place
        inner = inside[0]


def _with_photographs(folder, place):
    """The folders in ``place`` that hold a photograph at any depth, or that cannot be read."""
    return (path for path in visible_folders(place) if _has_photograph(folder, path))


def _has_photograph(folder, place):
    if folder.leads_out(place):
        return True  # it will be named
    try:
        return any(problem is not None or may_be_photograph(path) for path, problem in folder.files_below(place))
    except OSError:
        return True


def _names_of_folders(place):
    return {path.name for path in _folders(place)}


def _folders(place):
    """Folders that links lead to count only for the search of classes, which checks where they lead."""
    found = [path for path in place.iterdir() if path.is_dir() and not is_hidden(path.name)]
    return [path for path in found if not is_output(path)]

"""Recognises how a folder of photographs is laid out: class folders, or a split into parts with the same class folders each.

ROOT/CLASS/PHOTOGRAPH, or ROOT/PART/CLASS/PHOTOGRAPH with parts such as train, val and test, as ImageNet, Keras, Ultralytics and
Kaggle have it. Single folders around either are passed over.
"""

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
    base = _unwrapped(folder.root)
    parts = {side: _unwrapped(path) for side, path in _parts(base).items()}
    if "train" not in parts:
        return Layout(base, {})
    classes = {side: {entry.name for entry in _folders(path)} for side, path in parts.items()}
    labelled = {side: path for side, path in parts.items() if classes[side] & classes["train"]}
    split = len(classes["train"]) > 1 and len(labelled) > 1
    return Layout(base, {side: labelled[side] for side in NAMES if side in labelled} if split else {})


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
    found: dict[str, list[Path]] = {}
    for path in visible_folders(base):
        side = side_of(path.name)
        if side:
            found.setdefault(side, []).append(path)
    for side, paths in found.items():
        exact = [path for path in paths if path.name.lower() in NAMES[side]]
        if len(exact) == 1:
            paths[:] = exact
        elif len(paths) > 1 and "train" in found and len(found) > 1:
            raise SplitError(
                f"{base} holds {len(paths)} folders that could be the {side} part of a split: "
                f"{', '.join(path.name for path in paths)}; keep one there"
            )
    return {side: paths[0] for side, paths in found.items()}


def _unwrapped(folder):
    """``folder``, or the first folder below it that holds several folders, past single folders that hold nothing else."""
    inner = folder
    while True:
        inside = _folders(inner)
        if len(inside) > 1:
            return inner
        if len(inside) != 1 or any(may_be_photograph(path) for path in inner.iterdir() if path.is_file()):
            return folder
        inner = inside[0]


def _folders(folder):
    """Folders that links lead to count only for the search of classes, which checks where they lead."""
    found = [path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)]
    return [path for path in found if not is_output(path)]

"""Lists in the form that PaddleX 3 wants: train.txt, val.txt and test.txt ("path label"), label.txt ("0 dog").

Tried with the data set checker of paddlex 3.7.2 (modules/image_classification/dataset_checker). It splits a line at every
space, so that no path may hold one, and looks for label.txt, train.txt and val.txt in one folder.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Union

LIST_FORMATS = ("paddleclas", "paddlex3")
"""paddleclas: only the lists of data/lists.py; paddlex3: besides them these."""
LABEL_FILE = "label.txt"
SIDE_FILES = {"train": "train.txt", "val": "val.txt", "test": "test.txt"}
PADDLEX_FILES = (LABEL_FILE, *SIDE_FILES.values())


class PaddleXLists(NamedTuple):
    """``texts``: {file name: text}. ``left_out``: how many photographs PaddleX cannot read by their path.

    ``lost``: [(class name, file name), ...] of the classes that have photographs on a side, of which none could be listed.
    """

    texts: dict[str, str]
    left_out: int
    lost: list[tuple[str, str]]


def is_readable(path: str) -> bool:
    """Whether PaddleX 3 and PaddleClas can read a line with this path: it has no space, and no white space in front."""
    return " " not in path and path == path.lstrip()


def in_lists(path: str, photographs: Union[str, os.PathLike], lists: Union[str, os.PathLike]) -> str:
    """``path``, relative to the folder ``photographs``, as a list in the folder ``lists`` names it to PaddleX.

    PaddleX joins it to the folder of the lists, so it must be absolute where that is another one.
    """
    same = os.path.abspath(photographs) == os.path.abspath(lists)
    return path if same else f"{os.path.abspath(photographs)}/{path}"


def paddlex_lists(
    classes: Sequence[str],
    sides: Mapping[str, Iterable[tuple[str, int]]],
    photographs: Union[str, os.PathLike],
    lists: Union[str, os.PathLike],
) -> PaddleXLists:
    """The files for PaddleX 3. ``sides``: {"train" or another of SIDES: [(relative path, label), ...]}."""
    texts = {LABEL_FILE: "".join(f"{label} {name}\n" for label, name in enumerate(classes))}
    left_out, lost = 0, []
    for side, entries in sides.items():
        lines, labels, listed = [], set(), set()
        for path, label in entries:
            place = in_lists(path, photographs, lists)
            labels.add(label)
            if is_readable(place):
                listed.add(label)
                lines.append(f"{place} {label}\n")
            else:
                left_out += 1
        texts[SIDE_FILES[side]] = "".join(lines)
        lost += [(classes[label], SIDE_FILES[side]) for label in sorted(labels - listed)]
    return PaddleXLists(texts, left_out, lost)

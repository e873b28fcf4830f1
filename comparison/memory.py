"""Photographs of a comparison that have a nearly equal one among those that the networks were trained on.

On such a photograph a network may be right because it remembers, not because it generalises (B. Barz, J. Denzler, "Do We Train
on Test Data? Purging CIFAR of Near-Duplicates", Journal of Imaging 6, 2020).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from comparison.answers import Answers
from comparison.bilingual import Bilingual
from comparison.photographs_alike import MANY, MOST, Alike, of_each
from data.data_sets import open_side
from data.data_source import DataSource
from data.lists import DataError
from data.near_duplicates import Traits, nearest_of, traits_of
from data.photograph_dataset import PhotographDataset
from trained.result import read_result


class Remembered(NamedTuple):
    """``like``: for each photograph the name of a training photograph that is nearly equal, or ""; None: not looked for, and
    ``note`` says why where that is not plain."""

    like: Optional[list[str]] = None
    note: Optional[Bilingual] = None


def find_remembered(answers: Answers, alike: Alike, source: Optional[DataSource], trainings: Mapping[int, Path]) -> Remembered:
    """Look for the photographs of ``answers`` among those that their networks were trained on.

    ``alike``: of the photographs of ``answers``; ``source``: the place of the training photographs, None where they may not be
    read; ``trainings``: {fold: a run}, 0 without folds. The lists must still be those that the runs were trained on.
    """
    if alike.looks is None:
        return Remembered()  # a note on the photographs themselves is there already
    if answers.folds is not None:
        return Remembered(_in_other_folds(answers, alike.looks))
    try:
        lists = _training_lists(source, trainings) if source else {}
    except DataError:
        lists = {}
    if not lists:
        return Remembered()
    if len(lists) > MOST:
        return Remembered(
            note=Bilingual(
                f"Nearly equal ones were not looked for among the {len(lists):,} training photographs.",
                f"训练照片有 {len(lists):,} 张，没有从中寻找几乎相同的照片。",
            )
        )
    if len(lists) > MANY:
        print(f"looking for nearly equal photographs among the {len(lists):,} of the training", flush=True)
    names = list(lists)
    try:
        looks = of_each(names, lambda name: _look(*lists[name]))
    except (DataError, OSError):
        return Remembered(
            note=Bilingual(
                "Nearly equal ones were not looked for among the training photographs: not all can be read.",
                "没有在训练照片中寻找几乎相同的照片：有的读不出来。",
            )
        )
    return Remembered([names[place] if place >= 0 else "" for place in nearest_of(alike.looks, looks)])


def _in_other_folds(answers, looks: list[Traits]) -> list[str]:
    """A fold's trainings had the photographs of the other folds."""
    like = [""] * len(looks)
    for fold in np.unique(answers.folds):
        own, others = np.flatnonzero(answers.folds == fold), np.flatnonzero(answers.folds != fold)
        nearest = nearest_of([looks[index] for index in own], [looks[index] for index in others])
        for index, place in zip(own, nearest):
            like[index] = answers.names[others[place]] if place >= 0 else ""
    return like


def _training_lists(source, trainings) -> dict[str, tuple[PhotographDataset, int]]:
    """{name: (its list, index there)} of all photographs that any of the ``trainings`` had; empty where a list is another one
    now."""
    found = {}
    for fold, run in trainings.items():
        listed = open_side(source._replace(fold=fold), "train", image_size=1)
        if listed.digest() != read_result(run).get("list_sha256", {}).get("train"):
            return {}
        found.update((sample.name, (listed, place)) for place, sample in enumerate(listed.samples))
    return found


def _look(listed, place):
    return traits_of(listed.photograph(place))

"""Why networks differ: what is known of each photograph, where one network is better, what the verdict hangs on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from comparison.answers import Answers
from comparison.bilingual import Bilingual
from comparison.memory import find_remembered
from comparison.object_size import measure_objects
from comparison.photographs_alike import Alike
from comparison.slices import differing_slices, parts_of
from comparison.without import Said, restated
from data.data_source import DataSource
from machine.whole_file import write_csv
from messages.quoting import named

FILE = "photographs.csv"
SHOWN = 3  # names in a note
IN_TRAINING = Bilingual("photographs with a nearly equal one in training", "训练列表中有几乎相同者的照片")


class Traits(NamedTuple):
    """What is known of the photographs of a comparison.

    ``measured``: {key of slices.THIRDS: [photographs]} of those that could be; ``like_in_training``: of each the name of a
    nearly equal training photograph, or ""; ``contested``: {index: the class that all networks say in place of the label}; None
    where not known. ``wrong``: bool [photographs], of those that the majority of each network's trainings has wrong. ``notes``:
    why something is not known.
    """

    measured: dict[str, np.ndarray]
    like_in_training: Optional[list[str]]
    contested: Optional[dict[int, str]]
    wrong: np.ndarray
    notes: list[Bilingual]


def traits_of_photographs(
    answers: Answers,
    alike: Alike,
    contested: Optional[dict[int, str]],
    seeds: Mapping[str, Sequence[Mapping[int, Path]]],
    split: str,
    source: Optional[DataSource],
    multiply_adds: float,
) -> Traits:
    """The Traits of the photographs of ``answers``.

    ``alike``, ``contested``: of them; ``seeds``: {network: {fold: evaluated run} of each seed}; ``source``: the place of the
    photographs, None where they may not be read; ``multiply_adds``: of all networks for one image.
    """
    first = [own[0] for own in seeds.values()]
    remembered = find_remembered(answers, alike, source, first[0])  # all were trained on the same photographs
    objects = measure_objects(answers.names, source, split, first, multiply_adds)
    measured = dict(alike.traits or {})
    if objects.shares is not None:
        measured["object_share"] = objects.shares
    wrong = np.asarray(np.all([own.mean(axis=0) < 0.5 for own in answers.correct.values()], axis=0))
    notes = [note for note in (remembered.note, objects.note) if note]
    return Traits(measured, remembered.like, contested, wrong, notes)


def lines_of_why(answers: Answers, alike: Alike, traits: Traits, said: list[Said], level: float) -> list[Bilingual]:
    """Notes: slices on which networks differ, at the ``level`` of all together, and what the verdict hangs on."""
    like = np.array([bool(name) for name in traits.like_in_training or [""] * len(answers.names)])
    parts = parts_of(answers.labels, traits.measured, {IN_TRAINING: like})
    standing = differing_slices(answers.correct, parts, answers.folds, alike.clusters, level)
    lines = [*traits.notes, *(found.line() for found in standing)]
    if traits.wrong.any():
        names, more = _some(answers.names, traits.wrong)
        lines.append(
            Bilingual(
                f"{_count(traits.wrong, 'is', 'are')} wrong for every network: {', '.join(names)}"
                f"{f' and {more:,} more ({FILE})' if more else ''}.",
                f"{_share(traits.wrong)}每个网络都答错：{'、'.join(names)}"
                f"{f'，以及另外 {more:,} 张（{FILE}）' if more else ''}。",
            )
        )
    if like.any():
        lines.append(_without_remembered(answers, alike, like, said))
    if traits.contested:
        lines.append(_without_contested(answers, alike, traits.contested, said))
    return lines


def _without_remembered(answers, alike, like, said):
    line = Bilingual(
        f"{_count(like, 'has', 'have')} a nearly equal one among those of the training and may be remembered ({FILE}).",
        f"{_share(like)}在训练列表中有几乎相同的照片，网络可能只是记住了它们（{FILE}）。",
    )
    found = restated(said, answers, like, alike.clusters)
    if found is None:
        return line
    accuracies = [f"{name} {accuracy:.4f}" for name, accuracy in found.accuracies.items()]
    words = found.words()
    return Bilingual(
        f"{line} Without them accuracies are {', '.join(accuracies)}; {words}.",
        f"{line.chinese}不算它们，准确率为 {'、'.join(accuracies)}；{words.chinese}。",
    )


def _without_contested(answers, alike, contested, said):
    mask = np.isin(np.arange(len(answers.names)), list(contested))
    line = Bilingual(
        f"{_count(mask, 'has', 'have')} a label that every network contests, which may be wrong ({FILE} has theirs).",
        f"{_share(mask)}的标签受到每个网络质疑，可能标错了（网络给出的类别在 {FILE} 中）。",
    )
    found = restated(said, answers, mask, alike.clusters)
    if found is None:
        return line
    words = found.words()
    return Bilingual(
        f"{line} Without them, which the networks themselves chose, {words}.",
        f"{line.chinese}不算这些由网络自己挑出的照片，{words.chinese}。",
    )


def _count(mask, verb_of_one, verb):
    return f"{mask.sum():,} of the {len(mask):,} photographs {verb_of_one if mask.sum() == 1 else verb}"


def _share(mask):
    """The same as ``_count`` without a verb, in Chinese."""
    return f"{len(mask):,} 张照片中有 {mask.sum():,} 张"


def _some(names, mask):
    """(the first names of those, how many more there are)."""
    found = [named(name) for name, own in zip(names, mask) if own]
    return found[:SHOWN], len(found[SHOWN:])


def write_photographs(folder: Path, answers: Answers, traits: Traits) -> None:
    """Write photographs.csv: a row for each photograph, in the order of its list. Raises OSError.

    Its path and label; for each network ``right_NETWORK``, the share of its trainings that were right; ``all_wrong``, "yes" or
    "no"; then, as far as they are known, what ``Traits`` holds. Empty: not known, or none.
    """
    keys, networks = list(traits.measured), list(answers.correct)
    header = ["path", "label", *(f"right_{name}" for name in networks), "all_wrong", *keys, "like_in_training", "contested_by"]
    write_csv(folder / FILE, header, _rows(answers, traits))


def _rows(answers, traits):
    like, contested = traits.like_in_training or [""] * len(answers.names), traits.contested or {}
    shares = np.stack([own.mean(axis=0) for own in answers.correct.values()])
    for place, (name, label) in enumerate(zip(answers.names, answers.labels)):
        measured = ["" if np.isnan(own[place]) else f"{own[place]:.4f}" for own in traits.measured.values()]
        right = [f"{share:.4f}" for share in shares[:, place]]
        yield [name, label, *right, "yes" if traits.wrong[place] else "no", *measured, like[place], contested.get(place, "")]

"""Photographs of a comparison whose labels all of its networks contest.

Confident learning (evaluation.confident_learning) needs probabilities of networks that were not trained on the photographs, as
those of a comparison were not. predictions.csv holds the most probable class with its probability; the others count as nothing.
In simulations that finds the photographs that all probabilities find.

Weak networks contest many right labels, those among them on which only the better network is right: without these it would look
better than it is. So a label is contested only where each network, by its trainings together, says the class that confident
learning suggests, and all on average are sure of it: their confidences are calibrated. benchmarks/contested_labels.py and
docs/verdict.md say how often they are wrong.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from comparison.answers import Answers
from evaluation.confident_learning import find_label_errors
from evaluation.report import read_predictions

SURE = 0.9
"""The least mean confidence in another class that contests a label."""
MAX_VOTES = 2**26  # photographs times classes times networks: half a gigabyte


def contested_labels(
    answers: Answers, seeds: Mapping[str, Sequence[Mapping[int, Path]]], split: str
) -> Optional[dict[int, str]]:
    """{index of a photograph: the class that all networks say} where the label is contested; None: too many to tell, or
    some confidences are not known.

    ``seeds``: {network: {fold: evaluated run} of each seed}, those of ``answers``. Raises EvaluationError.
    """
    predictions = {name: [read_predictions(run, split) for one in own for run in one.values()] for name, own in seeds.items()}
    classes = sorted({*answers.labels, *(guess for own in predictions.values() for one in own for guess in one.guesses)})
    unknown = any(np.isnan(one.confidences).any() for own in predictions.values() for one in own)
    if unknown or len(answers.names) * len(classes) * len(seeds) > MAX_VOTES:
        return None
    number = {name: place for place, name in enumerate(classes)}
    row = {name: place for place, name in enumerate(answers.names)}
    of_networks = []
    for own in predictions.values():
        votes, trainings = np.zeros((len(answers.names), len(classes))), np.zeros(len(answers.names))
        for one in own:
            places = [row[path] for path in one.paths]
            np.add.at(votes, (places, [number[guess] for guess in one.guesses]), one.confidences)
            np.add.at(trainings, places, 1)  # with folds, not all trainings predicted it
        of_networks.append(votes / np.maximum(trainings, 1)[:, None])
    found = other_classes(np.array([number[label] for label in answers.labels]), of_networks)
    return {int(place): classes[found[place]] for place in np.flatnonzero(found >= 0)}


def other_classes(labels: np.ndarray, votes: Sequence[np.ndarray]) -> np.ndarray:
    """int [N]: the class that contests each of the ``labels`` [N], -1 where none does.

    ``votes``: of each network [N, C], of each class the mean confidence of its trainings, 0 from those that say another one.
    """
    together = np.mean(votes, axis=0)  # each network weighs the same
    errors = find_label_errors(labels, together)
    agreed = np.all([own.argmax(axis=1) == errors.suggested for own in votes], axis=0)
    return np.where(errors.contested & agreed & (together.max(axis=1) >= SURE), errors.suggested, -1)

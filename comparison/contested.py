"""Photographs of a comparison whose labels all of its networks contest.

Confident learning (evaluation.confident_learning) needs probabilities of networks that were not trained on the photographs, as
those of a comparison were not. predictions.csv holds the most probable class with its probability; the others count as nothing.
In simulations that finds the photographs that all probabilities find.

Weak networks contest many right labels, those among them on which only the better network is right: without these it would look
better than it is. So a label is contested only where each network, by its trainings together, says the class that confident
learning suggests, and all on average are sure of it: their confidences are calibrated. docs/verdict.md says how often they are
wrong.
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
MAX_VOTES = 2**26  # photographs times classes: half a gigabyte


def contested_labels(
    answers: Answers, seeds: Mapping[str, Sequence[Mapping[int, Path]]], split: str
) -> Optional[dict[int, str]]:
    """{index of a photograph: the class that all networks say} where the label is contested; None: too many to tell.

    ``seeds``: {network: {fold: evaluated run} of each seed}, those of ``answers``. Raises EvaluationError.
    """
    predictions = {name: [read_predictions(run, split) for one in own for run in one.values()] for name, own in seeds.items()}
    classes = sorted({*answers.labels, *(guess for own in predictions.values() for one in own for guess in one.guesses)})
    if len(answers.names) * len(classes) > MAX_VOTES:
        return None
    number = {name: place for place, name in enumerate(classes)}
    row = {name: place for place, name in enumerate(answers.names)}
    together = np.zeros((len(answers.names), len(classes)))
    said = []
    for own in predictions.values():
        votes, trainings = np.zeros_like(together), np.zeros(len(answers.names))
        for one in own:
            places = [row[path] for path in one.paths]
            np.add.at(votes, (places, [number[guess] for guess in one.guesses]), one.confidences)
            np.add.at(trainings, places, 1)  # with folds, not all trainings predicted it
        said.append(votes.argmax(axis=1))
        together += votes / np.maximum(trainings, 1)[:, None]  # each network weighs the same
    together /= len(predictions)
    labels = np.array([number[label] for label in answers.labels])
    errors = find_label_errors(labels, together)
    agreed = errors.contested & np.all([own == errors.suggested for own in said], axis=0)
    agreed &= together.max(axis=1) >= SURE
    return {int(place): classes[errors.suggested[place]] for place in np.flatnonzero(agreed)}

"""Photographs of a comparison whose labels all of its networks contest.

Confident learning (evaluation.confident_learning) needs probabilities of networks that were not trained on the photographs, as
those of a comparison were not. predictions.csv holds the most probable class with its probability; the others count as nothing.
In simulations that finds the photographs that all probabilities find.

Networks that err often contest many right labels, and those that the better network has right among them: without these, it
would look better than it is. So a label is contested only where each network, by its trainings together, says the class that
confident learning suggests.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from comparison.answers import Answers
from evaluation.confident_learning import find_label_errors
from evaluation.report import read_predictions

MOST_SHARE = 0.1
"""Of the photographs: where more would be contested, the networks are too weak to contest labels. Ten well-known test sets have
0.15% to 10.1% wrong labels (C. G. Northcutt, A. Athalye, J. Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine
Learning Benchmarks", NeurIPS Datasets and Benchmarks 2021)."""
MAX_VOTES = 2**26  # photographs times classes: half a gigabyte


def contested_labels(
    answers: Answers, seeds: Mapping[str, Sequence[Mapping[int, Path]]], split: str
) -> Optional[dict[int, str]]:
    """{index of a photograph: the class that all networks say}, empty where no label is contested; None: not to be told.

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
        votes = np.zeros_like(together)
        for one in own:
            places = ([row[path] for path in one.paths], [number[guess] for guess in one.guesses])
            np.add.at(votes, places, one.confidences)
        said.append(votes.argmax(axis=1))
        together += votes / len(own)  # each network weighs the same
    together /= len(predictions)
    labels = np.array([number[label] for label in answers.labels])
    errors = find_label_errors(labels, together)
    agreed = errors.contested & np.all([own == errors.suggested for own in said], axis=0)
    if agreed.sum() > MOST_SHARE * len(labels):
        return None
    return {int(place): classes[errors.suggested[place]] for place in np.flatnonzero(agreed)}

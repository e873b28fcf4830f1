"""Which photographs the networks of a comparison got right, each by a training that did not see it."""

from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from comparison.run_groups import ComparisonError
from evaluation.report import read_correct


class Answers(NamedTuple):
    """``names`` of the photographs, ``labels``, names of their classes; ``correct``: {network: bool [seeds, photographs]}, on
    the test list with folds the share of the trainings that were right. ``folds``: [photographs], the fold whose trainings
    predicted each; None where all trainings predicted all."""

    names: list[str]
    labels: list[str]
    correct: dict[str, np.ndarray]
    folds: Optional[np.ndarray] = None

    @property
    def fold_count(self) -> int:
        """How many folds predicted the photographs, 0 without folds."""
        return 0 if self.folds is None else len(np.unique(self.folds))

    def accuracies_of_folds(self, correct: np.ndarray) -> list[float]:
        """The accuracy in each fold of ``correct``, [photographs]; empty without folds."""
        return [] if self.folds is None else [float(correct[self.folds == fold].mean()) for fold in np.unique(self.folds)]


def read_answers(seeds: dict[str, list[dict[int, Path]]], split: str) -> Answers:
    """The Answers of evaluated runs; ``seeds``: {network: {fold: run} of each seed}, all with the same folds.

    Raises EvaluationError where two runs on one fold were evaluated on different photographs, ComparisonError where a
    photograph is in two folds.
    """
    all_seeds = [of_seed for own in seeds.values() for of_seed in own]
    folds = list(all_seeds[0])
    if split == "test" or folds == [0]:
        names, labels, correct = read_correct([run for of_seed in all_seeds for run in of_seed.values()], split)
        if len(folds) > 1:
            # [seeds * folds, photographs] -> [seeds, folds, photographs] -> [seeds, photographs]
            correct = correct.reshape(len(all_seeds), len(folds), -1).mean(axis=1)
        return Answers(names, labels, _by_network(seeds, correct))
    names, labels, parts = [], [], []
    for fold in folds:
        own_names, own_labels, correct = read_correct([of_seed[fold] for of_seed in all_seeds], split)
        names += own_names
        labels += own_labels
        parts.append(correct)
    if len(set(names)) < len(names):
        raise ComparisonError(
            "a photograph is on the validation lists of two folds: the runs are of different splits, compare those of one"
        )
    numbers = np.repeat(folds, [part.shape[1] for part in parts])
    return Answers(names, labels, _by_network(seeds, np.concatenate(parts, axis=1)), numbers)


def _by_network(seeds, correct):
    bounds = np.cumsum([len(own) for own in seeds.values()])[:-1]
    return dict(zip(seeds, np.split(correct, bounds)))

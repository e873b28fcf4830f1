"""Confident learning: which labels are probably wrong, by networks that have not seen them.

C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial
Intelligence Research 70, 2021.
"""

from typing import NamedTuple

import numpy as np


class LabelErrors(NamedTuple):
    """What confident learning finds about N photographs of C classes.

    ``contested``: bool [N], whether the photograph is off the diagonal of the confident joint. ``suggested``: int [N], the
    class that it counts for there, of the others the most probable one. ``score``: float [N], the self-confidence, which
    is the probability of the given label: the lower, the more doubtful it is. ``order``: int [N], indices with the worst
    first, by the score. ``expected``: how many labels are wrong by the calibrated joint, which takes mistakes of weak networks
    for wrong labels.
    """

    contested: np.ndarray
    suggested: np.ndarray
    score: np.ndarray
    order: np.ndarray
    expected: float


def find_label_errors(labels: np.ndarray, probabilities: np.ndarray) -> LabelErrors:
    """The LabelErrors of photographs with the given ``labels``, int [N].

    ``probabilities``: [N, C], out of sample: no row is of a network that was trained on the photograph.
    """
    rows = np.arange(len(labels))
    score = probabilities[rows, labels]
    confident = confident_classes(labels, probabilities)
    contested = (confident >= 0) & (confident != labels)
    suggested = np.where(contested, confident, probabilities.argmax(axis=1))
    order = np.argsort(score, kind="stable")
    return LabelErrors(contested, suggested, score, order, expected_errors(labels, confident, probabilities.shape[1]))


def confident_classes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """int [N]: the class that each photograph counts for in the confident joint, -1 where it counts for none (equation 1).

    A class is confident where its probability reaches the mean that it has over the photographs with that label (equation 2);
    of several the most probable one counts.
    """
    sums = np.zeros(probabilities.shape[1])
    np.add.at(sums, labels, probabilities[np.arange(len(labels)), labels])
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)  # a class without photographs is never confident
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)


def expected_errors(labels: np.ndarray, confident: np.ndarray, classes: int) -> float:
    """How many of the labels are wrong: the sum off the diagonal of the joint, calibrated so that each row sums to the number
    of photographs with that label (equation 3). ``confident``: of confident_classes."""
    joint = np.zeros((classes, classes))
    counted = confident >= 0
    np.add.at(joint, (labels[counted], confident[counted]), 1)
    totals, sizes = joint.sum(axis=1), np.bincount(labels, minlength=classes)
    wrong = totals - np.diag(joint)
    return float((wrong / np.maximum(totals, 1) * sizes).sum())

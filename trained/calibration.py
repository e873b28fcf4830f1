"""Confidence that means something: temperature scaling.

A network's logits are divided by one number, the temperature, before softmax; it is fitted on photographs that the network was
not trained on. Which class is the most probable does not change. Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger, "On
Calibration of Modern Neural Networks", ICML 2017, section 4.2.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from trained.rules import is_number

LOWEST, HIGHEST = 0.05, 20.0
"""The bounds of a temperature."""
FOLDS = 5
CHUNK = 2**20  # logits in float64 at once
STEPS = 60  # at most: halving the bounds alone would take 33


def is_temperature(value: Any) -> bool:
    """Whether it is a number within the bounds of a temperature."""
    return is_number(value) and LOWEST <= value <= HIGHEST


def probabilities_of(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """softmax(logits / temperature): float64 [N, C] of logits [N, C]."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: ArrayLike) -> float:
    """The temperature, within LOWEST and HIGHEST, at which the cross-entropy of logits [N, C] with labels int [N] is least.

    To the photographs comes one more whose class nobody knows: its logits are the mean photograph's, and every class is its
    label in equal parts. Without it, a network that makes no mistake on a few photographs would be taken for one that never
    errs; among many, one makes no difference. It is the correction of J. Platt, "Probabilistic Outputs for Support Vector
    Machines", 1999, section 2.2, for several classes.

    Photographs with a logit that is not finite are left out. 1.0 where nothing can be learned: without photographs, or if all
    logits of each are equal.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    usable = np.isfinite(logits).all(axis=1)
    logits, labels = logits[usable], labels[usable]
    # The cross-entropy is convex in b = 1 / temperature, so its slope has one root: Newton's method in log b, which the bounds
    # of the root keep in check
    place, low, high = 0.0, -math.log(HIGHEST), -math.log(LOWEST)
    slope, bend = _derivatives(logits, labels, place) if len(labels) else (0.0, 0.0)
    if slope == 0:
        return 1.0
    bound = low if slope > 0 else high
    if _derivatives(logits, labels, bound)[0] * slope >= 0:
        return LOWEST if bound == high else HIGHEST
    for _ in range(STEPS):
        low, high = (low, place) if slope > 0 else (place, high)
        newton = place - slope / bend if bend > 0 else math.inf
        place, before = (newton if low < newton < high else (low + high) / 2), place
        if abs(place - before) < 1e-9:
            break
        slope, bend = _derivatives(logits, labels, place)
    return float(f"{math.exp(-place):.6g}")


def cross_fitted(logits: np.ndarray, labels: ArrayLike, folds: int = FOLDS) -> np.ndarray:
    """Calibrated probabilities float64 [N, C], those of each photograph with a temperature that was fitted on others.

    A temperature fitted on the same photographs would flatter itself. The photographs of each class go to the folds in turn.
    """
    labels = np.asarray(labels)
    fold = np.empty(len(labels), int)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % folds
    found = np.empty(logits.shape)
    for number in range(folds):
        own = fold == number
        found[own] = probabilities_of(logits[own], fit_temperature(logits[~own], labels[~own]))
    return found


def _derivatives(logits, labels, place):
    """The slope of the mean cross-entropy as to b, and b times its second derivative, at b = exp(place)."""
    inverse, count = math.exp(place), len(labels)
    slope = bend = 0.0
    for start in range(0, count, rows := max(1, CHUNK // logits.shape[1])):
        part = logits[start : start + rows].astype(np.float64)
        part -= part.max(axis=1, keepdims=True)
        chances = probabilities_of(part, 1 / inverse)
        mean = (chances * part).sum(axis=1)
        of_label = part[np.arange(len(part)), labels[start : start + rows]]
        slope += (mean - (of_label + part.mean(axis=1) / count) / (1 + 1 / count)).sum()
        bend += inverse * (chances * (part - mean[:, None]) ** 2).sum()
    return float(slope / count), float(bend / count)

"""Confidence that means something: temperature scaling.

A network's logits are divided by one number, the temperature, before softmax; it is fitted on photographs that the network was
not trained on. Which class is the most probable does not change. Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger, "On
Calibration of Modern Neural Networks", ICML 2017, section 4.2.
"""

import math
from typing import Any, Union

import numpy as np
from numpy.typing import ArrayLike

from trained.rules import is_number

LOWEST, HIGHEST = 0.05, 20.0
"""The bounds of a temperature."""
FOLDS = 5
MAX_LOGITS = 2**22
"""That a temperature is fitted on: all, or those of every second, fourth, ... photograph. One number needs no more, and memory
and time are bounded: of 1000 classes, 4194 photographs."""
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


def confidences_of(logits: np.ndarray, temperature: Union[float, np.ndarray] = 1.0) -> np.ndarray:
    """The probability of the most probable class: float64 [N] of logits [N, C]; ``temperature``: of all, or [N], of each."""
    temperatures = np.broadcast_to(np.asarray(temperature, np.float64), len(logits))
    rows = max(1, CHUNK // logits.shape[1])
    parts = ((logits[start : start + rows], temperatures[start : start + rows]) for start in range(0, len(logits), rows))
    # What probabilities_of gives the class with the highest logit: exp(0) by the sum
    found = [1 / np.exp((part - part.max(axis=1, keepdims=True)) / own[:, None]).sum(axis=1) for part, own in parts]
    return np.concatenate([np.empty(0), *found])


def fit_temperature(logits: np.ndarray, labels: ArrayLike) -> float:
    """The temperature, within LOWEST and HIGHEST, at which the cross-entropy of logits [N, C] with labels int [N] is least.

    To the photographs comes one more whose class nobody knows: its logits are the mean photograph's, and every class is its
    label in equal parts. Without it, a network that makes no mistake on a few photographs would be taken for one that never
    errs; among many, one makes no difference. It is the correction of J. Platt, "Probabilistic Outputs for Support Vector
    Machines", 1999, section 2.2, for several classes.

    Only every second, fourth, ... photograph counts where there are more than MAX_LOGITS logits. Photographs with a logit that
    is not finite are left out. 1.0 where nothing can be learned: without photographs, or if all
    logits of each are equal.
    """
    every = 1
    while len(logits) > every * max(1, MAX_LOGITS // max(1, logits.shape[1])):
        every *= 2
    logits, known = logits[::every], np.asarray(labels)[::every]
    usable = np.isfinite(logits).all(axis=1)
    logits, known = logits[usable], known[usable]
    # The cross-entropy is convex in b = 1 / temperature, so its slope has one root: Newton's method in log b, which the bounds
    # of the root keep in check
    place, low, high = 0.0, -math.log(HIGHEST), -math.log(LOWEST)
    slope, bend = _derivatives(logits, known, place) if len(known) else (0.0, 0.0)
    if slope == 0:
        return 1.0
    bound = low if slope > 0 else high
    if _derivatives(logits, known, bound)[0] * slope >= 0:
        return LOWEST if bound == high else HIGHEST
    for _ in range(STEPS):
        low, high = (low, place) if slope > 0 else (place, high)
        newton = place - slope / bend if bend > 0 else math.inf
        place, before = (newton if low < newton < high else (low + high) / 2), place
        if abs(place - before) < 1e-9:
            break
        slope, bend = _derivatives(logits, known, place)
    return float(f"{math.exp(-place):.6g}")


def cross_fitted(logits: np.ndarray, labels: ArrayLike, folds: int = FOLDS) -> np.ndarray:
    """A temperature for each photograph that was fitted on others: float64 [N], of logits [N, C] and labels int [N].

    A temperature fitted on the same photographs would flatter itself. The photographs of each class go to the folds in turn.
    """
    known = np.asarray(labels)
    fold = np.empty(len(known), int)
    fold[np.argsort(known, kind="stable")] = np.arange(len(known)) % folds
    of_folds = [fit_temperature(logits[fold != number], known[fold != number]) for number in range(folds)]
    return np.array(of_folds)[fold]


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

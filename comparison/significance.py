"""Whether the data support that one network is better than another.

Both networks classified the same photographs, each after trainings from several seeds. Two things make the difference of their
mean accuracies uncertain: which photographs happen to be in the validation list, and which seeds the trainings happened to
have. A paired bootstrap resamples both (B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993); as a laptop can
afford only few seeds, Student's t replaces the normal distribution. Where chance differences from photograph to photograph are
larger than those from seed to seed, both resamplings count them, and the intervals are wider than necessary.

With folds, each photograph is judged by the trainings of the one fold whose validation list it is on. Seeds are then resampled
within each fold: trainings of different folds are no repetitions of each other, as they saw other photographs. With one seed
the differences of the folds show how much trainings scatter, with the correction for training lists that overlap (C. Nadeau,
Y. Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003).
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

REPLICATES = 2000
T_DRAWS = 200_000
CONFIDENCE = 0.95


class Difference(NamedTuple):
    """Mean accuracy of the first network minus that of the second, its 95% interval ``low`` to ``high``, two-sided p-value.

    ``seeds``: whether the interval accounts for other trainings, of other seeds or, with folds, on other lists; with one
    training a network it applies to the two trained models only.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: bool


def paired_difference(
    first: np.ndarray, second: np.ndarray, confidence: float = CONFIDENCE, folds: Optional[np.ndarray] = None
) -> Difference:
    """Compare two networks by their correct predictions.

    ``first``, ``second``: bool [seeds, photographs], with the same photographs in the same order, or shares of several
    trainings; the numbers of seeds may differ. ``folds``: [photographs], the fold that each was predicted in; None: the
    trainings of a seed are one. Raises ValueError where the numbers of photographs differ.
    """
    first, second = np.atleast_2d(first).astype(float), np.atleast_2d(second).astype(float)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} and {second.shape[1]} photographs: a paired comparison needs the same ones")
    mean = float(first.mean() - second.mean())
    parts = [np.ones(first.shape[1], bool)] if folds is None else [folds == fold for fold in np.unique(folds)]
    rng = np.random.default_rng(0)
    resampled = np.zeros(REPLICATES)
    for hits in _resample_photographs(np.concatenate([first, second]), parts, rng):
        resampled += _resample_seeds(hits[:, : len(first)], rng) - _resample_seeds(hits[:, len(first) :], rng)
    error, freedom = float(resampled.std()), None
    seeds = min(len(first), len(second)) > 1
    if len(parts) > 1 and not seeds:
        error, freedom, seeds = max(error, _error_over_folds(first, second, parts)), len(parts) - 1, True
    if error == 0.0:
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0, seeds)
    drawn = np.abs(rng.standard_t(freedom or _degrees_of_freedom(error, first, second, parts), T_DRAWS))
    half = float(np.quantile(drawn, confidence)) * error
    p = float((np.count_nonzero(drawn >= abs(mean) / error) + 1) / (len(drawn) + 1))
    return Difference(mean, mean - half, mean + half, p, seeds)


def _resample_photographs(answers, parts, rng):
    """[seeds, photographs] of 0 and 1 -> for each of the ``parts``, masks [photographs], what its photographs add to the
    accuracies on resampled photographs, [replicates, seeds]; these are the same photographs for all seeds."""
    photographs = answers.shape[1]
    share = np.full(photographs, 1 / photographs)
    found = []
    for start in range(0, REPLICATES, 100):  # bounds the memory
        drawn = rng.multinomial(photographs, share, min(100, REPLICATES - start))
        found.append([drawn[:, part] @ answers[:, part].T / photographs for part in parts])
    return [np.concatenate(chunks) for chunks in zip(*found)]


def _error_over_folds(first, second, parts):
    """The standard error of the difference by those of the folds, of which the trainings share photographs."""
    found = [first[:, part].mean() - second[:, part].mean() for part in parts]
    return float(np.std(found, ddof=1) * np.sqrt(1 / len(parts) + 1 / (len(parts) - 1)))


def _resample_seeds(accuracies, rng):
    """[replicates, seeds] accuracies -> [replicates] means over resampled seeds."""
    replicates, seeds = accuracies.shape
    mean = accuracies.mean(axis=1)
    if seeds == 1:
        return mean
    drawn = np.take_along_axis(accuracies, rng.integers(0, seeds, (replicates, seeds)), axis=1).mean(axis=1)
    # Resampling n seeds gives a variance that is too small by the factor (n - 1) / n
    return mean + (drawn - mean) * np.sqrt(seeds / (seeds - 1))


def _degrees_of_freedom(error, first, second, parts):
    """By F. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", 1946.

    Only the seeds limit them: there are many photographs.
    """
    hits = [a[:, part].sum(axis=1) / a.shape[1] for a in (first, second) if len(a) > 1 for part in parts]
    spreads = [(found.var(ddof=1) / len(found), len(found) - 1) for found in hits]
    uncertain = sum(variance**2 / freedom for variance, freedom in spreads)
    return min(error**4 / uncertain, 1e6) if uncertain > 0 else 1e6


def holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which of several comparisons are significant together at ``level`` (S. Holm, "A Simple Sequentially Rejective Multiple
    Test Procedure", 1979): bools in the order of ``p_values``."""
    order = np.argsort(p_values)
    significant = [False] * len(p_values)
    for rank, index in enumerate(order):
        if p_values[index] > level / (len(p_values) - rank):
            break
        significant[index] = True
    return significant

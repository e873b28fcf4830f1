"""Whether the data support that one network is better than another.

Both networks classified the same photographs, each after trainings from several seeds. Three things make the difference of
their mean accuracies uncertain: which photographs happen to be on the list (``photographs``); how good a seed's training
happened to be (``seeds``); and that two trainings of one network err on different photographs even if they are equally good
(``residual``).
Such crossed random effects are known from studies in which readers judge cases (N. Obuchowski, H. Rockette, Communications in
Statistics 24, 1995). Photographs and residual are known well, because photographs are many; the spread of few seeds is not, so
Student's t replaces the normal distribution for it alone. With estimates V of seeds and residual together, R of the residual,
P of the photographs, each the variance of the difference that it causes, the interval is the difference and the root of this to
both sides of it:

    z^2 (P + 0.8 R) + t^2 max(V - b R, 0)

with t of the degrees of freedom by B. Welch (Biometrika 34, 1947). R is part of V, so what few seeds seem to agree in by chance
is not taken for certainty; 0.8 and b are calibrated by simulation (benchmarks/verdict_errors.py, docs/verdict.md).

Nearly equal photographs are no independent ones: given as clusters, they count as what they are (K.-Y. Liang, S. Zeger,
Biometrika 73, 1986). With few photographs on which the networks differ, a normal distribution is too short: two more are added,
of which each network is right on one (after A. Agresti, Y. Min, Statistics in Medicine 24, 2005).

With folds, each photograph is judged by the trainings of the one fold whose validation list it is on. Trainings of different
folds are no repetitions of each other, as they saw other photographs. With one seed the differences of the folds show how much
trainings scatter, with the correction for training lists that overlap (C. Nadeau, Y. Bengio, "Inference for the Generalization
Error", Machine Learning 52, 2003).
"""

import functools
import math
from statistics import NormalDist
from typing import NamedTuple, Optional

import numpy as np

CONFIDENCE = 0.95
LEAST_SEEDS = 3
"""With two, no interval is both right in all of the simulated comparisons and short enough to be of use."""
RESIDUAL_KNOWN = 0.8
ADDED = 2  # photographs


class Difference(NamedTuple):
    """Mean accuracy of the first network minus that of the second, its interval ``low`` to ``high``, two-sided p-value (NaN:
    not asked for).

    ``seeds``: whether it says something of other trainings too, of other seeds or, with folds, on other lists; with fewer than
    LEAST_SEEDS seeds of a network it is about the trained models only.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: bool

    def turned(self) -> "Difference":
        """That of the second network against the first."""
        return self._replace(mean=-self.mean, low=-self.high, high=-self.low)

    def in_points(self) -> str:
        """The difference and its interval, for people."""
        mean, low, high = self.points()
        return f"{mean} points ({low} to {high})"

    def in_chinese(self) -> str:
        """The same in Chinese."""
        mean, low, high = self.points()
        return f"{mean} 个百分点（{low} 至 {high}）"

    def points(self) -> list[str]:
        """The difference and the bounds of its interval in points, for people."""
        return [f"{round(100 * value, 1) + 0.0:+.1f}" for value in self[:3]]  # no -0.0


class Spread(NamedTuple):
    """Variances of a difference: by ``photographs`` and by the ``residual``; ``seeds``, of both seeds and residual, estimated
    with ``freedom`` degrees of freedom. ``seeds`` None: it is not known, and the residual is in ``photographs``."""

    photographs: float
    residual: float
    seeds: Optional[float]
    freedom: float

    def half(self, level: float) -> float:
        """Half the length of the interval that misses the truth in a share ``level`` of comparisons."""
        z = NormalDist().inv_cdf(1 - level / 2)
        if self.seeds is None:
            return z * math.sqrt(self.photographs)
        known = z**2 * (self.photographs + RESIDUAL_KNOWN * self.residual)
        beyond = max(self.seeds - _share_of_residual(level) * self.residual, 0)
        return math.sqrt(known + student_quantile(1 - level / 2, self.freedom) ** 2 * beyond)


def _share_of_residual(level):
    """b of the module's formula: 0.6 at 5%; less in the tails, where it is rarer that few seeds agree by chance."""
    return min(max(0.6 + 0.286 * (math.log10(level) - math.log10(0.05)), 0), 0.6)


class Scatter(NamedTuple):
    """What the answers of one network tell: ``shares`` [photographs], how many of its ``trainings`` were right on each.

    The variances of its accuracy are ``residual`` and ``seeds``, see Spread; ``uncertain`` is the part of Welch's formula.
    """

    shares: np.ndarray
    trainings: int
    residual: float
    seeds: float
    uncertain: float


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    level: float = 1 - CONFIDENCE,
    folds: Optional[np.ndarray] = None,
    clusters: Optional[np.ndarray] = None,
) -> Difference:
    """Compare two networks by their correct predictions.

    ``first``, ``second``: bool [seeds, photographs], with the same photographs in the same order, or shares of several
    trainings; the numbers of seeds may differ. ``level``: how often the interval may miss. ``folds``: [photographs], the fold
    that each was predicted in; None: the trainings of a seed are one. ``clusters``: [photographs] of int, equal for those that
    are nearly equal; None: all differ. Raises ValueError where the numbers of photographs differ.
    """
    own, other = scatter(first, folds, clusters), scatter(second, folds, clusters)
    variances = spread(own, other, folds, clusters)
    found = difference_of(own, other, variances, level)
    of_folds = folds is not None and len(np.unique(folds)) > 1
    return found._replace(p=_p_value(abs(_middle(own, other)), variances), seeds=found.seeds or of_folds)


def difference_of(first: Scatter, second: Scatter, variances: Spread, level: float) -> Difference:
    """The difference with its interval, without a p-value; ``variances``: of ``spread``."""
    middle, half = _middle(first, second), variances.half(level)
    mean = float(first.shares.mean() - second.shares.mean())
    enough = min(first.trainings, second.trainings) >= LEAST_SEEDS
    return Difference(mean, max(middle - half, -1.0), min(middle + half, 1.0), math.nan, enough)


def _middle(first, second):
    """Of the interval: the difference with the photographs that are added."""
    return float((first.shares - second.shares).sum()) / (len(first.shares) + ADDED)


def scatter(answers: np.ndarray, folds: Optional[np.ndarray] = None, clusters: Optional[np.ndarray] = None) -> Scatter:
    """The Scatter of a network; the arguments are those of ``paired_difference``."""
    answers = np.atleast_2d(answers).astype(float)
    trainings, count = answers.shape
    residual = seeds = uncertain = 0.0
    for part in _parts(folds, count) if trainings > 1 else ():
        own = answers[:, part]
        of_seeds = float((own.sum(axis=1) / count).var(ddof=1)) / trainings
        seeds += of_seeds
        uncertain += of_seeds**2 / (trainings - 1)
        residual += _residual(own, None if clusters is None else clusters[part], count)
    return Scatter(answers.mean(axis=0), trainings, residual, seeds, uncertain)


def spread(
    first: Scatter, second: Scatter, folds: Optional[np.ndarray] = None, clusters: Optional[np.ndarray] = None
) -> Spread:
    """The variances of the difference of the accuracies. Raises ValueError where the numbers of photographs differ."""
    count = len(first.shares)
    if len(second.shares) != count:
        raise ValueError(f"{count} and {len(second.shares)} photographs: a paired comparison needs the same ones")
    difference = first.shares - second.shares
    total = _photographs(difference, clusters)
    if min(first.trainings, second.trainings) == 1:
        parts = _parts(folds, count)
        if len(parts) == 1:
            return Spread(total, 0.0, None, math.inf)
        return Spread(0.0, 0.0, max(total, _over_folds(difference, parts)), len(parts) - 1)
    residual, seeds = first.residual + second.residual, first.seeds + second.seeds
    uncertain = first.uncertain + second.uncertain
    freedom = seeds**2 / uncertain if uncertain else min(first.trainings, second.trainings) - 1
    return Spread(max(total - residual, 0.0), residual, seeds, freedom)


def _parts(folds, count):
    return [np.ones(count, bool)] if folds is None else [folds == fold for fold in np.unique(folds)]


def _photographs(difference, clusters):
    """The variance of the mean of ``difference`` [photographs], with ADDED ones, each as large as those that are not zero."""
    count = len(difference) + ADDED
    centred = difference - difference.sum() / count
    sums = _in_clusters(centred, clusters)
    size = np.abs(difference).sum()
    added = ADDED * ((difference @ difference) / size) ** 2 if size else ADDED
    number = len(sums) + ADDED
    # No less than of photographs that all differ: of few large clusters the deviations nearly cancel
    squares = max((sums @ sums) * number / (number - 1), centred @ centred)
    return float((squares + added) / count**2)


def _residual(answers, clusters, count):
    """What is in the variance of the mean over seeds because trainings err on different photographs; ``answers``: [seeds,
    photographs] of a part of ``count`` photographs."""
    left = answers - answers.mean(axis=1, keepdims=True)
    left = left - left.mean(axis=0)
    squares = sum(float(sums @ sums) for sums in (_in_clusters(of_seed, clusters) for of_seed in left))
    return squares / (len(answers) - 1) / len(answers) / count**2


def _in_clusters(values, clusters):
    """The sums of ``values`` [photographs] in each cluster."""
    if clusters is None:
        return values
    return np.bincount(np.unique(clusters, return_inverse=True)[1].reshape(-1), values)


def _over_folds(difference, parts):
    """The variance of the mean of ``difference`` by those of the folds, of which the trainings share photographs."""
    found = [difference[part].mean() for part in parts]
    return float(np.var(found, ddof=1) * (1 / len(parts) + 1 / (len(parts) - 1)))


def _p_value(distance, found):
    """The level at which the interval reaches zero."""
    low, high = 1e-6, 1.0
    if found.half(low) <= distance:
        return low
    for _ in range(40):
        level = math.sqrt(low * high)
        low, high = (level, high) if found.half(level) > distance else (low, level)
    return high if distance else 1.0


def student_quantile(share: float, freedom: float) -> float:
    """The value that Student's t with ``freedom`` degrees of freedom stays below with the probability ``share``."""
    if freedom > 1000:
        return NormalDist().inv_cdf(share)
    angles, shares = _student(round(float(freedom), 2))
    return math.sqrt(freedom) * math.tan(float(np.interp(share, shares, angles)))


@functools.lru_cache(maxsize=4096)
def _student(freedom):
    """Angles and probabilities: t is the root of ``freedom`` times the tangent of an angle of density cos^(freedom - 1)."""
    # Denser towards the ends, where the quantiles are: there the density is close to a power of the distance to the end
    angles = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 8001)) * np.pi / 2
    density = np.cos(angles) ** (freedom - 1)
    shares = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(angles))])
    return angles, shares / shares[-1]


@functools.cache
def level_of_pairs(networks: int, level: float = 1 - CONFIDENCE) -> float:
    """The level of each pair of so many ``networks`` with which all pairs together miss in a share ``level`` of comparisons.

    By the range of normal variables (J. Tukey, "The Problem of Multiple Comparisons", 1953): two have ``level`` itself.
    """
    normal = NormalDist()
    z = np.linspace(-8, 8, 2001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([normal.cdf(value) for value in z])

    def misses(limit):
        within = below - np.interp(z - limit, z, below, left=0.0)
        return 1 - networks * float(density @ within ** (networks - 1)) * (z[1] - z[0])

    low, high = 0.0, 12.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if misses(middle) > level else (low, middle)
    return 2 * (1 - normal.cdf(high / math.sqrt(2)))

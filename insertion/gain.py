"""How much insertions lower the loss on photographs that nothing was trained on, with intervals that hold together.

The loss of a photograph is the cross-entropy after temperature scaling (trained.calibration), with a temperature fitted on
others of the list, for each network its own: else an insertion that only makes the network more or less confident, which a
single number does as well, would count as a help. The gain is the mean difference over the same photographs.

Many insertions are judged at once, and their losses are alike. So the intervals are mean - q * error to mean + q * error with
one q for all: the 95% quantile of their largest |t| under the bootstrap over photographs (the maximum of J. Romano and M. Wolf,
Econometrica 73, 2005, section 4; each t is studentised as in B. Efron and R. Tibshirani, "An Introduction to the Bootstrap",
1993, chapter 12.5). All intervals together then hold in 95% of surgeries.
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

from comparison.significance import CONFIDENCE, student_quantile
from trained.calibration import cross_fitted, probabilities_of

RESAMPLES = 2000
AT_ONCE = 2**22  # numbers of a resampling in memory
LEAST = 0.001
"""A gain below this is not worth a layer, however sure."""


class Gain(NamedTuple):
    """By how much the mean loss is lower, with the interval ``low`` to ``high``."""

    mean: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes that nothing is gained."""
        return self.low > 0 and self.mean >= LEAST

    def text(self) -> str:
        """For people."""
        return f"{self.mean:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def calibrated_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 [N]: the cross-entropy of each photograph, with a temperature fitted on the others."""
    temperatures = cross_fitted(logits, labels)
    scaled = np.asarray(logits, np.float64) / temperatures[:, None]
    chances = probabilities_of(scaled)[np.arange(len(labels)), labels]
    return -np.log(np.maximum(chances, np.finfo(np.float64).tiny))


def gains_of(
    differences: Sequence[np.ndarray], clusters: Optional[np.ndarray] = None, level: float = 1 - CONFIDENCE, seed: int = 0
) -> list[Gain]:
    """The Gain of each of the ``differences`` [N], of losses of the same photographs; all intervals together miss in a share
    ``level`` of cases.

    ``clusters``: int [N], equal for photographs that are nearly equal, which count as one of so much weight; None: all differ.
    ``seed``: of the resampling. With a single photograph nothing is known: the intervals are infinite.
    """
    if not differences:
        return []
    values = np.stack(differences, axis=1).astype(np.float64)  # [N, K]
    means = values.mean(axis=0)
    sums = _sums_in_clusters(values - means, clusters)  # [M, K]; each column sums to 0
    count = len(sums)
    if count < 2:
        return [Gain(float(mean), -np.inf, np.inf) for mean in means]
    errors = np.sqrt((sums**2).sum(axis=0) * count / (count - 1)) / len(values)
    quantile = _quantile_of_largest(sums[:, errors > 0], level, seed)
    return [Gain(float(m), float(m - quantile * e), float(m + quantile * e)) for m, e in zip(means, errors)]


def _quantile_of_largest(sums, level, seed):
    """What the largest |t| of the columns of ``sums`` [M, K] exceeds in a share ``level`` of resamplings of the rows."""
    count = len(sums)
    least = student_quantile(1 - level / 2, count - 1)  # of one column that is normal
    if not sums.size:
        return least
    rng, largest, squares = np.random.default_rng(seed), [], sums**2
    rows = max(1, AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        weights = rng.multinomial(count, np.full(count, 1 / count), size=min(rows, RESAMPLES - start)).astype(np.float64)
        totals = weights @ sums  # [R, K]
        errors = np.sqrt(np.maximum(weights @ squares - totals**2 / count, 0) * count / (count - 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.abs(totals) / errors
        # A resampling of equal values says nothing of the error, unless it lies off the mean: then it is infinitely far
        largest.append(np.where(totals == 0, 0.0, ratios).max(axis=1))
    return max(least, float(np.quantile(np.concatenate(largest), 1 - level)))


def _sums_in_clusters(values, clusters):
    if clusters is None:
        return values
    sums = np.zeros((int(clusters.max()) + 1, values.shape[1]))
    np.add.at(sums, clusters, values)
    return sums[np.unique(clusters)]

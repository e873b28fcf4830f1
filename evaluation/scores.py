"""The metrics of an evaluation, from probabilities and labels."""

import math
import statistics
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """int64 [num_classes, num_classes]: numbers of photographs by true class (row) and predicted class (column).

    ``labels``, ``predictions``: int [N], class indices.
    """
    index = np.asarray(labels) * num_classes + np.asarray(predictions)
    return np.bincount(index, minlength=num_classes**2).reshape(num_classes, num_classes)  # from [num_classes ** 2]


def per_class(matrix: np.ndarray, classes: list[str]) -> dict[str, dict[str, Any]]:
    """{class: {precision, recall, f1, support}} of a confusion matrix; a ratio with denominator 0 counts as 0."""
    hits = np.diag(matrix)
    predicted, support = matrix.sum(axis=0), matrix.sum(axis=1)
    return {
        name: {
            "precision": _ratio(hits[i], predicted[i]),
            "recall": _ratio(hits[i], support[i]),
            "f1": _ratio(2 * hits[i], predicted[i] + support[i]),
            "support": int(support[i]),
        }
        for i, name in enumerate(classes)
    }


def top_k_accuracy(probabilities: np.ndarray, labels: ArrayLike, k: int) -> float:
    """Share of photographs whose label is among the ``k`` most probable classes; probabilities [N, C], labels int [N]."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == np.asarray(labels)[:, None]).any(axis=1).mean())


def balanced_accuracy(correct: ArrayLike, labels: ArrayLike) -> float:
    """The mean recall of the classes that have photographs.

    ``correct``: bool [N], which photographs were classified correctly; ``labels``: [N], their classes, as indices or names.
    """
    _, index, count = np.unique(labels, return_inverse=True, return_counts=True)
    return float((np.bincount(index.reshape(-1), weights=np.asarray(correct, float)) / count).mean())


def macro_f1(figures: dict[str, dict[str, Any]]) -> float:
    """The mean F1 of the classes that have photographs; ``figures``: of ``per_class``."""
    return float(np.mean([of_class["f1"] for of_class in figures.values() if of_class["support"]]))


def wilson_interval(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high): the interval for a share of which ``hits`` of ``total`` independent trials were seen.

    Wilson's score interval: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of
    the American Statistical Association 22 (1927). It never leaves 0..1 and has a width where all or none were hits.
    (0, 1) for no trials.
    """
    if not total:
        return 0.0, 1.0
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = hits / total, 1 + z**2 / total
    middle = (share + z**2 / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if hits == 0 else low), (1.0 if hits == total else high)


class Reliability(NamedTuple):
    """How confidences agree with accuracy, bin by bin; the bins divide 0..1 evenly.

    ``counts``: int [B], photographs in each bin; ``confidence``, ``accuracy``: [B], their means, NaN for an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of accuracy and confidence, weighted by the bins' photographs.

        Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015; Guo et al., equation 3.
        """
        used = self.counts > 0
        distances = np.abs(self.accuracy[used] - self.confidence[used])
        return float((self.counts[used] * distances).sum() / max(1, self.counts.sum()))


def reliability(confidences: ArrayLike, correct: ArrayLike, bins: int = 15) -> Reliability:
    """The Reliability of predictions: ``confidences`` [N] in 0..1, ``correct`` bool [N]. A bin includes its upper edge."""
    confidences, correct = np.asarray(confidences, float), np.asarray(correct, float)
    index = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(index, weights=values, minlength=bins) / counts for values in (confidences, correct)]
    return Reliability(counts, *means)


def error_of_calibrated(confidences: ArrayLike, bins: int = 15, draws: int = 200) -> float:
    """The expected calibration error that confidences [N] show on average where they are exactly right: chance alone.

    It is above 0, the more so the fewer photographs: a bin's accuracy scatters about its confidence. From ``draws`` random
    outcomes, always the same: Broecker and Smith, "Increasing the Reliability of Reliability Diagrams", 2007.
    """
    confidences = np.asarray(confidences, float)
    random = np.random.default_rng(0)
    outcomes = (random.random(len(confidences)) < confidences for _ in range(draws))
    return float(np.mean([reliability(confidences, outcome, bins).error for outcome in outcomes]))


def _ratio(part, whole):
    return float(part / whole) if whole else 0.0

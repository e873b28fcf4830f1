"""The metrics of an evaluation, from probabilities and labels."""

from typing import Any

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


def _ratio(part, whole):
    return float(part / whole) if whole else 0.0

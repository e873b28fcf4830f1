"""Figures of an evaluation, from probabilities and labels."""

import numpy as np


def confusion_matrix(labels, predictions, num_classes):
    """int64 [num_classes, num_classes]: photographs by true class (row) and predicted class (column)."""
    index = np.asarray(labels) * num_classes + np.asarray(predictions)
    return np.bincount(index, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(matrix, classes) -> dict:
    """{class: precision, recall, f1, support} of a confusion matrix; 0 where a class was never predicted or never there."""
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


def top_k_accuracy(probabilities, labels, k) -> float:
    """Share of photographs whose label is among the ``k`` most probable classes; [N, C], [N]."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == np.asarray(labels)[:, None]).any(axis=1).mean())


def _ratio(part, whole):
    return float(part / whole) if whole else 0.0

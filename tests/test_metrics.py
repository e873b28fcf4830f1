"""Figures of an evaluation, worked out by hand."""

import numpy as np

from evaluation.scores import confusion_matrix, per_class, top_k_accuracy


def test_confusion_matrix_and_per_class_figures():
    matrix = confusion_matrix([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 1], 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    figures = per_class(matrix, ["ant", "bee", "cat", "dog"])
    assert figures["ant"] == {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    assert figures["bee"] == {"precision": 1 / 3, "recall": 0.5, "f1": 0.4, "support": 2}
    assert figures["cat"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert figures["dog"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_top_k_accuracy():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    labels = [1, 2, 2]
    assert top_k_accuracy(probabilities, labels, 1) == 1 / 3
    assert top_k_accuracy(probabilities, labels, 2) == 2 / 3
    assert top_k_accuracy(probabilities, labels, 3) == 1.0

"""Confident learning on numbers whose outcome is known."""

import numpy as np
import pytest

from evaluation.confident_learning import confident_classes, expected_errors, find_label_errors

pytestmark = pytest.mark.version_independent


def test_a_class_counts_where_it_reaches_its_own_threshold():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4], [0.2, 0.8]])
    # Thresholds: of class 0 (0.9 + 0.5) / 2 = 0.7, of class 1 (0.4 + 0.8) / 2 = 0.6
    assert confident_classes(labels, probabilities).tolist() == [0, -1, -1, 1]


def test_of_several_confident_classes_the_most_probable_one_counts():
    labels = np.array([0, 0, 1, 2])
    probabilities = np.array([[0.3, 0.4, 0.3], [0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.3, 0.3, 0.4]])
    assert confident_classes(labels, probabilities).tolist() == [1, 2, 1, 2]


def test_a_class_without_photographs_is_never_confident():
    labels, probabilities = np.array([0, 1]), np.array([[0.1, 0.1, 0.8], [0.1, 0.1, 0.8]])
    assert 2 not in confident_classes(labels, probabilities)


def test_the_joint_is_calibrated_to_the_numbers_of_labels():
    labels = np.array([0, 0, 0, 0, 1, 1])
    confident = np.array([0, 1, -1, -1, 1, 1])
    # Of class 0 two count, one of them for class 1: so half of its four labels are wrong
    assert expected_errors(labels, confident, 2) == 2.0


def test_the_worst_have_the_lowest_probability_of_their_label():
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.05, 0.95], [0.95, 0.05], [0.4, 0.6]])
    found = find_label_errors(labels, probabilities)
    assert found.contested.tolist() == [False, True, False, False, True, False]
    assert found.order.tolist() == [4, 1, 5, 2, 0, 3]
    assert found.suggested[[4, 1]].tolist() == [0, 1]
    assert found.score[4] == pytest.approx(0.05)


def test_labels_moved_at_random_are_found():
    """Of 5% spoilt labels, with networks that are right on 70%, well above 60% stand among the first tenth."""
    rng = np.random.default_rng(0)
    classes, count = 10, 2000
    true = rng.integers(0, classes, count)
    logits = rng.normal(0, 1, (count, classes))
    logits[np.arange(count), true] += 2.4
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert 0.6 < (probabilities.argmax(axis=1) == true).mean() < 0.8
    spoilt = rng.choice(count, count // 20, replace=False)
    labels = true.copy()
    labels[spoilt] = (labels[spoilt] + rng.integers(1, classes, len(spoilt))) % classes
    found = find_label_errors(labels, probabilities)
    share = np.isin(spoilt, found.order[: count // 10]).mean()
    assert share > 0.7
    assert sorted(found.order) == list(range(count))


def test_right_labels_and_sure_networks_are_not_contested():
    labels = np.arange(30) % 3
    probabilities = np.full((30, 3), 0.05)
    probabilities[np.arange(30), labels] = 0.9
    found = find_label_errors(labels, probabilities)
    assert not found.contested.any()
    assert found.expected == 0

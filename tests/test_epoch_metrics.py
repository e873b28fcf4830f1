"""Metrics over a whole epoch, whatever the sizes of its batches."""

import json

import numpy as np
import paddle
import pytest

from training.epoch_metrics import Accuracy, BalancedAccuracy, LogitRecorder, MeanCrossEntropy


def feed(metric, logits, labels, sizes, *weights):
    start = 0
    for size in sizes:
        batch = [paddle.to_tensor(array[start : start + size]) for array in (logits, labels, *weights)]
        metric.update(*metric.compute(*batch))
        start += size


@pytest.mark.parametrize("sizes", [(7,), (3, 3, 1), (1,) * 7])
def test_mean_loss_is_that_of_all_photographs(sizes):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(7, 4)).astype("float32"), rng.integers(0, 4, 7)
    metric = MeanCrossEntropy()
    feed(metric, logits, labels, sizes)
    log_probabilities = logits - np.log(np.exp(logits.astype("float64")).sum(axis=1, keepdims=True))
    assert metric.accumulate() == pytest.approx(-log_probabilities[np.arange(7), labels].mean(), rel=1e-6)
    metric.reset()
    feed(metric, logits[:1], labels[:1], (1,))
    assert metric.accumulate() == pytest.approx(-log_probabilities[0, labels[0]], rel=1e-6)


def recorded(logits, labels, sizes, limit=None):
    recorder, start = LogitRecorder(limit), 0
    for size in sizes:
        recorder.add(paddle.to_tensor(logits[start : start + size]), paddle.to_tensor(labels[start : start + size]))
        start += size
    return recorder.results()


def test_recorder_keeps_all_logits_in_order():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(5, 3)).astype("float32"), np.arange(5) % 3
    for found, given in zip(recorded(logits, labels, (2, 2, 1)), (logits, labels)):
        np.testing.assert_array_equal(found, given)
        assert found.dtype == given.dtype


@pytest.mark.parametrize("sizes", [(40,), (7, 7, 7, 7, 7, 5), (1,) * 40], ids=str)
def test_recorder_keeps_photographs_at_even_distances_up_to_its_limit(sizes):
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(40, 3)).astype("float32"), np.arange(40) // 4
    for limit, every in ((120, 1), (119, 2), (31, 4), (30, 4), (1, 64)):
        for found, given in zip(recorded(logits, labels, sizes, limit), (logits, labels)):
            np.testing.assert_array_equal(found, given[::every])


def drawn(photographs=6, classes=4):
    """Logits, labels and labels as shares of the classes."""
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(photographs, classes)).astype("float32"), rng.integers(0, classes, photographs)
    return logits, labels, np.eye(classes, dtype="float32")[labels]


def mean_recall(logits, labels):
    guesses = logits.argmax(axis=1)
    return np.mean([np.mean(guesses[labels == label] == label) for label in np.unique(labels)])


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 2), (3,)], ids=str)
@pytest.mark.parametrize("sizes", [(40,), (13, 13, 13, 1)], ids=str)
def test_balanced_accuracy_is_the_mean_recall_of_the_classes_with_photographs(present, sizes):
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(size=(40, 4)).astype("float32"), rng.choice(present, 40)
    metric = BalancedAccuracy()
    assert metric.accumulate() == 0.0, "of no photograph"
    feed(metric, logits, labels, sizes)
    assert metric.accumulate() == pytest.approx(mean_recall(logits, labels), abs=1e-12)
    metric.reset()
    feed(metric, logits[:9], labels[:9], (9,))
    assert metric.accumulate() == pytest.approx(mean_recall(logits[:9], labels[:9]), abs=1e-12)


def test_the_sums_of_balanced_accuracy_go_on_through_a_checkpoint_bit_for_bit():
    rng = np.random.default_rng(6)
    logits, labels = rng.normal(size=(30, 4)).astype("float32"), rng.integers(0, 4, 30)
    weights = rng.random(30).astype("float32")
    whole, first, second = BalancedAccuracy(), BalancedAccuracy(), BalancedAccuracy()
    feed(whole, logits, labels, (10, 10, 10), weights)
    feed(first, logits[:20], labels[:20], (10, 10), weights[:20])
    second.restore(*json.loads(json.dumps(first.sums())))
    feed(second, logits[20:], labels[20:], (10,), weights[20:])
    assert second.sums() == whole.sums()
    assert second.accumulate() == whole.accumulate()


def test_an_epoch_that_an_older_version_began_has_no_balanced_accuracy():
    logits, labels, _ = drawn()
    metric = BalancedAccuracy()
    metric.restore([], [])
    feed(metric, logits, labels, (6,))
    assert metric.accumulate() is None
    assert metric.sums() == [[], []], "and has none after another interruption"
    metric.reset()
    feed(metric, logits, labels, (6,))
    assert metric.accumulate() == pytest.approx(mean_recall(logits, labels))


@pytest.mark.parametrize("metric", [MeanCrossEntropy, Accuracy, BalancedAccuracy])
def test_soft_labels_of_one_class_each_are_labels(metric):
    logits, labels, soft = drawn()
    hard_metric, soft_metric = metric(), metric()
    feed(hard_metric, logits, labels, (4, 2))
    feed(soft_metric, logits, soft, (4, 2))
    assert soft_metric.accumulate() == pytest.approx(hard_metric.accumulate(), rel=1e-6)


def test_mixed_labels_count_each_class_by_its_share_and_the_heavier_one_for_the_accuracy():
    logits, _, soft = drawn()
    mixed = (0.7 * soft + 0.3 * np.roll(soft, 1, axis=1)).astype("float32")
    loss, accuracy, balanced = MeanCrossEntropy(), Accuracy(), BalancedAccuracy()
    for metric in (loss, accuracy, balanced):
        feed(metric, logits, mixed, (6,))
    log_probabilities = logits - np.log(np.exp(logits.astype("float64")).sum(axis=1, keepdims=True))
    assert loss.accumulate() == pytest.approx(-(mixed * log_probabilities).sum(axis=1).mean(), rel=1e-6)
    assert accuracy.accumulate() == np.mean(logits.argmax(axis=1) == soft.argmax(axis=1))
    assert balanced.accumulate() == pytest.approx(mean_recall(logits, soft.argmax(axis=1)))


@pytest.mark.parametrize("metric", [MeanCrossEntropy, Accuracy, BalancedAccuracy])
def test_a_weight_of_two_counts_as_the_photograph_twice(metric):
    logits, labels, _ = drawn()
    weights = np.array([2, 1, 1, 2, 1, 0], "float32")
    repeated = np.repeat(np.arange(6), weights.astype(int))
    weighted, twice = metric(), metric()
    feed(weighted, logits, labels, (4, 2), weights)
    feed(twice, logits[repeated], labels[repeated], (len(repeated),))
    assert weighted.accumulate() == pytest.approx(twice.accumulate(), rel=1e-6)


def test_sums_go_on_where_they_were_also_those_of_paddle_s_own_accuracy():
    logits, labels, _ = drawn()
    whole, first, second = Accuracy(), Accuracy(), Accuracy()
    feed(whole, logits, labels, (6,))
    feed(first, logits[:4], labels[:4], (4,))
    second.restore(*[[number] for number in first.sums()])
    feed(second, logits[4:], labels[4:], (2,))
    assert second.sums() == whole.sums()

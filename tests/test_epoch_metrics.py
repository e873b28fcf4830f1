"""Metrics over a whole epoch, whatever the sizes of its batches."""

import numpy as np
import paddle
import pytest

from training.epoch_metrics import Accuracy, MeanCrossEntropy, PredictionRecorder, TrainingLoss


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


def test_recorder_keeps_all_predictions_in_order():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(5, 3)).astype("float32"), np.arange(5) % 3
    recorder = PredictionRecorder()
    feed(recorder, logits, labels, (2, 2, 1))
    probabilities, kept = recorder.results()
    np.testing.assert_array_equal(kept, labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


def drawn(photographs=6, classes=4):
    """Logits, labels and labels as shares of the classes."""
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(photographs, classes)).astype("float32"), rng.integers(0, classes, photographs)
    return logits, labels, np.eye(classes, dtype="float32")[labels]


@pytest.mark.parametrize("metric", [MeanCrossEntropy, Accuracy])
def test_soft_labels_of_one_class_each_are_labels(metric):
    logits, labels, soft = drawn()
    hard_metric, soft_metric = metric(), metric()
    feed(hard_metric, logits, labels, (4, 2))
    feed(soft_metric, logits, soft, (4, 2))
    assert soft_metric.accumulate() == pytest.approx(hard_metric.accumulate(), rel=1e-6)


def test_mixed_labels_count_each_class_by_its_share_and_the_heavier_one_for_the_accuracy():
    logits, _, soft = drawn()
    mixed = (0.7 * soft + 0.3 * np.roll(soft, 1, axis=1)).astype("float32")
    loss, accuracy = MeanCrossEntropy(), Accuracy()
    feed(loss, logits, mixed, (6,))
    feed(accuracy, logits, mixed, (6,))
    log_probabilities = logits - np.log(np.exp(logits.astype("float64")).sum(axis=1, keepdims=True))
    assert loss.accumulate() == pytest.approx(-(mixed * log_probabilities).sum(axis=1).mean(), rel=1e-6)
    assert accuracy.accumulate() == np.mean(logits.argmax(axis=1) == soft.argmax(axis=1))


@pytest.mark.parametrize("metric", [MeanCrossEntropy, Accuracy])
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


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_training_loss_takes_soft_labels_and_weights(smoothing):
    logits, labels, soft = (paddle.to_tensor(array) for array in drawn())
    loss = TrainingLoss(smoothing)
    expected = paddle.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, labels)
    assert float(loss(logits, labels)) == pytest.approx(float(expected), rel=1e-6)
    assert float(loss(logits, soft)) == pytest.approx(float(expected), rel=1e-6)
    weights = paddle.to_tensor([3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    repeated = paddle.to_tensor([0, 0, 0, 1, 2, 3, 4, 5])
    assert float(loss(logits, labels, weights)) == pytest.approx(float(loss(logits[repeated], labels[repeated])), rel=1e-6)

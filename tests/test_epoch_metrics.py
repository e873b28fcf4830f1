"""Metrics over a whole epoch, whatever the sizes of its batches."""

import numpy as np
import paddle
import pytest

from training.epoch_metrics import MeanCrossEntropy, PredictionRecorder


def feed(metric, logits, labels, sizes):
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        outputs = metric.compute(paddle.to_tensor(logits[part]), paddle.to_tensor(labels[part]))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        metric.update(*[output.numpy() for output in outputs])
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
    recorder.reset()
    probabilities, kept = recorder.results()
    np.testing.assert_array_equal(kept, labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))

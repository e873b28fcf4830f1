"""Metrics for paddle.Model that hold over a whole epoch; its own loss is that of the last batch."""

import numpy as np
import paddle
import paddle.nn.functional as F


class MeanCrossEntropy(paddle.metric.Metric):
    """Cross-entropy averaged over all photographs seen since the last reset, without label smoothing.

    So training and validation loss mean the same, whatever the training criterion and the size of the last batch.
    """

    def __init__(self):
        super().__init__()
        self.reset()

    def name(self):
        return "mean_loss"

    def reset(self):
        self.total, self.count = 0.0, 0

    def compute(self, logits, labels):
        """[N, C] logits, [N] labels -> [N] losses."""
        return F.cross_entropy(logits.astype("float32"), labels.reshape([-1, 1]), reduction="none")

    def update(self, losses):
        self.total += float(np.sum(losses, dtype=np.float64))
        self.count += int(np.size(losses))
        return self.accumulate()

    def accumulate(self):
        return self.total / max(self.count, 1)


class PredictionRecorder(paddle.metric.Metric):
    """Keeps class probabilities and labels of all photographs seen since the last reset."""

    def __init__(self):
        super().__init__()
        self._probabilities, self._labels = [], []

    def name(self):
        return "recorded"

    def reset(self):
        """Does nothing: paddle.Model resets its metrics at the end of evaluate(), before anyone could read this one."""

    def compute(self, logits, labels):
        return F.softmax(logits.astype("float32")), labels

    def update(self, probabilities, labels):
        self._probabilities.append(np.array(probabilities))
        self._labels.append(np.array(labels).reshape(-1))

    def accumulate(self):
        return float(sum(map(len, self._labels)))

    def results(self) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities float32 [N, C], labels int64 [N])."""
        return np.concatenate(self._probabilities), np.concatenate(self._labels)

"""Metrics for paddle.Model that average over all photographs of an epoch, whatever the batch sizes.

The sums stay on the device: only ``accumulate`` and ``sums`` copy them to the host. Labels are class indices, int64 [N], or
soft: float32 [N, C], the share of each class. ``weights``, float32 [N], let a photograph count for more or less than one.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from processes.environment import here
from processes.group import gathered_arrays, is_first
from training.losses import cross_entropies


class _EpochMean(paddle.metric.Metric):
    """A mean over all photographs since the last reset; a subclass defines ``_name`` and ``of_each``."""

    _name: str
    column: str  # train_COLUMN and val_COLUMN of the history
    total: Any  # sum of the values: a number, or a tensor on the device
    count: Any  # number of photographs or sum of their weights, likewise

    def __init__(self):
        super().__init__()
        self.reset()

    def name(self) -> str:
        return self._name

    def reset(self) -> None:
        self.restore(0.0, 0.0)

    def of_each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[N, C] logits, labels [N] or [N, C] -> the value of each photograph, [N]."""
        raise NotImplementedError

    def compute(self, logits: Tensor, labels: Tensor, weights: Optional[Tensor] = None) -> tuple[Tensor, Union[Tensor, int]]:
        """The batch's sum, a float64 scalar on the device, and its count, a number or such a scalar."""
        values = self.of_each(logits, labels).astype("float64")
        if weights is None:
            return values.sum(), values.shape[0]
        weights = weights.astype("float64")
        return (values * weights).sum(), weights.sum()

    def update(self, total: Tensor, count: Union[Tensor, int]) -> None:
        self.total = self.total + total
        if isinstance(count, Tensor) and not isinstance(self.count, Tensor):
            self.count = _on_device(self.count)
        self.count = self.count + count

    def accumulate(self) -> Optional[float]:
        total, count = self.sums()
        return total / count if count else 0.0

    def sums(self) -> list[Any]:
        """[total, count] as numbers, for a checkpoint."""
        return [float(self.total), float(self.count)]

    def restore(self, total: Union[float, list[float]], count: Union[float, list[float]]) -> None:
        """Continue from ``sums()``; older checkpoints hold lists of one number each, from Paddle's own accuracy."""
        self.total, self.count = _on_device(float(np.ravel(total)[0])), float(np.ravel(count)[0])


def _on_device(value):
    """A float64 tensor; Paddle 2.6 would add a plain number to one in float32."""
    return paddle.to_tensor(np.array(value, "float64"))


class MeanCrossEntropy(_EpochMean):
    """Cross-entropy averaged over all photographs seen since the last reset, without label smoothing.

    Training and validation loss therefore mean the same, whatever the training criterion and the size of the last batch.
    """

    _name, column = "mean_loss", "loss"

    def of_each(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropies(logits, labels)


class Accuracy(_EpochMean):
    """The share of photographs whose most probable class is the label (of soft labels: the class with the largest share)."""

    _name, column = "acc", "acc"

    def of_each(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits.argmax(axis=1) == _heaviest(labels)


class BalancedAccuracy(_EpochMean):
    """The mean recall of the classes that have photographs; of soft labels the class with the largest share counts.

    Unlike the accuracy it does not rise when small classes are given up for large ones. ``total``: how many photographs of each
    class were recognised, [C]; ``count``: how many there were, [C].
    """

    _name, column = "balanced_acc", "balanced_acc"

    def compute(self, logits: Tensor, labels: Tensor, weights: Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
        """The batch's sums for each class, float64 [C], on the device: of recognised photographs and of all."""
        classes = _heaviest(labels)
        counted = F.one_hot(classes, logits.shape[1]).astype("float64")  # [N, C]
        if weights is not None:
            counted = counted * weights.astype("float64").unsqueeze(1)  # [N] -> [N, 1]
        recognised = (logits.argmax(axis=1) == classes).astype("float64").unsqueeze(1)  # [N] -> [N, 1]
        return (counted * recognised).sum(axis=0), counted.sum(axis=0)

    def accumulate(self) -> Optional[float]:
        """None where an epoch went on from sums that lack its first photographs."""
        if not self.complete:
            return None
        total, count = map(np.array, self.sums())
        present = count > 0
        return float((total[present] / count[present]).mean()) if present.any() else 0.0

    def sums(self) -> list[list[float]]:
        """[total, count], each a list of one number a class, for a checkpoint; both empty where they lack photographs."""
        if not self.complete:
            return [[], []]
        return [np.ravel(np.asarray(part)).tolist() for part in (self.total, self.count)]

    def restore(self, total: Union[float, list[float]], count: Union[float, list[float]]) -> None:
        """Continue from ``sums()``; checkpoints from before this metric give two empty lists."""
        self.complete = bool(np.size(total))
        self.total, self.count = (_on_device(part if self.complete else 0.0) for part in (total, count))


def _heaviest(labels):
    """Labels [N], or soft labels [N, C] -> the class of each photograph with the largest share, [N]."""
    return labels.argmax(axis=1) if labels.ndim == 2 else labels


EPOCH_METRICS = (MeanCrossEntropy, Accuracy, BalancedAccuracy)
"""What training and evaluation report of an epoch."""


class LogitRecorder:
    """Keeps logits and labels of photographs: of all, or above ``limit`` logits of every second, fourth, ... photograph.

    So those of a list that is sorted by class are of all classes. They stay on the device until there are too many.
    """

    def __init__(self, limit: Optional[int] = None, starts: Optional[Iterator[int]] = None):
        """``starts``: the number of the first photograph in each batch that comes; None: each follows the one before."""
        self.limit, self.starts, self._every, self._seen, self._held = limit, starts, 1, 0, 0
        self._batches: list[tuple] = []  # (the photographs' numbers, logits, labels)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Keep a batch: [N, C] logits, labels [N]."""
        if self.starts:
            self._seen = next(self.starts)
        numbers = np.arange(self._seen, self._seen + len(logits))
        self._batches.append((numbers, logits.astype("float32"), labels.reshape([-1])))  # [N] or [N, 1] -> [N]
        self._seen += len(logits)
        self._held += len(logits) * logits.shape[1]
        if self.limit and self._held > 2 * self.limit:
            self._batches = [self._kept()]
            self._held = self._batches[0][1].size

    def results(self) -> tuple[np.ndarray, np.ndarray]:
        """(logits float32 [N, C], labels int64 [N]) of the photographs of all processes that are kept, in order."""
        numbers, logits, labels = (np.concatenate(_of_processes(own)) for own in self._kept())
        order = np.argsort(numbers)
        self._batches = [(numbers[order], logits[order], labels[order])]
        return self._kept()[1:]

    def _kept(self):
        """(numbers, logits, labels) of what is left of the batches so far if no more than the limit are."""
        if not self._batches:
            return np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty(0, np.int64)
        numbers, logits, labels = (np.concatenate(list(map(np.asarray, parts))) for parts in zip(*self._batches))
        kept = numbers % self._every == 0
        while self.limit and kept.sum() > max(1, self.limit // max(1, logits.shape[1])):
            self._every *= 2
            kept = numbers % self._every == 0
        return numbers[kept], logits[kept], labels[kept]


def _of_processes(own):
    """The arrays of all processes; some may have seen no photographs, and know no number of classes."""
    wide = max(int(part[0]) for part in gathered_arrays(np.array([own.shape[-1]]))) if own.ndim == 2 else 0
    return gathered_arrays(own if own.ndim == 1 or own.size else np.empty((0, wide), own.dtype))


def join_sums(metrics: Sequence[_EpochMean]) -> None:
    """Give the metrics of each process the sums of all."""
    if here().count == 1:
        return
    for metric in metrics:
        # A process that has seen no photographs knows no number of classes: its single 0 is added to each
        sums = [sum(gathered_arrays(np.atleast_1d(np.array(own, "float64")))) for own in metric.sums()]
        metric.restore(*(np.asarray(values).tolist() for values in sums))


def keep_in_first(metrics: Sequence[_EpochMean]) -> None:
    """After ``join_sums``: the first process goes on with the sums of all, the others begin with 0."""
    if is_first():
        return
    for metric in metrics:
        metric.restore(*([0.0] * np.size(part) for part in metric.sums()))

"""The one state of a training: where it is, what it has gathered, and the objects whose tensors are saved with it."""

import dataclasses
import random
import time
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
import paddle

from machine.device import peak_memory
from trained.history import best_epoch


class Stopwatch:
    """Seconds since it was started, counted on from those of an interrupted training."""

    def __init__(self, seconds: float = 0.0):
        self.started = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Position:
    """Where a training is.

    ``history``: the rows of the finished epochs, see trained.history; ``best``: the row whose weights best.safetensors holds,
    or None; ``step``: how many steps of the epoch under way are done; ``so_far``: what that epoch has gathered in them, None at
    its beginning.
    """

    history: list = field(default_factory=list)
    best: Optional[dict] = None
    step: int = 0
    so_far: Optional[dict] = None

    @property
    def epoch(self) -> int:
        """The epoch under way, from 0."""
        return len(self.history)

    def after_epoch(self, row: dict, save_best_above: float = 0.0) -> "Position":
        """The position once the epoch under way has ended with ``row``.

        The epoch of highest validation accuracy is the best, of lower validation loss where accuracies are equal. With
        ``save_best_above`` no epoch counts as best until its accuracy is higher than that.
        """
        history = [*self.history, row]
        best = best_epoch(history)
        good_enough = not save_best_above or best["val_acc"] > save_best_above
        return Position(history, best if good_enough else None)

    def is_over(self, epochs: int, early_stop: int = 0) -> bool:
        """Whether nothing is left to train: ``epochs`` are done, or training has stopped early."""
        return self.epoch >= epochs or self.has_stopped_early(early_stop)

    def has_stopped_early(self, early_stop: int) -> bool:
        """Whether the last ``early_stop`` epochs brought no higher validation accuracy; never with 0."""
        accuracies = [row["val_acc"] for row in self.history]
        return bool(early_stop and accuracies) and self.epoch - 1 - accuracies.index(max(accuracies)) >= early_stop


class TrainingState:
    """All that a training saves and goes on from.

    ``classifier`` and ``optimizer``: whose tensors a checkpoint holds; ``metrics``: of training.epoch_metrics, whose sums it
    holds within an epoch. ``position``: see Position. ``run_clock`` and ``epoch_clock``: seconds of the whole training and of
    the epoch under way. Generators need no state: see seed_generators.
    """

    def __init__(self, classifier: paddle.nn.Layer, optimizer: Any, metrics: list):
        self.classifier, self.optimizer, self.metrics = classifier, optimizer, metrics
        self.position = Position()
        self.run_clock, self.epoch_clock = Stopwatch(), Stopwatch()
        self.peak_before: Optional[float] = None

    @property
    def peak_memory_mb(self) -> Optional[float]:
        """The most memory that any process of this training has held, in MB; None where the system does not tell."""
        return max((peak for peak in (self.peak_before, peak_memory()) if peak is not None), default=None)

    def begin_epoch(self) -> None:
        """Start the epoch's clock and sums: from zero, or from what an interrupted epoch had gathered."""
        so_far = self.position.so_far
        self.epoch_clock = Stopwatch(so_far["seconds"] if so_far else 0.0)
        for metric in self.metrics:
            metric.reset()
            if so_far and metric.name() in so_far["metrics"]:
                metric.restore(*so_far["metrics"][metric.name()])

    def within_epoch(self, step: int) -> Position:
        """The position after ``step`` steps of the epoch under way, with the sums and seconds that it has gathered."""
        sums = {metric.name(): metric.sums() for metric in self.metrics}
        return dataclasses.replace(self.position, step=step, so_far={"seconds": self.epoch_clock.seconds, "metrics": sums})

    def header(self, position: Position) -> dict:
        """What the header of last.safetensors says of the training at ``position``; ``restore`` reads it."""
        return {
            "epoch": position.epoch,
            "best": position.best,
            "history": position.history,
            "step": position.step,
            "so_far": position.so_far,
            "seconds": self.run_clock.seconds,
            "peak_memory_mb": self.peak_memory_mb,
        }

    def restore(self, header: dict) -> None:
        """Go on from where the training was whose ``header`` this is."""
        self.position = Position(header["history"], header["best"], header["step"], header["so_far"])
        self.run_clock, self.peak_before = Stopwatch(header["seconds"]), header["peak_memory_mb"]


def seed_generators(seed: int, epoch: int, step: int) -> None:
    """Seed the generators of Python, NumPy and Paddle (from which dropout draws) for one training step, counted from 0.

    So what is random follows from seed, epoch and step alone, and an interrupted training goes on exactly as it would have.
    """
    of_python, of_numpy, of_paddle = np.random.SeedSequence((seed, epoch, step)).generate_state(3).tolist()
    random.seed(of_python)
    np.random.seed(of_numpy)
    paddle.seed(of_paddle)

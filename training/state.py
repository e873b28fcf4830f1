"""The state of a training: its position, its running sums, and the objects whose tensors a checkpoint saves."""

import contextlib
import dataclasses
import random
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import numpy as np
import paddle

from machine.device import meter_of_device, peak_memory
from machine.energy import EnergyMeter
from messages.user_error import UserError
from processes.environment import here
from trained.history import best_epoch
from training.averaging import WeightAverage
from training.epoch_metrics import keep_in_first
from training.gradients import LossScaling


class TrainingDiverged(UserError):
    """The loss is NaN or infinite."""

    exit_code = 1


class Stopwatch:
    """Seconds since its start, added to the ``seconds`` of an interrupted training."""

    def __init__(self, seconds: float = 0.0):
        self.started = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Position:
    """How far a training has come.

    ``history``: the rows of the finished epochs, see trained.history; ``best``: the row of the epoch whose weights
    best.safetensors holds, or None; ``step``: number of finished steps in the current epoch; ``so_far``: the seconds and the
    metrics' sums of these steps, None at the start of an epoch; ``temperature``: of the best epoch's weights, see
    trained.calibration, None where an older version trained them.
    """

    history: list[dict] = field(default_factory=list)
    best: Optional[dict] = None
    step: int = 0
    so_far: Optional[dict] = None
    temperature: Optional[float] = None

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return len(self.history)

    def after_epoch(
        self, row: dict, save_best_above: float = 0.0, temperature: Callable[[], Optional[float]] = lambda: None
    ) -> "Position":
        """The position after the current epoch has ended with ``row``; ``temperature()``: of its weights, if it is the best.

        The best epoch has the highest validation accuracy; among equals, the lowest validation loss. No epoch counts as best
        until its accuracy is above ``save_best_above`` (0: any accuracy counts).
        """
        history = [*self.history, row]
        best = best_epoch(history)
        good_enough = not save_best_above or best["val_acc"] > save_best_above
        if not good_enough:
            return Position(history)
        return Position(history, best, temperature=temperature() if best is row else self.temperature)

    def is_over(self, epochs: int, early_stop: int = 0) -> bool:
        """Whether training has reached its end: all ``epochs`` are done, or it has stopped early."""
        return self.epoch >= epochs or self.has_stopped_early(early_stop)

    def has_stopped_early(self, early_stop: int) -> bool:
        """Whether the last ``early_stop`` epochs brought no higher validation accuracy; always False with 0."""
        accuracies = [row["val_acc"] for row in self.history]
        return bool(early_stop and accuracies) and self.epoch - 1 - accuracies.index(max(accuracies)) >= early_stop


class TrainingState:
    """Everything that a training saves, and resumes from.

    ``classifier`` and ``optimizer``: a checkpoint holds their tensors; ``metrics``: of training.epoch_metrics, a checkpoint
    within an epoch holds their sums. ``position``: see Position. ``run_clock`` and ``epoch_clock``: seconds of the whole
    training and of the current epoch; ``energy``: of the whole training. ``average``: of the weights, None without
    --ema_epochs; ``loss_scaling``: of float16, None with other precisions. Random generators need no state: see
    seed_generators.
    """

    def __init__(
        self, classifier: paddle.nn.Layer, optimizer: Any, metrics: list, average: Optional[WeightAverage] = None,
        loss_scaling: Optional[LossScaling] = None,
    ):  # fmt: skip
        self.classifier, self.optimizer, self.metrics = classifier, optimizer, metrics
        self.average, self.loss_scaling = average, loss_scaling
        self.position = Position()
        self.run_clock, self.epoch_clock = Stopwatch(), Stopwatch()
        self.peak_before: Optional[float] = None
        # The other processes' cards are counted by nobody
        self.energy = meter_of_device() if here().count == 1 else EnergyMeter()

    @property
    def peak_memory_mb(self) -> Optional[float]:
        """The peak memory of this training in MB, over all processes that worked on it; None where the system cannot tell."""
        return max((peak for peak in (self.peak_before, peak_memory()) if peak is not None), default=None)

    def averaged(self) -> contextlib.AbstractContextManager:
        """Within the block the classifier has the weights to validate and to keep: their average, if there is one."""
        return self.average.in_network() if self.average else contextlib.nullcontext()

    def begin_epoch(self) -> None:
        """Start the epoch's clock and sums: from zero, or from those of an interrupted epoch."""
        so_far = self.position.so_far
        self.epoch_clock = Stopwatch(so_far["seconds"] if so_far else 0.0)
        for metric in self.metrics:
            metric.reset()
            if so_far:
                metric.restore(*so_far["metrics"][metric.name()])
        if so_far:
            keep_in_first(self.metrics)

    def within_epoch(self, step: int) -> Position:
        """The position after ``step`` steps of the current epoch, with its sums and seconds so far."""
        sums = {metric.name(): metric.sums() for metric in self.metrics}
        return dataclasses.replace(self.position, step=step, so_far={"seconds": self.epoch_clock.seconds, "metrics": sums})

    def header(self, position: Position) -> dict:
        """What the header of last.safetensors says about the training at ``position``; ``restore`` reads it."""
        return {
            "epoch": position.epoch,
            "best": position.best,
            "temperature": position.temperature,
            "history": position.history,
            "step": position.step,
            "so_far": position.so_far,
            "seconds": self.run_clock.seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "energy_joules": self.energy.joules,
            "loss_scaling": self.loss_scaling and self.loss_scaling.state(),
        }

    def restore(self, header: dict) -> None:
        """Continue from the ``header`` of a last.safetensors."""
        self.position = Position(header["history"], header["best"], header["step"], header["so_far"], header["temperature"])
        self.run_clock, self.peak_before = Stopwatch(header["seconds"]), header["peak_memory_mb"]
        self.energy = self.energy.continued(header["energy_joules"])
        if self.loss_scaling and header["loss_scaling"]:
            self.loss_scaling.restore(header["loss_scaling"])


def seed_generators(seed: int, epoch: int, step: int, batch: int = 0, process: int = 0) -> None:
    """Seed the generators of Python, NumPy and Paddle (which dropout uses) for one batch of a step; all count from 0.

    All randomness then depends on seed, epoch, step and batch alone, and a resumed training computes exactly what it would have
    computed without the interruption.
    """
    # NumPy fills up to four numbers with zeros: the first batch has the generators that its step had before steps had several
    # batches. The first process has those of a process alone
    entropy = (seed, epoch, step, batch, process) if process else (seed, epoch, step, batch)
    of_python, of_numpy, of_paddle = np.random.SeedSequence(entropy).generate_state(3).tolist()
    random.seed(of_python)
    np.random.seed(of_numpy)
    paddle.seed(of_paddle)

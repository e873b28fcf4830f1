"""The loop of training, its step and the step of evaluation: paddle.Model with its own of each.

Paddle's own ``fit`` and ``evaluate`` copy every loss and metric to the host in each step, look at a loss only after the weights
have been updated with it, hand over the last batch's loss as that of an epoch, and know no position to go on from. Here alone
the toolkit touches private names of paddle.Model.
"""

import math
from collections.abc import Iterable
from typing import Any, Callable, Optional

import paddle
from paddle import Tensor

from config import Config
from data.loader import PhotographLoader
from messages.progress import ProgressBar
from messages.user_error import UserError
from training.recorder import RunRecorder
from training.state import TrainingState, seed_generators


class TrainingDiverged(UserError):
    """The loss is NaN or infinite."""

    exit_code = 1


class TrainingModel(paddle.Model):
    """A ``paddle.Model`` of a classifier from uint8 images [N, 3, H, W] to logits [N, C].

    ``prepare(optimizer, loss, metrics)`` takes a learning rate of paddle.optimizer.lr, a loss and metrics of
    training.epoch_metrics. Batches are [images, labels] or [images, labels, weights]; labels and weights: see there.
    """

    def __init__(self, classifier: paddle.nn.Layer):
        super().__init__(classifier, paddle.static.InputSpec([None, 3, None, None], "uint8", "images"))

    def train_batch(self, inputs: Tensor, labels: Optional[list] = None, update: bool = True) -> float:
        """One training step; returns the loss. Raises TrainingDiverged, the weights unchanged, if that is no finite number.

        ``labels``: [labels] or [labels, weights]; without ``update`` the gradients are added up.
        """
        self.network.train()
        logits = self.network(inputs)
        loss = self._loss(logits, *(labels or []))
        # Four bytes to the host, before anything is updated. The processor waits for the forward pass alone; the backward pass
        # and the update are then queued behind each other, so that a GPU stays busy.
        value = float(loss)
        if not math.isfinite(value):
            rate = self._optimizer.get_lr()
            raise TrainingDiverged(
                f"the training loss became {value} at learning rate {rate:.3g}: training has diverged; a lower "
                f"--learning_rate (a tenth, say) or a longer --warmup_epochs usually helps"
            )
        loss.backward()
        if update:
            self._optimizer.step()
            self._optimizer.clear_grad()
        self._measure(logits.detach(), labels)
        return value

    @paddle.no_grad()
    def eval_batch(self, inputs: Tensor, labels: Optional[list] = None) -> Tensor:
        """The logits [N, C] of one batch, which the metrics take into account."""
        self.network.eval()
        logits = self.network(inputs)
        self._measure(logits, labels)
        return logits

    @paddle.no_grad()
    def _measure(self, logits, labels):
        for metric in self._metrics:
            metric.update(*metric.compute(logits, *(labels or [])))

    def evaluate(self, eval_data: Iterable, on_batch: Optional[Callable[[int], Any]] = None) -> dict:
        """{metric: its value over all batches of ``eval_data``}; ``on_batch(step)`` is called after each batch."""
        for metric in self._metrics:
            metric.reset()
        for step, (images, *labels) in enumerate(eval_data):
            self.eval_batch(images, labels)
            if on_batch:
                on_batch(step)
        return {metric.name(): metric.accumulate() for metric in self._metrics}

    def fit(
        self, train_data: PhotographLoader, eval_data: PhotographLoader, state: TrainingState, recorder: RunRecorder,
        config: Config,
    ) -> None:  # fmt: skip
        """Train from the position of ``state`` to the end that ``config`` says; ``recorder`` writes what comes of it.

        Raises TrainingDiverged for a loss that is no finite number, before anything is updated or saved with it.
        """
        while not state.position.is_over(config.epochs, config.early_stop):
            row = self._train_epoch(train_data, state, recorder, config)
            row.update(self._validate(eval_data, state.position.epoch))
            row.update(seconds=state.epoch_clock.seconds)
            recorder.record(state.position.after_epoch(row, config.save_best_above))
        if state.position.has_stopped_early(config.early_stop):
            print(f"no better validation accuracy for {config.early_stop} epochs: stopping early")

    def _train_epoch(self, loader, state, recorder, config) -> dict:
        """Train from ``state.position`` to the end of its epoch; returns the row of the epoch, but for the validation."""
        epoch, first_step, steps = state.position.epoch, state.position.step, len(loader)
        loader.set_epoch(epoch, first_batch=first_step)
        state.begin_epoch()
        bar = ProgressBar(steps, f"epoch {epoch + 1}/{config.epochs}")
        schedule = self._optimizer._learning_rate
        for step, (images, *labels) in enumerate(loader, start=first_step):
            seed_generators(config.seed, epoch, step)
            schedule.step(epoch * steps + step)
            try:
                self.train_batch(images, labels)
            except TrainingDiverged as error:
                raise TrainingDiverged(f"epoch {epoch + 1}, step {step + 1}: {error}") from None
            bar.update(step + 1, self.figures)
            if config.save_every_steps and (step + 1) % config.save_every_steps == 0 and step + 1 < steps:
                recorder.record_step(state.within_epoch(step + 1))
        bar.close()
        values = {metric.name(): metric.accumulate() for metric in self._metrics}
        return {
            "epoch": epoch + 1,
            "learning_rate": schedule.last_lr,
            "train_loss": values["mean_loss"],
            "train_acc": values["acc"],
            "images_per_second": len(loader.dataset) / state.epoch_clock.seconds,
        }

    def _validate(self, loader, epoch) -> dict:
        bar = ProgressBar(len(loader), "validation")
        values = self.evaluate(loader, lambda step: bar.update(step + 1, self.figures))
        bar.close()
        if not math.isfinite(values["mean_loss"]):
            raise TrainingDiverged(
                f"the validation loss became {values['mean_loss']} after epoch {epoch + 1}: "
                f"training has diverged; a lower --learning_rate (a tenth, say) usually helps"
            )
        return {"val_loss": values["mean_loss"], "val_acc": values["acc"]}

    def figures(self) -> str:
        """Loss and accuracy so far, as a progress bar shows them; copies them to the host."""
        values = {metric.name(): metric.accumulate() for metric in self._metrics}
        return f"loss: {values['mean_loss']:.4f} - acc: {values['acc']:.4f}"

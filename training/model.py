"""The training loop, the training step and the evaluation step: a paddle.Model that replaces Paddle's own.

Paddle's ``fit`` and ``evaluate`` copy every loss and metric to the host in each step, check a loss only after updating the
weights with it, report the last batch's loss as that of the epoch, and cannot resume within an epoch. Only this module uses
private names of paddle.Model.
"""

import contextlib
import math
from collections.abc import Iterable
from typing import Any, Callable, Optional

import paddle
from paddle import Tensor

from config import Config
from data.loader import PhotographLoader
from messages.progress import ProgressBar
from processes import group
from processes.environment import here
from trained.calibration import MAX_LOGITS, fit_temperature
from training.batch_statistics import estimate_statistics, photographs_for_statistics, share_statistics
from training.epoch_metrics import LogitRecorder, join_sums, keep_in_first
from training.gradients import LossScaling, gradients_of, shorten
from training.image_sizes import next_size
from training.mixing import Mixing
from training.precision import FLOAT16, FLOAT32, logits_of
from training.recorder import RunRecorder
from training.state import TrainingDiverged, TrainingState, seed_generators


class TrainingModel(paddle.Model):
    """A ``paddle.Model`` of a classifier from uint8 images [N, 3, H, W] to logits [N, C].

    ``prepare(optimizer, loss, metrics)`` takes an optimiser with a learning rate of paddle.optimizer.lr, and a loss and metrics
    of training.epoch_metrics. Batches are [images, labels] or [images, labels, weights]; labels and weights: see there.
    ``mixing`` mixes the photographs of each batch of ``fit`` before the network sees them; None: they stay apart.
    """

    mixing: Optional[Mixing] = None
    _apart = True  # the processes have done different things since the last step, such as writing files

    def __init__(self, classifier: paddle.nn.Layer, precision: str = FLOAT32, clip_norm: float = 0.0):
        """``precision``: see training.precision; ``clip_norm``: the longest gradient of all weights together, 0 for any."""
        super().__init__(classifier, paddle.static.InputSpec([None, 3, None, None], "uint8", "images"))
        self.precision, self.clip_norm = precision, clip_norm
        self.loss_scaling = LossScaling() if precision == FLOAT16 else None

    def train_batch(
        self, inputs: Tensor, labels: Optional[list[Tensor]] = None, update: bool = True, share: float = 1.0,
        is_last: bool = True,
    ) -> float:  # fmt: skip
        """Do one training step and return the loss, of the photographs of all processes.

        ``labels``: [labels] or [labels, weights]. A step may have several batches: without ``update``, gradients add up until a
        batch with it; ``share``: by which the batch's loss counts, and ``is_last``: see data.loader.BatchOfStep. Raises
        TrainingDiverged, with the weights unchanged, if the loss is not finite.
        """
        self.network.train()
        with self._gradients_shared(is_last):
            logits = logits_of(self._shared or self.network, inputs, self.precision)
            loss = self._loss(logits, *(labels or []))
            value = self._value(loss, logits.shape[0])
            self._backward(loss, value, share)
        if update:
            self._update()
        self._measure(logits.detach(), labels)
        return value

    @property
    def _shared(self):
        """The network in which each backward pass shares the gradients of all processes; None where this one is alone."""
        return self._adapter.ddp_model if here().count > 1 else None

    def _gradients_shared(self, is_last):
        """Within the block the gradients of all processes are shared if ``is_last``; else they add up in each."""
        return self._shared.no_sync() if self._shared and not is_last else contextlib.nullcontext()

    def _value(self, loss, photographs):
        """The loss of the photographs of all processes, of which ``loss`` is that of so many."""
        # Copies four bytes to the host before anything is updated. The processor waits for the forward pass alone, then queues
        # the backward pass and the update, so that a GPU stays busy.
        value = float(loss)
        if not self._shared:
            return value
        total, count = group.totals([value * photographs, photographs])
        return total / count

    def _backward(self, loss, value, share):
        if not math.isfinite(value):
            self._clear_gradients()
            raise self._diverged(f"the training loss became {value}")
        scale = share * (self.loss_scaling.scale if self.loss_scaling else 1.0)
        (loss if scale == 1.0 else loss * scale).backward()

    def _update(self):
        """Update the weights with the gradients of a step, and clear these."""
        if self.loss_scaling or self.clip_norm:
            gradients = gradients_of(self.network.parameters())
            if self.loss_scaling and not self.loss_scaling.unscaled(gradients):
                self._clear_gradients()
                if self.loss_scaling.is_hopeless:
                    raise self._diverged("the gradients are not finite in float16, however the loss is scaled")
                return
            if self.clip_norm:
                shorten(gradients, self.clip_norm)
        self._optimizer.step()
        self._clear_gradients()

    def _clear_gradients(self):
        self._optimizer.clear_grad(set_to_zero=False)  # zeros would take as much memory as the weights until the next backward

    def _diverged(self, what):
        return TrainingDiverged(
            f"{what} at learning rate {self._optimizer.get_lr():.3g}: training has diverged; a lower --learning_rate (a tenth, "
            f"say) or a longer --warmup_epochs usually helps"
        )

    @paddle.no_grad()
    def eval_batch(self, inputs: Tensor, labels: Optional[list[Tensor]] = None) -> Tensor:
        """Return the logits [N, C] of one batch and update the metrics with them."""
        self.network.eval()
        logits = logits_of(self.network, inputs, self.precision)
        self._measure(logits, labels)
        return logits

    @paddle.no_grad()
    def _measure(self, logits, labels):
        for metric in self._metrics:
            metric.update(*metric.compute(logits, *(labels or [])))

    def evaluate(
        self,
        eval_data: Iterable,
        on_batch: Optional[Callable[[int], Any]] = None,
        seen: Optional[LogitRecorder] = None,
    ) -> dict[str, Any]:
        """{name of a metric: its value over all batches of ``eval_data``}; calls ``on_batch(step)`` after each batch.

        Where several processes share the work, ``eval_data`` has this one's batches, and the values are those of all.
        ``seen``: keeps the logits and labels.
        """
        for metric in self._metrics:
            metric.reset()
        for step, (images, *labels) in enumerate(eval_data):
            logits = self.eval_batch(images, labels)
            if seen:
                seen.add(logits, labels[0])
            if on_batch:
                on_batch(step)
        group.meet()
        join_sums(self._metrics)
        return self._values()

    def fit(
        self, train_data: PhotographLoader, eval_data: PhotographLoader, state: TrainingState, recorder: RunRecorder,
        config: Config,
    ) -> None:  # fmt: skip
        """Train from the position of ``state`` to the end that ``config`` sets; ``recorder`` writes the results.

        Raises TrainingDiverged for a loss that is not finite, before anything is updated or saved with it.
        """
        while not state.position.is_over(config.epochs, config.early_stop):
            row = self._train_epoch(train_data, state, recorder, config)
            with state.averaged():
                if row["train_size"] != config.image_size:
                    batches = photographs_for_statistics(train_data.dataset, config, state.position.epoch)
                    estimate_statistics(self.network, batches)
                row.update(self._validate(eval_data, state.position.epoch, state.energy.sample))
            row.update(seconds=state.epoch_clock.seconds)
            recorder.record(state.position.after_epoch(row, config.save_best_above, self._temperature))
        if state.position.has_stopped_early(config.early_stop):
            print(f"no better validation accuracy for {config.early_stop} epochs: stopping early")

    def _train_epoch(self, loader, state, recorder, config) -> dict:
        """Train from ``state.position`` to the end of its epoch; returns the epoch's row without the validation columns."""
        epoch, first_step, steps = state.position.epoch, state.position.step, len(loader)
        size = next_size(state.position.history, config.epochs, config.train_size or config.image_size, config.progressive)
        loader.set_epoch(epoch, first_step, size)
        state.begin_epoch()
        self._apart = True
        bar = ProgressBar(steps, f"epoch {epoch + 1}/{config.epochs}")
        schedule = self._optimizer._learning_rate
        for step, batches in enumerate(loader.steps(), start=first_step):
            schedule.step(epoch * steps + step)
            try:
                self._train_step(batches, config.seed, epoch, step)
            except TrainingDiverged as error:
                raise TrainingDiverged(f"epoch {epoch + 1}, step {step + 1}: {error}") from None
            if state.average:
                state.average.update(epoch, step)
            bar.update(step + 1, self.figures)
            state.energy.sample()
            if config.save_every_steps and (step + 1) % config.save_every_steps == 0 and step + 1 < steps:
                join_sums(self._metrics)
                share_statistics(self.network, state.average)
                recorder.record_step(state.within_epoch(step + 1))
                keep_in_first(self._metrics)
                self._apart = True
        bar.close()
        join_sums(self._metrics)
        share_statistics(self.network, state.average)
        return {
            "epoch": epoch + 1,
            "learning_rate": schedule.last_lr,
            **self._columns("train", self._values()),
            "images_per_second": len(loader.dataset) / state.epoch_clock.seconds,
            "train_size": size,
        }

    def _train_step(self, batches, seed, epoch, step) -> None:
        """Update the weights once, with the gradients of all ``batches``: ([images, labels, ...], see BatchOfStep)."""
        for (images, *labels), batch in batches:
            if self._apart:  # one may have to wait for its first photographs
                group.meet()
                self._apart = False
            seed_generators(seed, epoch, step, batch.number, here().rank)
            if self.mixing:
                images, labels = self._mixed(images, labels, epoch, step, batch)
            self.train_batch(images, labels, False, batch.share, batch.is_last)
        self._update()

    def _mixed(self, images, labels, epoch, step, batch):
        """Mixed with the photographs of all processes: a partner may be another's."""
        own = images.shape[0]
        of_all = [group.gathered(part) for part in (images, *labels)]
        start = sum(part.shape[0] for part in of_all[0][: here().rank])
        images, *labels = (parts[0] if len(parts) == 1 else paddle.concat(parts) for parts in of_all)
        images, labels = self.mixing(images, labels, epoch, step, batch.number)
        if own == batch.size:
            return images, labels
        return images[start : start + own], [part[start : start + own] for part in labels]

    def _validate(self, loader, epoch, sample) -> dict:
        """The validation columns of the row of ``epoch``; ``sample()`` is called after each batch."""

        def on_batch(step):
            bar.update(step + 1, self.figures)
            sample()

        bar = ProgressBar(loader.batches_here(), "validation")
        self._validated = LogitRecorder(MAX_LOGITS, loader.starts())
        values = self.evaluate(loader, on_batch, self._validated)
        bar.close()
        if not math.isfinite(values["mean_loss"]):
            raise TrainingDiverged(
                f"the validation loss became {values['mean_loss']} after epoch {epoch + 1}: "
                f"training has diverged; a lower --learning_rate (a tenth, say) usually helps"
            )
        return self._columns("val", values)

    def _temperature(self) -> float:
        """Of the weights that were validated last: fitted now, while their logits are known, and saved with them."""
        return fit_temperature(*self._validated.results())

    def figures(self) -> str:
        """Loss and accuracy of this process so far, as text for a progress bar; copies them to the host."""
        values = self._values()
        return f"loss: {values['mean_loss']:.4f} - acc: {values['acc']:.4f}"

    def _columns(self, side, values) -> dict[str, Optional[float]]:
        return {f"{side}_{metric.column}": values[metric.name()] for metric in self._metrics}

    def _values(self) -> dict[str, Any]:
        return {metric.name(): metric.accumulate() for metric in self._metrics}

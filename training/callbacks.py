"""What surrounds paddle.Model's fit and evaluate: where training is, progress, records, a stop where the loss is no number."""

import math
import random
import time

import numpy as np
import paddle
from paddle.callbacks import Callback

from messages.progress import ProgressBar
from messages.user_error import UserError
from trained.history import best_epoch


class TrainingDiverged(UserError):
    """The loss is NaN or infinite."""

    exit_code = 1


class TrackPosition(Callback):
    """Knows where training is, ``epoch`` and ``step`` (from 0), counted on from where an interrupted training stopped.

    All that is random follows from the position: the loader's order and augmentation from seed and epoch, and the generators of
    Python, NumPy and Paddle are seeded anew for every step (dropout draws from Paddle's). So a training that was interrupted
    needs no generator's state to go on exactly as it would have. The learning rate is set for the position as well. Must be the
    first callback: the others ask it.
    """

    def __init__(self, loader, seed, epoch=0, step=0):
        super().__init__()
        self.loader, self.seed = loader, seed
        self.epoch, self.step = self.begin = (epoch, step)

    def on_train_begin(self, logs=None):
        epoch, step = self.begin
        self.model._optimizer._learning_rate.step(epoch * len(self.loader) + step)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = self.begin[0] + epoch
        self.passed_over = self.begin[1] if epoch == 0 else 0
        self.loader.set_epoch(self.epoch, first_batch=self.passed_over)

    def on_train_batch_begin(self, step, logs=None):
        self.step = self.passed_over + step
        of_python, of_numpy, of_paddle = np.random.SeedSequence((self.seed, self.epoch, self.step)).generate_state(3).tolist()
        random.seed(of_python)
        np.random.seed(of_numpy)
        paddle.seed(of_paddle)


class StopOnBadLoss(Callback):
    """Raises TrainingDiverged at the first loss that is NaN or infinite, before anything is saved."""

    def __init__(self, position):
        super().__init__()
        self.position = position

    def on_train_batch_end(self, step, logs=None):
        loss = logs["loss"][0]
        if not math.isfinite(loss):
            rate = self.model._optimizer.get_lr()
            raise TrainingDiverged(
                f"the training loss became {loss} in epoch {self.position.epoch + 1}, step {self.position.step + 1}, at "
                f"learning rate {rate:.3g}: training has diverged; a lower --learning_rate (a tenth, say) or a longer "
                f"--warmup_epochs usually helps"
            )

    def on_eval_end(self, logs=None):
        if not math.isfinite(logs["mean_loss"]):
            raise TrainingDiverged(
                f"the validation loss became {logs['mean_loss']} after epoch {self.position.epoch + 1}: "
                f"training has diverged; a lower --learning_rate (a tenth, say) usually helps"
            )


class ShowProgress(Callback):
    """A progress bar for each pass over the data, where output goes to a terminal.

    ``position``: of a training of ``epochs`` epochs; None: an evaluation alone.
    """

    def __init__(self, photographs_in_eval, position=None, epochs=None):
        super().__init__()
        self.position, self.epochs, self.photographs_in_eval = position, epochs, photographs_in_eval

    def on_epoch_begin(self, epoch, logs=None):
        self.bar = ProgressBar(self.params["steps"], f"epoch {self.position.epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, step, logs=None):
        self._show(self.position.step, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.bar.close()

    def on_eval_begin(self, logs=None):
        if self.position is None:
            print("Eval begin...")
        self.bar = ProgressBar(logs["steps"], "validation" if self.position else "step")

    def on_eval_batch_end(self, step, logs=None):
        self._show(step, logs)

    def on_eval_end(self, logs=None):
        self.bar.close()
        if self.position is None:
            print(f"Eval samples: {self.photographs_in_eval}")

    def _show(self, step, logs):
        self.bar.update(step + 1, f"loss: {logs['mean_loss']:.4f} - acc: {logs['acc']:.4f}")


class RecordEpochs(Callback):
    """Hands what the run folder keeps to ``recorder``, and stops training where no better epoch comes.

    After each epoch's validation ``recorder.record(row, is_best)`` gets a dict by trained.history.COLUMNS. The best epoch
    is the one of highest validation accuracy, of lower validation loss where those are equal; with ``save_best_above`` no epoch
    is, unless its accuracy is higher than that. ``early_stop``: epochs without a higher accuracy after which training stops; 0
    for never. After every ``save_every_steps`` steps within an epoch (0: never) ``recorder.record_step(step, so_far)`` gets the
    number of steps that are done and what the epoch has gathered so far, to be given back as ``so_far`` when it is continued.
    ``recorder.history``: rows of the epochs before.
    """

    def __init__(
        self, recorder, position, photographs_in_train, *, early_stop=0, save_best_above=0.0, save_every_steps=0, so_far=None
    ):
        super().__init__()
        self.recorder, self.position, self.photographs_in_train = recorder, position, photographs_in_train
        self.early_stop, self.save_best_above, self.save_every_steps = early_stop, save_best_above, save_every_steps
        self.so_far = so_far
        self.best, self.epochs_since_better = None, 0
        for row in recorder.history:
            self._judge(row)
        recorder.stopped_early = self.is_over()

    def is_over(self) -> bool:
        """Whether training has stopped early."""
        return bool(self.early_stop) and self.epochs_since_better >= self.early_stop

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()
        if self.so_far:
            self.started -= self.so_far["seconds"]
            for metric in self.model._metrics:
                metric.total, metric.count = self.so_far["metrics"][_name(metric)]
            self.so_far = None

    def on_train_batch_end(self, step, logs=None):
        self.learning_rate = self.model._optimizer.get_lr()  # Paddle's own callback moves it on after this one
        done = self.position.step + 1
        if self.save_every_steps and done % self.save_every_steps == 0 and done < self.params["steps"]:
            metrics = {_name(m): [np.asarray(m.total).tolist(), np.asarray(m.count).tolist()] for m in self.model._metrics}
            self.recorder.record_step(done, {"seconds": time.monotonic() - self.started, "metrics": metrics})

    def on_epoch_end(self, epoch, logs=None):
        self.train_seconds = time.monotonic() - self.started
        # copied at once: paddle.Model writes the validation's values over the same dict
        self.row = {
            "epoch": self.position.epoch + 1,
            "learning_rate": self.learning_rate,
            "train_loss": logs["mean_loss"],
            "train_acc": logs["acc"],
        }

    def on_eval_end(self, logs=None):
        self.row.update(
            val_loss=logs["mean_loss"],
            val_acc=logs["acc"],
            seconds=time.monotonic() - self.started,
            images_per_second=self.photographs_in_train / self.train_seconds,
        )
        is_best = self._judge(self.row)
        good_enough = not self.save_best_above or self.row["val_acc"] > self.save_best_above
        self.recorder.record(self.row, is_best and good_enough)
        if self.is_over():
            self.model.stop_training = self.recorder.stopped_early = True
            print(f"no better validation accuracy for {self.early_stop} epochs: stopping early")

    def _judge(self, row):
        """Count the epoch; whether it is the best so far."""
        better = self.best is None or row["val_acc"] > self.best["val_acc"]
        self.epochs_since_better = 0 if better else self.epochs_since_better + 1
        is_best = self.best is None or best_epoch([self.best, row]) is row
        if is_best:
            self.best = row
        return is_best


def _name(metric):
    name = metric.name()
    return name if isinstance(name, str) else name[0]

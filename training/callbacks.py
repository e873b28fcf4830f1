"""What surrounds paddle.Model's fit and evaluate: the seed obeyed, progress, records, a stop where the loss is no number."""

import math
import time

from paddle.callbacks import Callback

from reporting.metrics import best_epoch
from reporting.progress import ProgressBar


class TrainingDiverged(ArithmeticError):
    """The loss is NaN or infinite."""


class SeedEpochs(Callback):
    """Tells the loader which epoch it is, so that shuffling and augmentation follow the user's seed."""

    def __init__(self, loader):
        super().__init__()
        self.loader = loader

    def on_epoch_begin(self, epoch, logs=None):
        self.loader.set_epoch(epoch)


class StopOnBadLoss(Callback):
    """Raises TrainingDiverged at the first loss that is NaN or infinite, before anything is saved."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, step, logs=None):
        loss = logs["loss"][0]
        if not math.isfinite(loss):
            rate = self.model._optimizer.get_lr()
            raise TrainingDiverged(
                f"the training loss became {loss} in epoch {self.epoch + 1}, step {step + 1}, at learning rate {rate:.3g}: "
                f"training has diverged; a lower --learning_rate (a tenth, say) or a longer --warmup_epochs usually helps"
            )

    def on_eval_end(self, logs=None):
        if not math.isfinite(logs["mean_loss"]):
            raise TrainingDiverged(
                f"the validation loss became {logs['mean_loss']} after epoch {self.epoch + 1}: "
                f"training has diverged; a lower --learning_rate (a tenth, say) usually helps"
            )


class ShowProgress(Callback):
    """A progress bar for each pass over the data, where output goes to a terminal."""

    def __init__(self, photographs_in_eval):
        super().__init__()
        self.epoch, self.photographs_in_eval = None, photographs_in_eval

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.bar = ProgressBar(self.params["steps"], f"epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, step, logs=None):
        self._show(step, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.bar.close()

    def on_eval_begin(self, logs=None):
        if self.epoch is None:
            print("Eval begin...")
        self.bar = ProgressBar(logs["steps"], "validation" if self.epoch is not None else "step")

    def on_eval_batch_end(self, step, logs=None):
        self._show(step, logs)

    def on_eval_end(self, logs=None):
        self.bar.close()
        if self.epoch is None:
            print(f"Eval samples: {self.photographs_in_eval}")

    def _show(self, step, logs):
        self.bar.update(step + 1, f"loss: {logs['mean_loss']:.4f} - acc: {logs['acc']:.4f}")


class RecordEpochs(Callback):
    """After each epoch's validation: hands a row of the history to ``record``, and stops where no better epoch comes.

    ``record(row, is_best)`` gets a dict by run_folder.HISTORY_COLUMNS. The best epoch is the one of highest validation
    accuracy, of lower validation loss where those are equal; with ``save_best_above`` no epoch is, unless its accuracy is
    higher than that. ``early_stop``: epochs without a higher accuracy after which training stops; 0 for never.
    """

    def __init__(self, record, photographs_in_train, early_stop=0, save_best_above=0.0):
        super().__init__()
        self.record, self.photographs_in_train = record, photographs_in_train
        self.early_stop, self.save_best_above = early_stop, save_best_above
        self.best, self.epochs_since_better = None, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_train_batch_end(self, step, logs=None):
        self.learning_rate = self.model._optimizer.get_lr()  # Paddle's own callback moves it on after this one

    def on_epoch_end(self, epoch, logs=None):
        self.train_seconds = time.monotonic() - self.started
        # copied at once: paddle.Model writes the validation's values over the same dict
        self.row = {
            "epoch": epoch + 1,
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
        if self.best is None or self.row["val_acc"] > self.best["val_acc"]:
            self.epochs_since_better = 0
        else:
            self.epochs_since_better += 1
        is_best = self.best is None or best_epoch([self.best, self.row]) is self.row
        if is_best:
            self.best = self.row
        good_enough = not self.save_best_above or self.row["val_acc"] > self.save_best_above
        self.record(self.row, is_best and good_enough)
        if self.early_stop and self.epochs_since_better >= self.early_stop:
            self.model.stop_training = True
            print(f"no better validation accuracy for {self.early_stop} epochs: stopping early")

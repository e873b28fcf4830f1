"""What a training leaves in its run folder, kept up to date after every epoch, and how it goes on from there."""

import contextlib
import time

import paddle
from visualdl import LogWriter

from data.photographs import RESIZE_OVER_CROP
from evaluation.scores import best_epoch
from machine.device import peak_memory
from machine.ending import Terminated
from machine.whole_file import remove_unfinished, write_text
from plots.figures import draw_curves
from trained.checkpoint import CheckpointError, load_training_state, read_header, save_checkpoint
from trained.run_folder import RunError, create_run, lock_run, read_result, write_config, write_history, write_result
from training.callbacks import TrainingDiverged
from weights.weight_files import digest_of


class RunRecorder:
    """Makes the run folder on entry; ``record`` adds an epoch; on exit says how it ended, whatever the cause.

    ``run`` is the folder. In it: config.yaml, classes.txt, history.csv, curves.png, vdl/ (VisualDL), best.safetensors,
    last.safetensors and result.json with ``status`` "unfinished" and, once training ends, "finished", "interrupted" or
    "failed". Where no epoch was above ``save_best_above`` there is no best.safetensors, and result.json says so.
    ``settings``: every setting by name, as plain values.

    ``train_loader``, ``val_loader``: of data.loader.PhotographLoader.

    With ``resume``, the folder of a run, that one is continued: on entry the network and the optimiser get the state that
    last.safetensors holds; ``history``, ``step`` (that the next epoch begins with) and ``so_far`` (what it has gathered) tell
    where training is. last.safetensors alone decides: the other files are put right where a killed process left them behind
    it. Raises RunError where another process trains that run or other lists were trained on, CheckpointError for a bad file.
    """

    def __init__(self, settings, classifier, optimizer, train_loader, val_loader, resume=None):
        self.settings, self.classifier, self.optimizer = settings, classifier, optimizer
        train_set, val_set, self.steps_per_epoch = train_loader.dataset, val_loader.dataset, len(train_loader)
        self.classes = train_set.classes
        self.lists = {"train": train_set.digest(), "val": val_set.digest()}
        self.photographs = {"train": len(train_set), "val": len(val_set)}
        self.history, self.best, self.step, self.so_far = [], None, 0, None
        self.run, self.stopped_early, self.epochs_before, self.init_from_sha256 = resume, False, [], None
        self.seconds_before, self.peak_before = 0.0, None

    def __enter__(self):
        resumed = self.run is not None
        if not resumed:
            self.run = create_run(self.settings["runs_dir"], self.settings["net"])
        with contextlib.ExitStack() as stack:  # what was opened is closed again where the rest fails
            stack.enter_context(lock_run(self.run))
            if resumed:
                self._restore()
            if not (self.history or self.step):  # of what the network starts from, not of what is there when it goes on
                self.init_from_sha256 = digest_of(self.settings["init_from"])
            write_text(self.run / "classes.txt", "".join(f"{name}\n" for name in self.classes))
            self.started = time.monotonic() - self.seconds_before
            self._write_result("unfinished")
            write_config(self.run, self.settings)  # with it the folder counts as a run
            self.board = stack.enter_context(self._board())
            self.held = stack.pop_all()
        return self

    def _restore(self):
        last, result = self.run / "last.safetensors", read_result(self.run)
        if not last.exists():
            if result.get("epochs") or any((self.run / name).exists() for name in ("best.safetensors", "history.csv")):
                raise RunError(f"{self.run} cannot be continued: its {last.name} is gone; put it back, or train anew")
            self._check_lists(result.get("list_sha256", self.lists))
            remove_unfinished(self.run)
            return  # killed within the first epoch: from the beginning
        header = load_training_state(last, self.classifier, self.optimizer)
        if "history" not in header:
            raise RunError(
                f"{self.run} cannot be continued: {last.name} holds weights alone, not where training was; train anew"
            )
        self._check_lists(header["list_sha256"])
        if header["step"] >= self.steps_per_epoch:
            raise RunError(
                f"{self.run} cannot be continued: {last.name} is at step {header['step']}, but an epoch has "
                f"{self.steps_per_epoch}; train anew"
            )
        if (before := header.get("versions", {}).get("paddle")) != paddle.__version__:
            print(f"note: Paddle was {before} and is {paddle.__version__}: results may round differently")
        remove_unfinished(self.run)
        self.epochs_before = result.get("epochs_before", [])
        self.init_from_sha256 = result.get("init_from_sha256")
        if header["config"].get("epochs") not in (self.settings["epochs"], *self.epochs_before):
            self.epochs_before.append(header["config"].get("epochs"))
        self.history, self.best = header["history"], header["best"]
        self.step, self.so_far = header["step"], header["so_far"]
        self.seconds_before, self.peak_before = header["seconds"], header["peak_memory_mb"]
        if self.best:
            self._restore_best()
        if self.history:
            self._write_pictures()

    def _check_lists(self, trained):
        for side, name in (("train", "training"), ("val", "validation")):
            if trained[side] != self.lists[side]:
                raise RunError(f"{self.run} cannot be continued: its {name} list has changed since; train anew")

    def _restore_best(self):
        """A process killed between the two files leaves the best epoch in last.safetensors alone."""
        path = self.run / "best.safetensors"
        try:
            epoch = read_header(path)["epoch"]
        except CheckpointError:
            epoch = None
        if epoch == self.best["epoch"]:
            return
        if self.step or self.best["epoch"] != len(self.history):
            raise RunError(
                f"{self.run} cannot be continued: {path.name} should hold epoch {self.best['epoch']}, "
                f"{'but holds ' + str(epoch) if epoch else 'but is missing or damaged'}; put it back, or train anew"
            )
        self._save_best(self.best)

    def record(self, row, is_best) -> None:
        """Add one epoch, a dict by run_folder.HISTORY_COLUMNS, and save the network as it is now."""
        history, best = [*self.history, row], row if is_best else self.best
        self._save_last(history, best)
        self.history = history
        if is_best:
            self._save_best(row)
            self.best = row  # not before it is on the disk: the result must not promise what a full disk refused
        self._write_pictures()
        self._show_on_board(self.board, row)
        mark = "  best" if is_best else ""
        print(
            f"epoch {row['epoch']}/{self.settings['epochs']}  train loss {row['train_loss']:.4f} acc {row['train_acc']:.4f}  "
            f"val loss {row['val_loss']:.4f} acc {row['val_acc']:.4f}  {row['images_per_second']:.1f} images/s  "
            f"{row['seconds']:.1f} s{mark}",
            flush=True,
        )

    def record_step(self, step, so_far) -> None:
        """Save the network and the optimiser within an epoch of which ``step`` steps are done; see RecordEpochs."""
        self._save_last(self.history, self.best, step, so_far)

    def __exit__(self, kind, error, trace):
        with self.held:
            if kind is None:
                status = "finished"
            else:
                status = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
            try:
                result = self._write_result(status, error)
            except KeyboardInterrupt:  # it arrived while the end was being written down
                self._print_end(self._write_result(status, error))
                raise
            self._print_end(result)

    def _write_result(self, status, error=None):
        result = {
            "status": status,
            "net": self.settings["net"],
            "epochs": len(self.history),
            "best": self.best,
            "seconds": self._seconds(),
            "images_per_second": _mean_speed(self.history),
            "peak_memory_mb": self._peak_memory(),
            "photographs": self.photographs,
            "list_sha256": self.lists,
        }
        if self.history and self.best is None:
            highest = best_epoch(self.history)
            result["best_not_saved"] = (
                f"no validation accuracy was above save_best_above = {self.settings['save_best_above']:g}, the highest was "
                f"{highest['val_acc']:.4f} in epoch {highest['epoch']}"
            )
        if error is not None:
            result["reason"] = "terminated" if isinstance(error, Terminated) else str(error) or type(error).__name__
        if self.epochs_before:
            result["epochs_before"] = self.epochs_before  # the learning rate followed shorter schedules first
        if self.stopped_early:
            result["stopped_early"] = True
        if isinstance(error, TrainingDiverged):
            result["diverged"] = True
        if self.init_from_sha256:
            result["init_from_sha256"] = self.init_from_sha256
        write_result(self.run, result)
        return result

    def _seconds(self):
        return time.monotonic() - self.started

    def _peak_memory(self):
        """Of all the processes that trained this run."""
        return max((peak for peak in (self.peak_before, peak_memory()) if peak is not None), default=None)

    def _save_last(self, history, best, step=0, so_far=None):
        header = self._header(len(history), best)
        header.update(history=history, step=step, so_far=so_far, seconds=self._seconds(), peak_memory_mb=self._peak_memory())
        save_checkpoint(self.run / "last.safetensors", self.classifier, header, self.optimizer)

    def _save_best(self, row):
        save_checkpoint(self.run / "best.safetensors", self.classifier, self._header(row["epoch"], row))

    def _write_pictures(self):
        write_history(self.run, self.history)
        draw_curves(self.history, self.run / "curves.png", f"{self.settings['net']} on {self.settings['data']}")

    def _board(self):
        """VisualDL's writer, which begins a new file: it gets the history, and takes the place of files before it."""
        folder = self.run / "vdl"
        for file in folder.glob("vdlrecords.*"):
            file.unlink()
        board = LogWriter(logdir=str(folder), flush_secs=5)
        for row in self.history:
            self._show_on_board(board, row)
        return board

    @staticmethod
    def _show_on_board(board, row):
        for name in ("train_loss", "train_acc", "val_loss", "val_acc", "learning_rate"):
            board.add_scalar(name, row[name], row["epoch"])

    def _print_end(self, result):
        speed = f", {result['images_per_second']:.1f} images/s" if self.history else ""
        where = f"run folder {self.run}"
        if result["status"] == "interrupted":
            where += f"; --resume {self.run} goes on"
        if not self.history:
            print(f"{result['status']} before the first epoch ended; {where}")
            return
        if self.best is None:
            outcome = f"no best.safetensors, for {result['best_not_saved']}"
        else:
            outcome = f"best validation accuracy {self.best['val_acc']:.4f} in epoch {self.best['epoch']}"
        print(f"{result['status']}: {outcome} of {result['epochs']}; {result['seconds']:.0f} s{speed}; {where}")

    def _header(self, epoch, best):
        return {
            "config": self.settings,
            "classes": self.classes,
            "preprocessing": {
                "image_size": self.settings["image_size"],
                "crop": self.settings["eval_crop"],
                "resize_over_crop": RESIZE_OVER_CROP,  # of the central crop
                "mean": self.classifier.mean.flatten().tolist(),
                "std": self.classifier.std.flatten().tolist(),
            },
            "epoch": epoch,
            "best": best,
            "list_sha256": self.lists,
        }


def _mean_speed(history):
    """Training images a second over the run: photographs over training time, epoch by epoch the same number."""
    return len(history) / sum(1 / row["images_per_second"] for row in history) if history else None

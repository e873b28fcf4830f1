"""What a training leaves in its run folder, kept up to date after every epoch."""

import time

from visualdl import LogWriter

from photographs import RESIZE_OVER_CROP
from reporting.metrics import best_epoch
from reporting.plots import draw_curves
from reporting.whole_file import write_text
from training.checkpoint import save_checkpoint
from training.run_folder import create_run, write_config, write_history, write_result
from training.runtime import Terminated, peak_memory


class RunRecorder:
    """Makes the run folder on entry; ``record`` adds an epoch; on exit says how it ended, whatever the cause.

    ``run`` is the folder. In it: config.yaml, classes.txt, history.csv, curves.png, vdl/ (VisualDL), best.safetensors,
    last.safetensors and, once training ends, result.json with ``status`` "finished", "interrupted" or "failed". Where no epoch
    was above ``save_best_above`` there is no best.safetensors, and result.json says so.
    ``settings``: every setting by name, as plain values.
    """

    def __init__(self, settings, classifier, optimizer, train_set, val_set):
        self.settings, self.classifier, self.optimizer = settings, classifier, optimizer
        self.classes = train_set.classes
        self.lists = {"train": train_set.digest(), "val": val_set.digest()}
        self.photographs = {"train": len(train_set), "val": len(val_set)}
        self.history, self.best = [], None

    def __enter__(self):
        self.run = create_run(self.settings["runs_dir"], self.settings["net"])
        write_config(self.run, self.settings)
        write_text(self.run / "classes.txt", "".join(f"{name}\n" for name in self.classes))
        self.board = LogWriter(logdir=str(self.run / "vdl"), flush_secs=5)
        self.started = time.monotonic()
        return self

    def record(self, row, is_best) -> None:
        """Add one epoch, a dict by run_folder.HISTORY_COLUMNS, and save the network as it is now."""
        best = row if is_best else self.best
        if is_best:
            save_checkpoint(self.run / "best.safetensors", self.classifier, self._header(row, best))
            self.best = best  # not before it is on the disk: the result must not promise what a full disk refused
        self.history.append(row)
        save_checkpoint(self.run / "last.safetensors", self.classifier, self._header(row, best), self.optimizer)
        write_history(self.run, self.history)
        draw_curves(self.history, self.run / "curves.png", f"{self.settings['net']} on {self.settings['data']}")
        for name in ("train_loss", "train_acc", "val_loss", "val_acc", "learning_rate"):
            self.board.add_scalar(name, row[name], row["epoch"])
        mark = "  best" if is_best else ""
        print(
            f"epoch {row['epoch']}/{self.settings['epochs']}  train loss {row['train_loss']:.4f} acc {row['train_acc']:.4f}  "
            f"val loss {row['val_loss']:.4f} acc {row['val_acc']:.4f}  {row['images_per_second']:.1f} images/s  "
            f"{row['seconds']:.1f} s{mark}",
            flush=True,
        )

    def __exit__(self, kind, error, trace):
        self.board.close()
        if kind is None:
            status = "finished"
        else:
            status = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        seconds = time.monotonic() - self.started
        result = {
            "status": status,
            "net": self.settings["net"],
            "epochs": len(self.history),
            "best": self.best,
            "seconds": seconds,
            "images_per_second": _mean_speed(self.history),
            "peak_memory_mb": peak_memory(),
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
            result["reason"] = "terminated" if isinstance(error, Terminated) else str(error) or kind.__name__
        write_result(self.run, result)
        self._print_end(result)

    def _print_end(self, result):
        speed = f", {result['images_per_second']:.1f} images/s" if self.history else ""
        if not self.history:
            print(f"{result['status']} before the first epoch ended; run folder {self.run}")
            return
        if self.best is None:
            outcome = f"no best.safetensors, for {result['best_not_saved']}"
        else:
            outcome = f"best validation accuracy {self.best['val_acc']:.4f} in epoch {self.best['epoch']}"
        print(f"{result['status']}: {outcome} of {result['epochs']}; {result['seconds']:.0f} s{speed}; run folder {self.run}")

    def _header(self, row, best):
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
            "epoch": row["epoch"],
            "best": best,
            "list_sha256": self.lists,
        }


def _mean_speed(history):
    """Training images a second over the run: photographs over training time, epoch by epoch the same number."""
    return len(history) / sum(1 / row["images_per_second"] for row in history) if history else None

"""Writes the run folder of a training: settings, history, curves, checkpoints, and the outcome."""

import contextlib
from pathlib import Path
from typing import Any, Optional

from machine.interruption import Terminated
from messages.reason import reason_of
from plots.figures import draw_curves
from processes.group import MemberLost
from trained.checkpoint import save_checkpoint
from trained.class_list import write_classes
from trained.history import best_epoch, write_history
from trained.result import write_result
from trained.run_folder import write_config
from training.board import Board
from training.resuming import best_is_behind
from training.state import Position, TrainingDiverged, TrainingState


class RunRecorder:
    """A context manager that writes the folder ``run``; ``record`` adds an epoch; on exit it records how training ended.

    In the folder: config.yaml, classes.txt, history.csv, curves.png, vdl/ (VisualDL), best.safetensors, last.safetensors and
    result.json with ``status`` "unfinished" and, once training ends, "finished", "interrupted" or "failed". If no epoch was
    above ``save_best_above``, there is no best.safetensors, and result.json says so.

    ``settings``: every setting by name, as plain values. ``facts``: the other entries of result.json: "photographs",
    "list_sha256", "photographs_sha256", "init_from_sha256", "class_weights", "class_weights_sha256", "epochs_before"; entries
    that are None are omitted.
    ``unbalanced``: whether the classes of the validation list are; then the balanced accuracy is shown beside the accuracy.
    """

    def __init__(
        self, run: Path, settings: dict[str, Any], classes: list[str], state: TrainingState, facts: dict[str, Any],
        unbalanced: bool = False,
    ):  # fmt: skip
        self.run, self.settings, self.classes, self.state, self.facts = run, settings, classes, state, facts
        self.unbalanced = unbalanced

    def __enter__(self) -> "RunRecorder":
        position = self.state.position
        if position.best and best_is_behind(self.run, position):  # before result.json names it
            self.save_best(position.best, position.temperature)
        write_classes(self.run, self.classes)
        self._write_result("unfinished")
        if self.state.position.history:
            self._write_history(self.state.position)
        write_config(self.run, self.settings)  # last: a folder with config.yaml counts as a run
        self.board = Board(self.run, self.state.position.history)
        return self

    def record(self, position: Position) -> None:
        """Write the epoch that ended at ``position``, the last row of its history, and set the state's position to it.

        The state advances only after each file has been written: if the disk is full, result.json must not name a checkpoint
        that does not exist.
        """
        row, state = position.history[-1], self.state
        is_best = position.best is row
        before = state.position
        self._save_last(position)
        state.position = Position(position.history, before.best, temperature=before.temperature)
        if is_best:
            self.save_best(row, position.temperature)
        state.position = position
        self._write_history(position)
        self.board.show(row)
        mark = "  best" if is_best else ""
        print(
            f"epoch {row['epoch']}/{self.settings['epochs']}  train loss {row['train_loss']:.4f} acc {row['train_acc']:.4f}  "
            f"val loss {row['val_loss']:.4f} acc {row['val_acc']:.4f}{self._balanced(row, ' balanced acc ')}  "
            f"{row['images_per_second']:.1f} images/s{self._size(row)}  "
            f"{row['seconds']:.1f} s{mark}",
            flush=True,
        )

    def record_step(self, position: Position) -> None:
        """Write last.safetensors at ``position``, within an epoch."""
        self._save_last(position)

    def save_best(self, row: dict, temperature: Optional[float]) -> None:
        """Write the weights to keep, and their temperature, to best.safetensors, as those of the epoch ``row``."""
        header = self._header(epoch=row["epoch"], best=row, temperature=temperature)
        with self.state.averaged():
            save_checkpoint(self.run / "best.safetensors", self.state.classifier, header)

    def __exit__(self, kind, error, trace) -> None:
        with contextlib.closing(self.board):
            if kind is None:
                status = "finished"
            else:
                status = "interrupted" if issubclass(kind, (KeyboardInterrupt, MemberLost)) else "failed"
            try:
                result = self._write_result(status, error)
            except KeyboardInterrupt:  # arrived while result.json was being written: write it again
                self._print_end(self._write_result(status, error))
                raise
            self._print_end(result)

    def _save_last(self, position):
        header = self._header(**self.state.header(position))
        averages = self.state.average.averages if self.state.average else None
        save_checkpoint(self.run / "last.safetensors", self.state.classifier, header, self.state.optimizer, averages)

    def _header(self, **of_position):
        return {
            "config": self.settings,
            "classes": self.classes,
            "list_sha256": self.facts["list_sha256"],
            "photographs_sha256": self.facts.get("photographs_sha256"),
            "class_weights": self.facts.get("class_weights"),
            **of_position,
        }

    def _write_result(self, status, error=None) -> dict:
        position = self.state.position
        result = {
            "status": status,
            "net": self.settings["net"],
            "epochs": position.epoch,
            "best": position.best,
            "seconds": self.state.run_clock.seconds,
            "images_per_second": _mean_speed(position.history),
            "peak_memory_mb": self.state.peak_memory_mb,
            "energy_joules": self.state.energy.joules,
            **{name: value for name, value in self.facts.items() if value is not None},
        }
        threshold = self.settings["save_best_above"]
        if position.history and threshold and (highest := best_epoch(position.history))["val_acc"] <= threshold:
            result["best_not_saved"] = (
                f"no validation accuracy was above save_best_above = {threshold:g}, the highest was "
                f"{highest['val_acc']:.4f} in epoch {highest['epoch']}"
            )
        elif position.history and position.best is None:
            why = f" ({reason_of(error)})" if isinstance(error, OSError) else ""  # as on a full disk
            result["best_not_saved"] = f"it could not be written{why}"
        if error is not None:
            result["reason"] = "terminated" if isinstance(error, Terminated) else reason_of(error)
        if position.has_stopped_early(self.settings["early_stop"]):
            result["stopped_early"] = True
        if isinstance(error, TrainingDiverged):
            result["diverged"] = True
        write_result(self.run, result)
        return result

    def _write_history(self, position):
        write_history(self.run, position.history)
        title = f"{self.settings['net']} on {self.settings['data']}"
        draw_curves(position.history, self.run / "curves.png", title, self.unbalanced)

    def _print_end(self, result):
        history, best = self.state.position.history, self.state.position.best
        speed = f", {result['images_per_second']:.1f} images/s" if history else ""
        where = f"run folder {self.run}"
        if result["status"] == "interrupted":
            where += f"; --resume {self.run} goes on"
        if not history:
            print(f"{result['status']} before the first epoch ended; {where}")
            return
        if best is None:
            outcome = f"no best.safetensors, for {result['best_not_saved']}, after epoch {result['epochs']}"
        else:
            accuracy = f"{best['val_acc']:.4f}{self._balanced(best, ', balanced accuracy ')}"
            outcome = f"best validation accuracy {accuracy} in epoch {best['epoch']} of {result['epochs']}"
        print(f"{result['status']}: {outcome}; {result['seconds']:.0f} s{speed}; {where}")

    def _size(self, row) -> str:
        """The size of the training images of an epoch, where it is not that of evaluation; else empty."""
        size = row.get("train_size")
        return f" at {size} px" if size not in (None, self.settings["image_size"]) else ""

    def _balanced(self, row, name) -> str:
        """``name`` and the balanced validation accuracy of an epoch; empty where classes are balanced or it is not known."""
        value = row.get("val_balanced_acc")
        return f"{name}{value:.4f}" if self.unbalanced and value is not None else ""


class Follower:
    """In place of a RunRecorder in those processes of a training that write nothing."""

    def __init__(self, state: TrainingState):
        self.state = state

    def __enter__(self) -> "Follower":
        return self

    def record(self, position: Position) -> None:
        self.state.position = position

    def record_step(self, position: Position) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        pass


def _mean_speed(history) -> Optional[float]:
    """Training images a second over the run: the harmonic mean of the epochs' speeds, as each has the same number of images."""
    return len(history) / sum(1 / row["images_per_second"] for row in history) if history else None

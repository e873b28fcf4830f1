"""A run is a folder ``runs/<net>/<NNN>/``; a new run takes the next number, nothing is overwritten."""

import csv
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from machine.locks import ClaimedError, claim
from machine.whole_file import write_csv, write_text
from messages.user_error import UserError

HISTORY_COLUMNS = (
    "epoch", "learning_rate", "train_loss", "train_acc", "val_loss", "val_acc", "seconds", "images_per_second",
)  # fmt: skip


class RunError(UserError):
    """No usable run; the message says which are there."""


def create_run(runs_dir, net) -> Path:
    """Make and return the next free folder ``runs_dir/net/NNN``; safe when several trainings start at once."""
    parent = Path(runs_dir) / net
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(entry.name) for entry in parent.iterdir() if entry.name.isdecimal()), default=0)
    while True:
        number += 1
        try:
            (parent / f"{number:03d}").mkdir()
        except FileExistsError:
            continue  # another process took this number
        return parent / f"{number:03d}"


def lock_run(run) -> AbstractContextManager[Any]:
    """Claim a run folder for this process; returns what holds the claim until its ``with`` block ends.

    The system lets go of it when the process ends, however it ends. Raises RunError where another process trains this run.
    """
    try:
        return claim(Path(run) / ".lock")
    except ClaimedError:
        raise RunError(f"{run} is being trained by another process: wait for its end, or name another run") from None


def newest_run(runs_dir, net=None) -> Path:
    """The run that was trained last, of ``net`` or of any network; raises RunError where there is none."""
    runs = [config.parent for config in Path(runs_dir).glob(f"{net or '*'}/*/config.yaml") if config.parent.name.isdecimal()]
    if not runs:
        raise RunError(f"there is no run{f' of {net}' if net else ''} in {runs_dir}: python train.py begins one")

    def trained_at(run):
        files = [run / name for name in ("config.yaml", "last.safetensors")]
        return max(file.stat().st_mtime_ns for file in files if file.exists()), int(run.name)

    return max(runs, key=trained_at)


def newest_finished_run(runs_dir, net) -> Path:
    """The finished run of ``net`` with the highest number; raises RunError naming what is there instead."""
    parent = Path(runs_dir) / net
    runs = sorted((e for e in parent.glob("*") if e.name.isdecimal()), key=lambda e: int(e.name), reverse=True)
    for run in runs:
        if read_result(run).get("status") == "finished":
            return run
    usable = next((run for run in runs if (run / "best.safetensors").is_file()), None)
    if usable:
        status = read_result(usable).get("status", "unfinished")
        raise RunError(f"no finished run of {net} in {parent}; {usable} is {status}, evaluate it with --run {usable}")
    others = sorted({e.parent.parent.name for e in Path(runs_dir).glob("*/*/result.json")} - {net, "compare"})
    hint = f"; there are runs of {', '.join(others)}" if others else ""
    raise RunError(f"no finished run of {net} in {parent}: python train.py --net {net} makes one{hint}")


def best_checkpoint(run) -> Path:
    """The file of a run's best epoch; raises RunError where no epoch was good enough to be saved."""
    path, reason = Path(run) / "best.safetensors", read_result(run).get("best_not_saved")
    if reason and not path.is_file():
        raise RunError(f"{run} has no best.safetensors: {reason}; train longer, or with a lower --save_best_above")
    return path


def write_config(run, settings) -> None:
    """Write every setting as it ran, a dict of plain values, to ``config.yaml``."""
    write_text(run / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


def read_result(run) -> dict:
    """What ``result.json`` says of a run: status, best epoch, times; empty where there is none that can be read.

    The status is "unfinished" until training ends, then "finished", "interrupted" or "failed".
    """
    try:
        result = json.loads((Path(run) / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return result if isinstance(result, dict) else {}


def write_result(run, result) -> None:
    """Write ``result.json``."""
    write_text(run / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def write_history(run, rows) -> None:
    """Write ``history.csv``, one row (a dict by HISTORY_COLUMNS) an epoch; numbers with all their digits."""
    write_csv(run / "history.csv", HISTORY_COLUMNS, ([row[name] for name in HISTORY_COLUMNS] for row in rows))


def read_history(run) -> list:
    """The rows of ``history.csv`` as dicts of numbers; raises RunError."""
    path = Path(run) / "history.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [{name: float(row[name]) for name in HISTORY_COLUMNS} for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise RunError(f"{run} has no history.csv: not a run folder, or no epoch was finished") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error!r}") from None
    return [{**row, "epoch": int(row["epoch"])} for row in rows]

"""A run is a folder ``runs/<net>/<NNN>/``; a new run gets the next number, so nothing is overwritten."""

import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from config import FORMAT, Config
from machine.locks import ClaimedError, claim
from machine.whole_file import write_text
from trained.result import read_result
from trained.run_error import RunError


def create_run(runs_dir: Union[str, Path], net: str) -> Path:
    """Make and return the next free folder ``runs_dir/net/NNN``; safe when several trainings start at once.

    Raises OSError.
    """
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


def lock_run(run: Path) -> AbstractContextManager[Any]:
    """Claim a run folder for this process; the returned context manager holds the claim until its ``with`` block ends.

    The system releases the claim when the process ends, however it ends. Raises RunError if another process trains this run.
    """
    try:
        return claim(Path(run) / ".lock")
    except ClaimedError:
        raise RunError(f"{run} is being trained by another process: wait until it ends, or name another run") from None


def newest_run(runs_dir: Union[str, Path], net: Optional[str] = None) -> Path:
    """The run that was trained last, of ``net`` or of any network; raises RunError if there is none."""
    runs = [config.parent for config in Path(runs_dir).glob(f"{net or '*'}/*/config.yaml") if config.parent.name.isdecimal()]
    if not runs:
        raise RunError(
            f"there is no run{f' of {net}' if net else ''} in {runs_dir}: {_train_command(runs_dir, net)} starts one"
        )

    def trained_at(run):
        files = [run / name for name in ("config.yaml", "last.safetensors")]
        return max(file.stat().st_mtime_ns for file in files if file.exists()), int(run.name)

    return max(runs, key=trained_at)


def newest_finished_run(runs_dir: Union[str, Path], net: str) -> Path:
    """The finished run of ``net`` with the highest number; raises RunError, which names the runs that exist instead."""
    parent = Path(runs_dir) / net
    runs = sorted((e for e in parent.glob("*") if e.name.isdecimal()), key=lambda e: int(e.name), reverse=True)
    for run in runs:
        if read_result(run).get("status") == "finished":
            return run
    usable = next((run for run in runs if (run / "best.safetensors").is_file()), None)
    if usable:
        status = read_result(usable).get("status", "unfinished")
        raise RunError(f"no finished run of {net} in {parent}; {usable} is {status}: --run {usable} uses it")
    others = sorted({e.parent.parent.name for e in Path(runs_dir).glob("*/*/result.json")} - {net, "compare"})
    hint = f"; there are runs of {', '.join(others)}" if others else ""
    raise RunError(f"no finished run of {net} in {parent}: {_train_command(runs_dir, net)} makes one{hint}")


def _train_command(runs_dir, net):
    """The command that trains a run of ``net`` (None: of the default network) in ``runs_dir``, for messages."""
    of_net = f" --net {net}" if net else ""
    place = "" if str(runs_dir) == Config.runs_dir else f" --runs_dir {shlex.quote(str(runs_dir))}"
    return f"python train.py{of_net}{place}"


def best_checkpoint(run: Union[str, Path]) -> Path:
    """The file of a run's best epoch; raises RunError if no epoch was good enough to be saved."""
    path, result = Path(run) / "best.safetensors", read_result(run)
    reason = result.get("best_not_saved")
    if reason and not path.is_file():
        finished = result.get("status") == "finished"  # else a full disk, say, was in the way
        remedy = "train longer, or with a lower --save_best_above" if finished else f"--resume {run} goes on"
        raise RunError(f"{run} has no best.safetensors: {reason}; {remedy}")
    return path


def write_config(run: Path, settings: Mapping[str, Any]) -> None:
    """Write ``settings``, {name: plain value}, to ``config.yaml``, after the format number. Raises OSError."""
    write_text(run / "config.yaml", yaml.safe_dump({"format": FORMAT, **settings}, sort_keys=False, allow_unicode=True))

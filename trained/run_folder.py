"""A run is a folder ``runs/<net>/<NNN>/``; a new run gets the next number, so nothing is overwritten.

It may come from a stranger. So it holds plain files and folders of its own: a link in it could lead anywhere.
"""

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from config import FORMAT, Config
from data.folder_walk import RUN_NAME
from machine.locks import ClaimedError, claim
from machine.regular_file import kind_of
from machine.whole_file import write_text
from trained.result import read_result
from trained.run_error import RunError

MARKS = ("config.yaml", "result.json", "best.safetensors", "last.safetensors")
"""One of these is in every run."""
MAX_ENTRIES = 10_000  # of a run with its evaluations and its export; a hundred are usual


def create_run(runs_dir: Union[str, Path], net: str) -> Path:
    """Make and return the next free folder ``runs_dir/net/NNN``; safe when several trainings start at once.

    Raises OSError.
    """
    parent = Path(runs_dir) / net
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(run.name) for run in runs_of(runs_dir, net)), default=0)
    while True:
        number += 1
        try:
            (parent / f"{number:03d}").mkdir()
        except FileExistsError:
            continue  # another process took this number
        return parent / f"{number:03d}"


@contextlib.contextmanager
def new_folder(runs_dir: Union[str, Path], name: str) -> Iterator[Path]:
    """Yield a folder as ``create_run`` makes it; if the block raises, it goes again with all that is in it."""
    folder = create_run(runs_dir, name)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def runs_of(runs_dir: Union[str, Path], net: str) -> list[Path]:
    """The folders ``runs_dir/net/NNN``, the highest number first; 001.bak, which a user made, is no run."""
    parent = Path(runs_dir) / net
    found = [entry for entry in parent.iterdir() if RUN_NAME.fullmatch(entry.name)] if parent.is_dir() else []
    return sorted(found, key=lambda run: int(run.name), reverse=True)


def check_plain(run: Union[str, Path]) -> None:
    """Raise RunError where anything in the folder ``run`` is neither a file nor a folder; ``run`` itself may be a link.

    A folder that holds nothing of a run is passed over: a user may have named any. Raises OSError for a folder in it that
    cannot be read.
    """
    folders = [os.fspath(run)] if any(os.path.lexists(os.path.join(run, name)) for name in MARKS) else []
    seen = 0
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_ENTRIES:
                    raise RunError(f"{run} holds more than {MAX_ENTRIES:,} files, more than any run: remove what is not of it")
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    kind = kind_of(entry.stat(follow_symlinks=False).st_mode)
                    if entry.is_symlink():
                        remedy = "put what it leads to in its place if you trust the run"
                    else:
                        remedy = "remove it if you trust the run"
                    raise RunError(
                        f"{entry.path} is {kind}, and a run may hold nothing but files and folders of its own: {remedy}"
                    )


def folder_in(run: Path, name: str) -> Path:
    """The folder ``name`` in ``run``, made if it is missing; raises RunError where it is a link, OSError."""
    folder = run / name
    folder.mkdir(exist_ok=True)
    if folder.is_symlink():  # made since check_plain
        raise RunError(f"{folder} is a link, and a run may hold nothing but files and folders of its own: remove it")
    return folder


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
    nets = [net] if net else [place.name for place in Path(runs_dir).glob("*")]
    runs = [run for name in nets for run in runs_of(runs_dir, name) if os.path.lexists(run / "config.yaml")]
    if not runs:
        raise RunError(
            f"there is no run{f' of {net}' if net else ''} in {runs_dir}: {_train_command(runs_dir, net)} starts one"
        )

    def trained_at(run):
        files = [run / name for name in ("config.yaml", "last.safetensors")]
        return max(file.lstat().st_mtime_ns for file in files if os.path.lexists(file)), int(run.name)

    return max(runs, key=trained_at)


def newest_finished_run(runs_dir: Union[str, Path], net: str) -> Path:
    """The finished run of ``net`` with the highest number; raises RunError, which names the runs that exist instead, or a newer
    one that check_plain refuses."""
    runs = runs_of(runs_dir, net)
    for run in runs:
        check_plain(run)
        if read_result(run).get("status") == "finished":
            return run
    parent = Path(runs_dir) / net
    usable = next((run for run in runs if (run / "best.safetensors").is_file()), None)
    if usable:
        status = read_result(usable).get("status", "unfinished")
        raise RunError(f"no finished run of {net} in {parent}; {usable} is {status}: --run {usable} uses it")
    nets = {place.name for place in Path(runs_dir).glob("*")} - {net, "compare"}
    others = sorted(name for name in nets if any(os.path.lexists(run / "result.json") for run in runs_of(runs_dir, name)))
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

"""Trainings that a comparison needs: which of them are there already, and running the others, each in its own process.

A process of its own keeps peak memory apart and lets the comparison go on when one training fails.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from machine.ending import INTERRUPTED, TERMINATED, Terminated
from trained.run_folder import read_result

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 6  # seconds for a script to end once it is interrupted; it gives itself 4


class ProcessFailed(RuntimeError):
    """A script ended with an error; the message is its last line."""


def find_run(runs_dir, net, settings, lists, statuses=("finished",), weights=None):
    """The newest run of ``net`` that has all of ``settings``, a dict by name, and one of the ``statuses``, or None.

    ``lists``: digests of the training and validation lists; ``weights``: of the file that training starts from. Runs that began
    with fewer epochs do not count, for their learning rate followed another schedule first.
    """
    for run in sorted(Path(runs_dir, net).glob("[0-9]*"), key=lambda entry: entry.name.zfill(9), reverse=True):
        result = read_result(run)
        if result.get("status") not in statuses or result.get("list_sha256") != lists or result.get("diverged"):
            continue
        if result.get("epochs_before") or result.get("init_from_sha256") != weights:
            continue
        try:
            found = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError):
            continue
        if isinstance(found, dict) and all(found.get(name) == value for name, value in settings.items()):
            return run
    return None


def run_script(script, arguments, quiet=False) -> None:
    """Run one of the scripts to its end; raises ProcessFailed, or KeyboardInterrupt where it was interrupted.

    Its output goes where this process's does; with ``quiet`` nowhere.
    """
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL if quiet else None, stderr=subprocess.PIPE, text=True, errors="replace",
        env=environment,
    )  # fmt: skip
    try:
        last = ""
        for line in process.stderr or ():
            last = line.strip() or last
            if not quiet:
                print(line, end="", file=sys.stderr, flush=True)
        code = process.wait()
    except KeyboardInterrupt as interruption:
        # Ctrl-C reached the script as well, which is writing down how it ended; SIGTERM reached this process alone
        if isinstance(interruption, Terminated):
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        raise
    finally:
        if process.poll() is None:
            process.kill()
    if code in (INTERRUPTED, TERMINATED):
        raise KeyboardInterrupt
    if code < 0:
        name = signal.Signals(-code).name
        raise ProcessFailed(f"{script} was ended by {name}" + (", for want of memory?" if name == "SIGKILL" else ""))
    if code:
        raise ProcessFailed(last or f"{script} ended with exit code {code}")

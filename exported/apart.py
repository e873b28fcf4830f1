"""Runs a module of this room in a process of its own: other libraries may abort the process, print, and write to the home."""

import os
import signal
import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from exported.export_error import ExportError
from machine.home_folder import HOME
from messages.quoting import named

ROOT = Path(__file__).resolve().parent.parent


def run_apart(module: str, arguments: Sequence[object], scratch: Path, what: str, python: str = sys.executable) -> None:
    """Run ``python -m exported.MODULE ARGUMENTS``; raises ExportError, which says that ``what`` failed and why.

    ``scratch``: a folder that is its home and its place for temporary files. It ends when this process is interrupted.
    """
    # It runs in the toolkit's folder, which need not be the user's
    words = [str(word.absolute()) if isinstance(word, Path) else str(word) for word in arguments]
    command = [python, "-m", f"exported.{module}", *words]
    ended = subprocess.run(
        command, cwd=ROOT, env=_environment(scratch),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="backslashreplace", check=False,
    )  # fmt: skip
    if ended.returncode:
        raise ExportError(f"{what} failed: {_reason(ended.returncode, ended.stdout)}")


def _environment(scratch):
    place = str(scratch.absolute())
    return {
        **os.environ,
        HOME: place,
        "XDG_CACHE_HOME": place,
        "TMPDIR": place,
        "PYTHONUSERBASE": site.getuserbase(),  # else packages of the user's real home would be missing
        "ORT_DISABLE_TELEMETRY": "1",  # else importing ONNX Runtime makes an id of the device, and sends it on Windows
    }


def _reason(code, output):
    """Why a process ended, from its last line that says something."""
    lines = [line.strip() for line in output.splitlines() if line.strip(" -=^~\t")]
    last = next((line for line in reversed(lines) if "rror" in line or "not support" in line), lines[-1] if lines else "")
    ended = f"its process ended with {signal.Signals(-code).name}" if code < 0 and -code in list(signal.Signals) else ""
    return "; ".join(filter(None, [ended, named(last)])) or f"its process ended with code {code}"

"""The network as an ONNX model. paddle2onnx makes it, which needs Paddle 3 and may abort its process: so not in this one."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import paddle

from exported.apart import ROOT, run_apart
from exported.export_error import ExportError

PACKAGES = ("onnx", "onnxruntime", "paddle2onnx")
REQUIREMENTS = "requirements-export.txt"
OTHER = ".venv-export"
"""The folder of an environment for these packages and Paddle 3, beside a toolkit that runs on Paddle 2."""


def find_python() -> str:
    """The command of the Python to convert with: this one, or that of OTHER.

    Raises ExportError, which names the command that installs what is missing.
    """
    if not paddle.__version__.startswith("2.") and _has_packages(sys.executable):
        return sys.executable
    other = str(ROOT / OTHER / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if _has_packages(other):
        return other
    if not paddle.__version__.startswith("2."):
        command = [sys.executable, "-m", "pip", "install", "-r", str(ROOT / REQUIREMENTS)]
        raise ExportError(
            f"format = 'onnx' needs packages: {shlex.join(command)} installs them; --format paddle paddlex does without"
        )
    command = [sys.executable, str(ROOT / "install.py"), "--export", "--venv", OTHER, "--paddle", "cpu"]
    raise ExportError(
        f"format = 'onnx' needs Paddle 3, this is {paddle.__version__}: {shlex.join(command)} installs it in a folder of its "
        f"own; --format paddle paddlex does without"
    )


def write_onnx(program: Path, model: Path, facts: Mapping[str, str], scratch: Path, python: str) -> None:
    """Write the Paddle ``program`` as the ONNX file ``model``, with ``facts`` as its metadata.

    Raises ExportError with paddle2onnx's last words where it fails.
    """
    notes = scratch / "facts.json"
    notes.write_text(json.dumps(facts), encoding="ascii")
    what = "converting the network to ONNX (paddle2onnx)"
    run_apart("convert", [program, model, notes], scratch, what, python)


def _has_packages(python: str) -> bool:
    code = "import importlib.util as i, sys; sys.exit(not all(map(i.find_spec, sys.argv[1:])))"
    try:
        return subprocess.call([python, "-c", code, *PACKAGES], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False

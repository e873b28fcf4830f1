"""Export a trained network for other programs, as ONNX, for Paddle Inference and for PaddleX, checked to be equal."""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config

PATIENCE = 30.0  # seconds that Paddle may take to write a large network: Ctrl-C meanwhile must still leave nothing behind


def main(config: Config) -> int:
    """Export the run that the configuration chooses; returns the exit code."""
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle warns in tracing of what does not concern the user
    return ending.run("export", export, config, patience=PATIENCE)


def export(config: Config) -> None:
    """Write the exported network that ``config`` asks for: see exported.export_run."""
    from exported.export_run import export_run  # imports Paddle, so only once the settings have been checked

    export_run(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

"""Predict the classes of photographs with a trained network: write them to a file, sort the photographs, show them."""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config
from processes import launcher
from processes.environment import is_launched

HINT = "--continue goes on"


def main(config: Config) -> int:
    """Predict the photographs that the configuration names; returns the exit code."""
    if config.processes != 1 and not is_launched():
        return launcher.run("predict", config.processes, config, HINT)
    return ending.run("predict", predict, config, hint=HINT)


def predict(config: Config) -> int:
    """Write the predictions that ``config`` asks for: see prediction.predict_photographs."""
    from prediction.predict_photographs import predict_photographs  # imports Paddle, so only once settings are checked

    return predict_photographs(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

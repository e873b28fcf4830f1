"""Train a network on the photographs of a data folder and write all results of the run to runs/NET/NNN."""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config
from processes import launcher
from processes.environment import is_launched


def main(config: Config) -> int:
    if config.processes != 1 and not is_launched():
        return launcher.run("train", config.processes, config, "train.py --resume latest goes on")
    return ending.run("train", work, config)


def work(config: Config) -> int:
    """Train, resume or summarise as ``config`` says: see training.session."""
    from training import session  # imports Paddle, so only once the settings have been checked

    return session.run(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

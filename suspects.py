"""Find photographs whose label is probably wrong: those that networks trained on the other folds contest, worst first."""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config


def main(config: Config) -> int:
    return ending.run("suspects", find, config)


def find(config: Config) -> None:
    """Look for doubtful labels as ``config`` says: see label_errors.find_suspects."""
    from label_errors.find_suspects import find_suspects  # imports Paddle, so only once the settings have been checked

    find_suspects(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

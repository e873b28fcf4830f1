"""Find out in minutes whether attention helps a trained ResNet: insert layers, train their gates alone, judge them."""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config


def main(config: Config) -> int:
    return ending.run("surgery", insert, config)


def insert(config: Config) -> None:
    """Insert attention as ``config`` says: see insertion.try_attention."""
    from insertion.try_attention import try_attention  # imports Paddle, so only once the settings have been checked

    try_attention(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

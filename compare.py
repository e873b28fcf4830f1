"""Compare networks on your photographs: train and evaluate missing runs, and say which differences the data support."""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config

PATIENCE = 10.0  # seconds; the current training may take up to 6 of them to end


def main(config: Config) -> int:
    return ending.run("compare", compare, config, PATIENCE, hint="the same command continues with what is missing")


def compare(config: Config) -> int:
    """Compare the networks or runs that ``config`` names: see comparison.compare_networks."""
    from comparison.compare_networks import compare_networks  # imports Paddle, so only once the settings have been checked

    return compare_networks(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

"""Search for the learning rate and weight decay of a network on your photographs, within a budget of minutes.

Short trainings on a part of the training list, ranked on the rest of it: the validation list stays unread. The clearly bad
ones end early, the best go on for longer. Writes a recipe for train.py --config.
"""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config

PATIENCE = 10.0  # seconds; the current training may take up to 6 of them to end


def main(config: Config) -> int:
    return ending.run("tune", work, config, PATIENCE, hint="the same command goes on with the search")


def work(config: Config) -> int:
    """Search as ``config`` says: see tuning.search."""
    from tuning.search import tune  # imports Paddle, so only once the settings have been checked

    return tune(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

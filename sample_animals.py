"""Draw a small data set of the ten Animals-10 classes, to try the toolkit without photographs.

All classes share the ranges of coats, backdrops and clutter, so a network must learn shapes rather than colours.
"""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config


def main(config: Config) -> int:
    """Draw the data set that the configuration asks for; returns the exit code."""
    return ending.run("sample_animals", draw, config, uses_paddle=False)


def draw(config: Config) -> None:
    """Draw the data set ``config.data``: see drawing.drawn_dataset."""
    from drawing.drawn_dataset import draw_sample

    draw_sample(config.data, config.per_class, config.seed)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

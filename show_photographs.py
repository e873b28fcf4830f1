"""Draw a labelled grid of random photographs, one of each class, to show what the labels mean, or what a training sees."""

import os
import sys
from pathlib import Path

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config
from machine.home_folder import provide_home


def main(config: Config) -> int:
    """Draw the picture that the configuration asks for; returns the exit code."""
    return ending.run("show_photographs", show, config, uses_paddle=config.augmented)


def show(config: Config) -> None:
    """Draw ``config.picture``: see plots.class_grid, with ``config.augmented`` explanation.training_views."""
    provide_home(last_resort=Path(config.picture).parent)  # before matplotlib is imported
    if config.augmented:
        from explanation.training_views import draw_training_views

        draw_training_views(config)
        return
    from plots.class_grid import draw_classes

    draw_classes(config)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

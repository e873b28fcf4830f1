"""Split a folder of class folders into training and validation lists, after reading every photograph once.

Writes train_list.txt, val_list.txt ("relative/path label"), labels.txt, split_report.csv and split.json into the folder, or
into the folder --lists_dir; never moves or changes photographs.
"""

import os
import sys

if getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH=1 or -P: Python leaves the script's own folder out
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import ending
from config import Config, parse_config


def main(config: Config) -> int:
    """Split the data that the configuration names; returns the exit code."""
    return ending.run("train_val_split", split, config, uses_paddle=False)


def split(config: Config) -> None:
    """Write the lists of ``config.data``: see data.splitting."""
    from data.splitting import split_dataset

    split_dataset(config.data_source(), seed=config.seed, show_progress=True, **config.part("split"))


if __name__ == "__main__":
    ending.leave(main(parse_config()))

"""Split a folder of class folders into training and validation lists, after reading every photograph once.

Writes train_list.txt, val_list.txt ("relative/path label"), labels.txt and split_report.csv into the folder; never moves or
changes photographs.
"""

from machine import ending
from config import Config, parse_config
from data import DATASETS
from data.class_folders import SplitError
from data.splitting import split_folder


def main(config: Config) -> int:
    """Split the data that the configuration names; returns the exit code."""
    return ending.run("train_val_split", split, config, uses_paddle=False)


def split(config: Config) -> None:
    """Write the lists of ``config.data``; raises SplitError, DataError, OSError."""
    if not DATASETS[config.dataset].in_folder:
        raise SplitError(f"dataset = {config.dataset!r}: only a folder can be split; {config.dataset} is split already")
    split_folder(config.data, config.val_fraction, config.seed, config.max_per_class, config.follow_links, show_progress=True)


if __name__ == "__main__":
    ending.leave(main(parse_config()))

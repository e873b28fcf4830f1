"""Split a folder of class folders into training and validation lists, after reading every photograph once.

Writes train_list.txt, val_list.txt ("relative/path label"), labels.txt, split_report.csv and split.json into the folder, or
into the folder --lists_dir; never moves or changes photographs.
"""

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

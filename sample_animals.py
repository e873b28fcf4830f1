"""Draw a small data set of the ten Animals-10 classes, to try the toolkit without photographs.

All classes share the ranges of coats, backdrops and clutter, so a network must learn shapes rather than colours.
"""

import os
import random
import shutil
from pathlib import Path
from typing import Union

from machine import ending
from config import Config, parse_config
from data.archive_entries import SUFFIXES as ARCHIVES
from data.lists import split_command
from drawing.animal_picture import draw_animal
from drawing.animals import CLASSES
from messages.terminal import printable
from messages.user_error import UserError

JPEG_QUALITY = 88
UNFINISHED = ".sample_animals"  # this file marks the folder of an interrupted run, which may be deleted


class SampleError(UserError):
    """A sample that cannot be drawn into this folder."""


def main(config: Config) -> int:
    """Draw the data set that the configuration asks for; returns the exit code."""
    return ending.run("sample_animals", draw, config, uses_paddle=False)


def draw(config: Config) -> None:
    """Draw the data set ``config.data`` and name the next command; raises SampleError, OSError."""
    count = draw_dataset(config.data, config.per_class, config.seed)
    following = split_command(config.data)
    print(printable(f"Drew {count} images of {len(CLASSES)} classes in {config.data}; next: {following}"))


def draw_dataset(folder: Union[str, os.PathLike], per_class: int, seed: int) -> int:
    """Write ``per_class`` JPEGs of each class to ``folder/<class>/`` and return the number of all images.

    An image depends only on the seed, its class and its number, so a larger ``per_class`` keeps the earlier images. The folder
    appears only when it is complete. Raises SampleError for a folder that already holds something, OSError.
    """
    if per_class < 1:
        raise SampleError(f"per_class = {per_class}: each class needs at least 1 image")
    folder = Path(folder).resolve()
    if folder.name.lower().endswith(ARCHIVES):
        raise SampleError(f"{folder} is the name of an archive, but pictures are drawn into a folder: give --data a folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SampleError(f"{folder} already holds something; give --data a new or an empty folder")
    unfinished = folder.with_name(folder.name + ".partial")
    if (unfinished / UNFINISHED).exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    (unfinished / UNFINISHED).touch()
    for name in CLASSES:
        (unfinished / name).mkdir()
        for number in range(1, per_class + 1):
            image = draw_animal(name, random.Random(f"{seed}/{name}/{number}"))
            image.save(unfinished / name / f"{name}_{number:04d}.jpg", quality=JPEG_QUALITY)
    (unfinished / UNFINISHED).unlink()
    if folder.exists():
        folder.rmdir()  # it is empty; not every system renames onto an existing folder
    unfinished.rename(folder)
    return len(CLASSES) * per_class


if __name__ == "__main__":
    ending.leave(main(parse_config()))

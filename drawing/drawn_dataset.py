"""A data set of drawn animals: class folders of JPEGs."""

import os
import random
import shutil
from pathlib import Path
from typing import Union

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


def draw_sample(data: str, per_class: int, seed: int) -> None:
    """Draw the data set ``data`` and name the next command; raises SampleError, OSError."""
    count = draw_dataset(data, per_class, seed)
    print(printable(f"Drew {count} images of {len(CLASSES)} classes in {data}; next: {split_command(data)}"))


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

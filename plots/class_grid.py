"""The grid of labelled photographs that show_photographs.py draws."""

import random
from pathlib import Path

from PIL import Image

from config import Config
from data import DATASETS
from data.data_folder import DataFolder
from data.lists import TRAIN_LIST, VAL_LIST, DataError
from data.photographs import PhotographError, read_photograph
from messages.terminal import printable
from plots.figures import draw_photographs

MAX_SHOWN = 50  # classes
THUMBNAIL = (320, 320)  # width and height in pixels, at most


def draw_classes(config: Config) -> None:
    """Draw ``config.picture``, one photograph of each class, and print its name; raises DataError, OSError."""
    if not DATASETS[config.dataset].in_folder:
        raise DataError(f"dataset = {config.dataset!r}: only the photographs of a folder can be shown without --augmented")
    folder = DataFolder.open(config.data, config.follow_links, config.lists_dir)
    classes = folder.read_classes()
    images = one_of_each_class(folder, classes, config.seed)
    draw_photographs(images, Path(config.picture))
    print(f"one photograph of each of {len(images)} of {len(classes)} classes: {printable(config.picture)}")


def one_of_each_class(folder: DataFolder, classes: list[str], seed: int) -> list[tuple[Image.Image, str]]:
    """[(photograph, its label as text), ...] of at most MAX_SHOWN classes, drawn with ``seed``; raises DataError."""
    samples = [sample for name in (TRAIN_LIST, VAL_LIST) for sample in folder.read_list(name, len(classes))]
    rng = random.Random(seed)
    images = []
    for label in sorted(rng.sample(range(len(classes)), min(len(classes), MAX_SHOWN))):
        names = [sample.name for sample in samples if sample.label == label]
        if names:
            images.append((_thumbnail(folder.root / rng.choice(names)), f"label: {classes[label]}"))
    return images


def _thumbnail(path):
    try:
        image = read_photograph(path)
    except PhotographError as error:
        raise DataError(f"{path}: {error}") from None
    image.thumbnail(THUMBNAIL)
    return image

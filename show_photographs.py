"""Draw a labelled grid of random photographs, one of each class, to see what the labels stand for."""

import random

from machine import ending
from config import parse_config
from data.data_sets import data_root
from data.lists import TRAIN_LIST, VAL_LIST, DataError, read_classes, read_list
from data.photographs import PhotographError, read_photograph
from messages.terminal import printable

MOST_CLASSES = 50
THUMBNAIL = (320, 320)


def main(config) -> int:
    return ending.run("show_photographs", show, config, uses_paddle=False)


def show(config) -> None:
    """Draw the grid that the configuration asks for; raises DataError, OSError."""
    from plots.figures import draw_photographs

    if config.dataset != "folder":
        raise DataError(f"dataset = {config.dataset!r}: only the photographs of a folder are shown")
    root, given = data_root(config.data), (config.follow_links, config.data)
    classes = read_classes(root, *given)
    samples = [sample for name in (TRAIN_LIST, VAL_LIST) for sample in read_list(root / name, len(classes), *given)]
    rng = random.Random(config.seed)
    shown = sorted(rng.sample(range(len(classes)), min(len(classes), MOST_CLASSES)))
    images = []
    for label in shown:
        paths = [path for path, other, _ in samples if other == label]
        if paths:
            images.append((_read(root / rng.choice(paths)), f"label: {classes[label]}"))
    draw_photographs(images, config.picture)
    print(f"one photograph of each of {len(images)} of {len(classes)} classes: {printable(config.picture)}")


def _read(path):
    try:
        image = read_photograph(path)
    except PhotographError as error:
        raise DataError(f"{path}: {error}") from None
    image.thumbnail(THUMBNAIL)
    return image


if __name__ == "__main__":
    ending.leave(main(parse_config()))

"""Draw a labelled grid of random photographs, one of each class, to see what the labels stand for."""

import random
import sys
from pathlib import Path

from config import parse_config
from photo_lists import TRAIN_LIST, VAL_LIST, DataError, read_classes, read_list
from photographs import PhotographError, read_photograph


def main(config) -> int:
    from reporting.plots import draw_photographs

    try:
        root = Path(config.data)
        classes = read_classes(root)
        samples = [sample for name in (TRAIN_LIST, VAL_LIST) for sample in read_list(root / name, len(classes))]
        rng = random.Random(config.seed)
        images = []
        for label, name in enumerate(classes):
            paths = [path for path, other, _ in samples if other == label]
            if paths:
                images.append((_read(root / rng.choice(paths)), f"label: {name}"))
        draw_photographs(images, config.picture)
    except (DataError, OSError) as error:
        print(f"show_photographs.py: error: {error}", file=sys.stderr)
        return 2
    print(f"one photograph of each of {len(images)} classes: {config.picture}")
    return 0


def _read(path):
    try:
        return read_photograph(path)
    except PhotographError as error:
        raise DataError(f"{path}: {error}") from None


if __name__ == "__main__":
    sys.exit(main(parse_config()))

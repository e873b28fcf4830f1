"""The pictures of show_photographs.py --augmented: what a training sees of some photographs."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import paddle
from PIL import Image

from config import Config
from data.photograph_dataset import PhotographDataset
from messages.terminal import printable
from plots.figures import draw_photographs
from training.mixing import Mixing
from training.training_set import open_training_set

PHOTOGRAPHS, EPOCHS = 6, 6
THUMBNAIL = (320, 320)  # width and height in pixels, at most


def draw_training_views(config: Config) -> None:
    """Draw ``config.picture``, a row for each of a few photographs: the whole, then how each of the first epochs shows it.

    Crops and augmentation are those of a training with this seed. Photographs are mixed with others of the picture, in a
    training with others of a batch. Raises DataError, OSError.
    """
    config, dataset = open_training_set(config)
    chosen = choose(dataset, config.seed)
    columns = [[_whole(dataset, index) for index in chosen]]
    mixing = Mixing(len(dataset.classes), config.seed, **config.part("mixing"))
    for epoch in range(EPOCHS):
        columns.append(views(dataset, chosen, epoch, mixing))
    images = [column[row] for row in range(len(chosen)) for column in columns]
    draw_photographs(images, Path(config.picture), columns=len(columns))
    print(
        f"{len(chosen)} photographs of {printable(dataset.source)} as a training sees them in its first {EPOCHS} epochs: "
        f"{printable(config.picture)}"
    )


def choose(dataset: PhotographDataset, seed: int) -> list[int]:
    """At most PHOTOGRAPHS indices, drawn with ``seed``, of as many classes as there are."""
    order = list(range(len(dataset)))
    random.Random(seed).shuffle(order)
    seen: Counter = Counter()
    turns = []  # the first of every class comes before the second of any
    for place, index in enumerate(order):
        label = dataset.samples[index].label
        turns.append((seen[label], place, index))
        seen[label] += 1
    return [index for _, _, index in sorted(turns)[:PHOTOGRAPHS]]


def views(dataset: PhotographDataset, chosen: list[int], epoch: int, mixing: Mixing) -> list[tuple[Image.Image, str]]:
    """[(image, its label as text), ...] of the photographs ``chosen`` in ``epoch``, from 0, mixed with each other."""
    dataset.set_epoch(epoch)
    pixels, labels = zip(*(dataset[index] for index in chosen))
    images, [shares] = mixing(paddle.to_tensor(np.stack(pixels)), [paddle.to_tensor(np.stack(labels))], epoch, 0)
    shown = images.numpy().round().astype(np.uint8).transpose(0, 2, 3, 1)  # [N, 3, H, W] -> [N, H, W, 3]
    if shares.ndim == 1:
        texts = [f"epoch {epoch + 1}"] * len(chosen)
    else:
        texts = [_shares(row, dataset.classes) for row in shares.numpy()]
    return [(Image.fromarray(image), text) for image, text in zip(shown, texts)]


def _shares(row, classes):
    """Such as "dog 70%, cat 30%", the heavier first."""
    heaviest = sorted(np.flatnonzero(row >= 0.005).tolist(), key=lambda label: -row[label])
    return ", ".join(f"{classes[label]} {row[label]:.0%}" for label in heaviest)


def _whole(dataset, index):
    image = dataset.photograph(index)
    image.thumbnail(THUMBNAIL)
    return image, dataset.classes[dataset.samples[index].label]

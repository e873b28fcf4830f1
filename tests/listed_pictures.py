"""Folders of small coloured pictures with the lists that a test wants."""

from pathlib import Path

import numpy as np
from PIL import Image

from data.lists import SIDES, write_lists

CLASSES = ("cat", "dog", "sheep")


def write_pictures(root: Path, **counts: tuple[int, ...]) -> Path:
    """Write noisy pictures in a colour for each class, and the lists; returns ``root``.

    ``counts``: for each of the sides train, val and test how many photographs of each of CLASSES it has.
    """
    rng = np.random.default_rng(0)
    entries: dict[str, list[tuple[str, int]]] = {side: [] for side in SIDES}
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for side, numbers in counts.items():
            for number in range(numbers[label]):
                pixels = rng.normal(np.array([60, 120, 180])[label], 60, (36, 40, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{side}_{number}.png")
                entries[side].append((f"{name}/{side}_{number}.png", label))
    write_lists(root, CLASSES, entries["train"], entries["val"])
    if "test" in counts:
        write_test_list(root, entries["test"])
    return root


def write_test_list(root: Path, entries: list[tuple[str, int]]) -> None:
    """Write test_list.txt: (relative path, label)."""
    (root / SIDES["test"]).write_text("".join(f"{path} {label}\n" for path, label in entries))

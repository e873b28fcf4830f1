"""Photographs and labels from a list file, ready for the network: ``AnimalDataset``."""

import functools
from pathlib import Path

import numpy as np

from data.lists import DataError, list_digest, read_classes, read_list
from data.photograph_dataset import PhotographDataset
from data.photographs import PhotographError, read_crop, read_photograph


class AnimalDataset(PhotographDataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size] RGB, int64 label).

    ``list_file``: lines ``relative/path label``, paths relative to its folder, which also holds ``labels.txt``.
    ``follow_links``: take entries and links that lead out of that folder too. ``data``: what the user calls the folder, for
    messages. The other arguments, and what ``train`` changes: see PhotographDataset. Raises DataError for a bad list at once,
    for a bad photograph when it is read.
    """

    def __init__(self, list_file, image_size, train, seed=0, *, follow_links=False, data=None, **view):
        super().__init__(image_size, train, seed, **view)
        self.list_file = Path(list_file)
        self.source = str(self.list_file)
        self.root = self.list_file.parent
        self.data = data or self.root
        self.classes = read_classes(self.root, follow_links, self.data)
        self.samples = read_list(self.list_file, len(self.classes), follow_links, self.data)

    def digest(self) -> str:
        """SHA-256 of the list's content."""
        return list_digest(self.list_file)

    def photograph(self, index):
        return self._read(index, read_photograph)

    def __getitem__(self, index):
        pixels = self._read(index, lambda path: self.show(functools.partial(read_crop, path), index))
        return pixels, np.int64(self.samples[index][1])

    def _read(self, index, read):
        path, _, line = self.samples[index]
        try:
            return read(self.root / path)
        except PhotographError as error:
            raise DataError(
                f"{self.list_file} line {line}: {self.root / path}: {error}; "
                f"python train_val_split.py --data {self.data} writes lists without it"
            ) from None

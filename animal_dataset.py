"""Photographs and labels from a list file, ready for the network: ``AnimalDataset``."""

from pathlib import Path

import numpy as np
import paddle

from photo_lists import DataError, read_classes, read_list
from photographs import PhotographError, central_box, random_box, read_crop


class AnimalDataset(paddle.io.Dataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size] RGB, int64 label).

    ``list_file``: lines ``relative/path label``, paths relative to its folder, which also holds ``labels.txt``. With ``train``
    a random resized crop and a horizontal flip of even odds, else the central crop (see photographs.py).

    What is drawn for photograph i depends on ``seed``, the epoch and i alone: no two epochs augment alike, and the number of
    workers changes nothing. Whoever iterates calls ``set_epoch`` before each epoch, as training.loader.PhotographLoader does;
    without it every epoch is augmented as the first. Raises DataError for a bad list at once, for a bad photograph when it is
    read.
    """

    def __init__(self, list_file, image_size, train, seed=0, crop_min_area=0.08):
        super().__init__()
        self.list_file = Path(list_file)
        self.root = self.list_file.parent
        self.classes = read_classes(self.root)
        self.samples = read_list(self.list_file, len(self.classes))
        self.image_size, self.train = image_size, train
        self.seed, self.crop_min_area = seed, crop_min_area
        self.epoch = 0

    def set_epoch(self, epoch) -> None:
        """Augment as epoch ``epoch`` (from 0) from the next access on."""
        self.epoch = epoch

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label, line = self.samples[index]
        try:
            if self.train:
                rng = np.random.default_rng((self.seed, self.epoch, index))
                box, flip = random_box(rng, self.crop_min_area), bool(rng.random() < 0.5)
                image = read_crop(self.root / path, box, self.image_size, flip)
            else:
                image = read_crop(self.root / path, central_box(self.image_size), self.image_size)
        except PhotographError as error:
            raise DataError(
                f"{self.list_file} line {line}: {self.root / path}: {error}; "
                f"python train_val_split.py --data {self.root} writes lists without it"
            ) from None
        pixels = np.asarray(image).transpose(2, 0, 1)  # [H, W, 3] -> [3, H, W]
        return np.ascontiguousarray(pixels), np.int64(label)

"""The base of all data sets: it chooses the part of a photograph to show, mirrors it, turns it and returns its pixels."""

from collections.abc import Iterator
from typing import Any, Callable, Optional

import numpy as np
import paddle
from PIL import Image

from data.data_source import DataSource
from data.lists import Sample
from data.photographs import central_box, random_box, rotate, whole_box


class PhotographDataset(paddle.io.Dataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size] RGB, int64 label); the base of the data sets.

    With ``train``: ``train_crop`` "random" shows a random resized crop of at least the share ``crop_min_area`` of the
    photograph's area, "resize" the whole photograph, resized to the square; ``flip`` mirrors it with probability 0.5;
    ``rotation`` turns it by an angle drawn uniformly from -rotation to rotation degrees and leaves the corners black. Without
    ``train``: ``eval_crop`` "center" shows the central crop, "resize" the whole photograph, and nothing is random.

    The random numbers for photograph i depend only on ``seed``, the epoch and i: no two epochs augment alike, and the number of
    workers changes nothing. The caller calls ``set_epoch`` before each epoch, as data.loader.PhotographLoader does; without it
    every epoch is augmented like the first.

    A subclass sets ``classes``, ``samples``, ``data`` and ``source``, and defines ``__getitem__`` and the methods below that
    raise NotImplementedError. All of them raise DataError.
    """

    classes: list[str]  # names, in label order
    samples: list[Sample]
    data: str  # as --data names it
    source: str  # the origin of the samples, for messages

    def __init__(
        self,
        image_size: int,
        train: bool,
        seed: int = 0,
        *,
        train_crop: str = "random",
        eval_crop: str = "center",
        crop_min_area: float = 0.08,
        flip: bool = True,
        rotation: float = 0.0,
        augment: str = "none",
        color_jitter: float = 0.0,
        erasing: float = 0.0,
    ):
        super().__init__()
        self.image_size, self.train, self.seed = image_size, train, seed
        self.crop = train_crop if train else eval_crop
        self.crop_min_area, self.flip, self.rotation = crop_min_area, flip, rotation
        self.augment, self.color_jitter, self.erasing = augment, color_jitter, erasing
        self.epoch = 0

    @classmethod
    def find(cls, data: str, may_download: bool = False) -> str:
        """``data`` in the form that ``open_side`` takes. ``may_download``: download a published data set if it is missing."""
        raise NotImplementedError

    @classmethod
    def open_side(cls, source: DataSource, side: str, image_size: int, seed: int = 0, **view: Any) -> "PhotographDataset":
        """The ``side``, one of data.lists.SIDES, of ``source``; ``view``: the other arguments of this class.

        Only the side "train" is augmented.
        """
        raise NotImplementedError

    @classmethod
    def count_classes(cls, source: DataSource) -> Optional[int]:
        """The number of classes of ``source``; None if not known yet."""
        raise NotImplementedError

    def digest(self) -> str:
        """A SHA-256 in hexadecimal digits, equal for two runs on the same samples."""
        raise NotImplementedError

    def photographs_digest(self) -> Optional[str]:
        """A SHA-256 of what the samples show; None where it is not known, or where ``digest`` covers it.

        Raises DataError where a photograph is not the one that the split saw.
        """
        return None

    def photograph(self, index: int) -> Image.Image:
        """The whole photograph ``index`` as an upright RGB image."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """From the next access on, augment as in epoch ``epoch`` (from 0)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.int64]]:
        return (self[index] for index in range(len(self)))  # no index ends it

    def sample(self, index: int) -> Sample:
        """The sample that ``dataset[index]`` shows; ``index`` may exceed the length: see above."""
        return self.samples[index % len(self.samples)]

    def show(self, cut: Callable[..., Image.Image], index: int) -> np.ndarray:
        """The pixels of photograph ``index`` for the network, uint8 [3, image_size, image_size].

        ``cut(choose_box, image_size, flip)`` returns a part of the photograph as an RGB image: see photographs.read_crop.
        """
        if not self.train:
            box = central_box(self.image_size) if self.crop == "center" else whole_box
            return _pixels(cut(box, self.image_size, False))
        rng = np.random.default_rng((self.seed, self.epoch, index))
        box = random_box(rng, self.crop_min_area) if self.crop == "random" else whole_box
        mirrored = bool(rng.random() < 0.5) and self.flip  # always drawn, so that ``flip`` does not change the crops
        image = cut(box, self.image_size, mirrored)
        if self.rotation:
            # drawn last, so that ``rotation`` does not change the crops
            image = rotate(image, rng.uniform(-self.rotation, self.rotation))
        return _pixels(image)


def _pixels(image):
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # [H, W, 3] -> [3, H, W]

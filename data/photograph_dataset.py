"""The base of all data sets: it chooses the part of a photograph to show, augments it and returns its pixels."""

import copy
from collections.abc import Iterator
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle
from PIL import Image

from data.augmentation import draw_trivial, erase, jitter, move, moves, recolour
from data.boxes import central_box, letterbox, random_box, whole_box
from data.data_source import DataSource
from data.lists import Sample
from data.photographs import rotate

TRIVIAL_SALT, JITTER_SALT, ERASING_SALT = 0x7472, 0x6A69, 0x6572  # not 0, which SeedSequence takes for nothing


class PhotographDataset(paddle.io.Dataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size] RGB, int64 label); the base of the data sets.

    With ``train``: ``train_crop`` "random" shows a random resized crop of at least the share ``crop_min_area`` of the
    photograph's area, "resize" the whole photograph, resized to the square, "letterbox" the whole in its own proportions, with
    grey bars beside it; ``flip`` mirrors it with probability 0.5; ``rotation`` turns it by an angle drawn uniformly from
    -rotation to rotation degrees and leaves the corners black. Then come ``augment``, ``color_jitter`` and ``erasing``: see
    data.augmentation. Without ``train``: ``eval_crop`` "center" shows the central crop, "resize" and "letterbox" the whole
    photograph, and nothing is random.

    The random numbers for photograph i depend only on ``seed``, the epoch and i: no two epochs augment alike, and the number of
    workers changes nothing. What comes after ``rotation`` draws numbers of its own, which change nothing else. The caller calls
    ``set_epoch`` before each epoch, as data.loader.PhotographLoader does; without it every epoch is augmented like the first.
    Photograph i + k * len(dataset) is photograph i again, with other random numbers: a sampler may show it so k times more.

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
        self.eval_crop = eval_crop
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

    def use_cache(self, folder: str, image_size: int, show_progress: bool = True) -> None:
        """Read decoded photographs from ``folder`` from now on, for evaluation at ``image_size``. Only where they are files."""
        raise NotImplementedError

    def photograph(self, index: int) -> Image.Image:
        """The whole photograph ``index`` as an upright RGB image."""
        raise NotImplementedError

    def set_epoch(self, epoch: int, image_size: Optional[int] = None) -> None:
        """From the next access on, augment as in epoch ``epoch`` (from 0); ``image_size``: of its images, None: as before."""
        self.epoch = epoch
        self.image_size = image_size or self.image_size

    def in_evaluation(self, image_size: int) -> "PhotographDataset":
        """The same photographs as evaluation shows them."""
        shown = copy.copy(self)
        shown.train, shown.crop, shown.image_size = False, self.eval_crop, image_size
        return shown

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.int64]]:
        return (self[index] for index in range(len(self)))  # no index ends it

    def sample(self, index: int) -> Sample:
        """The sample that ``dataset[index]`` shows; ``index`` may exceed the length: see above."""
        return self.samples[index % len(self.samples)]

    def show(self, cut: Callable[..., Union[Image.Image, np.ndarray]], index: int) -> np.ndarray:
        """The pixels of photograph ``index`` for the network, uint8 [3, image_size, image_size].

        ``cut(choose_box, image_size, flip)`` returns a part of the photograph as an RGB image, see photographs.read_crop, or as
        such pixels.
        """
        whole = letterbox if self.crop == "letterbox" else whole_box
        if not self.train:
            return _pixels(cut(central_box(self.image_size) if self.crop == "center" else whole, self.image_size, False))
        rng = np.random.default_rng((self.seed, self.epoch, index))
        box = random_box(rng, self.crop_min_area) if self.crop == "random" else whole
        mirrored = bool(rng.random() < 0.5) and self.flip  # always drawn, so that ``flip`` does not change the crops
        image = cut(box, self.image_size, mirrored)
        if self.rotation:
            # drawn last, so that ``rotation`` does not change the crops
            image = rotate(_image(image), rng.uniform(-self.rotation, self.rotation))
        return self._augmented(image, index)

    def _augmented(self, image, index):
        """The pixels of ``image`` after all that has random numbers of its own, so that it changes nobody else's."""

        def draws(salt):
            return np.random.default_rng((self.seed, self.epoch, index, salt))

        if self.augment == "trivialaugment":
            change = draw_trivial(draws(TRIVIAL_SALT))
            moved = move(_image(image), change) if moves(change) else image
            pixels = recolour(_pixels(moved), change)
        else:
            pixels = _pixels(image)
        if self.color_jitter:
            pixels = jitter(pixels, draws(JITTER_SALT), self.color_jitter)
        if self.erasing:
            pixels = erase(pixels, draws(ERASING_SALT), self.erasing)
        return pixels


def _pixels(image):
    """[3, H, W] of an image, or of its pixels."""
    return np.ascontiguousarray(image if isinstance(image, np.ndarray) else np.asarray(image).transpose(2, 0, 1))


def _image(image):
    """The RGB image of [3, H, W], or of itself; Pillow puts the colours together faster than NumPy."""
    return Image.merge("RGB", list(map(Image.fromarray, image))) if isinstance(image, np.ndarray) else image

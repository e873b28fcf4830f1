"""What every data set of photographs does alike: choose the part that is shown, mirror it, turn it, hand it over as pixels."""

from typing import Callable, Optional

import numpy as np
import paddle
from PIL import Image

from data.lists import Sample
from data.photographs import central_box, random_box, rotate, whole_box


class PhotographDataset(paddle.io.Dataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size] RGB, int64 label); the base of the data sets.

    With ``train``: ``train_crop`` "random" shows a random resized crop of at least the share ``crop_min_area`` of the
    photograph, "resize" the whole of it, squeezed into the square; ``flip`` mirrors it at even odds; ``rotation`` turns it by
    an angle drawn evenly from -rotation to rotation degrees, the corners black. Without ``train``: ``eval_crop`` "center"
    shows the central crop, "resize" the whole photograph, and nothing is random.

    What is drawn for photograph i depends on ``seed``, the epoch and i alone: no two epochs augment alike, and the number of
    workers changes nothing. Whoever iterates calls ``set_epoch`` before each epoch, as data.loader.PhotographLoader does;
    without it every epoch is augmented as the first.

    A subclass sets ``classes``, ``samples``, ``data`` and ``source``, and has ``__getitem__`` and the methods below that are
    its own to answer: how its data are found and opened, what it holds. All of them raise DataError.
    """

    classes: list[str]
    """The names of the classes, in label order."""
    samples: list[Sample]
    data: str
    """What --data names."""
    source: str
    """Where the samples are from, for messages."""

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
    ):
        super().__init__()
        self.image_size, self.train, self.seed = image_size, train, seed
        self.crop = train_crop if train else eval_crop
        self.crop_min_area, self.flip, self.rotation = crop_min_area, flip, rotation
        self.epoch = 0

    @classmethod
    def find(cls, data: str, may_download: bool = False) -> str:
        """``data`` as open_side takes it. With ``may_download`` a published data set is fetched where it is not there."""
        raise NotImplementedError

    @classmethod
    def open_side(
        cls, data: str, image_size: int, train: bool, seed: int = 0, follow_links: bool = False, **view
    ) -> "PhotographDataset":
        """The side of ``data`` to train on, or to validate on; ``view``: the other arguments of this class."""
        raise NotImplementedError

    @classmethod
    def count_classes(cls, data: str, follow_links: bool = False) -> Optional[int]:
        """How many classes ``data`` have; None where that is not known yet."""
        raise NotImplementedError

    def digest(self) -> str:
        """Equal for two runs that saw the same samples."""
        raise NotImplementedError

    def photograph(self, index: int) -> Image.Image:
        """The whole of photograph ``index`` as an upright RGB image."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Augment as epoch ``epoch`` (from 0) from the next access on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def show(self, cut: Callable[..., Image.Image], index: int) -> np.ndarray:
        """uint8 [3, image_size, image_size] of photograph ``index``.

        ``cut(choose_box, image_size, flip)`` returns a part of it as an RGB ``PIL.Image``: see photographs.read_crop.
        """
        if not self.train:
            box = central_box(self.image_size) if self.crop == "center" else whole_box
            return _pixels(cut(box, self.image_size, False))
        rng = np.random.default_rng((self.seed, self.epoch, index))
        box = random_box(rng, self.crop_min_area) if self.crop == "random" else whole_box
        mirrored = bool(rng.random() < 0.5) and self.flip  # drawn in any case: without mirroring the crops stay the same
        image = cut(box, self.image_size, mirrored)
        if self.rotation:
            # the last to be drawn, so that turning changes no crop
            image = rotate(image, rng.uniform(-self.rotation, self.rotation))
        return _pixels(image)


def _pixels(image):
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # [H, W, 3] -> [3, H, W]

"""Photographs of a batch mixed with each other before the network sees them: mixup and cutmix."""

import math
from typing import NamedTuple, Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

SALT = 0x6D69  # what is drawn here is drawn for this alone


class Mix(NamedTuple):
    """How the photographs of a batch are mixed: each with that of ``partners``, int64 [N], of which it keeps ``share``.

    ``box``: top, bottom, left and right of what cutmix takes from the partner, in pixels; None with mixup.
    """

    partners: np.ndarray
    share: float
    box: Optional[tuple[int, int, int, int]]


class Mixing:
    """Mixes the batches of a training; with ``mixup`` and ``cutmix`` both 0 they stay as they are.

    ``mixup`` and ``cutmix``: alpha of the Beta(alpha, alpha) that shares are drawn from, 0 for never; with both, a batch draws
    one of the two. Everything follows from ``seed``, the epoch and the batch. ``num_classes``: C.
    """

    def __init__(self, num_classes: int, seed: int, mixup: float = 0.0, cutmix: float = 0.0):
        self.num_classes, self.seed, self.mixup, self.cutmix = num_classes, seed, mixup, cutmix

    def __bool__(self) -> bool:
        return bool(self.mixup or self.cutmix)

    def draw(self, shape: tuple[int, int, int], epoch: int, step: int, number: int = 0) -> Mix:
        """How to mix ``shape`` = (N, H, W) photographs of the batch ``number`` of a step of an epoch, all from 0.

        mixup: H. Zhang et al., ICLR 2018, eq. 1, with one share for the batch as in the authors' code. cutmix: S. Yun et al.,
        ICCV 2019, eq. 1 and 2; the share is that of the pixels that remain once the box is cut off at the image's sides.
        """
        count, height, width = shape
        rng = np.random.default_rng((self.seed, epoch, step, number, SALT))
        cuts = rng.random() < 0.5 if self.mixup and self.cutmix else bool(self.cutmix)
        alpha = self.cutmix if cuts else self.mixup
        partners, share = rng.permutation(count), float(rng.beta(alpha, alpha))
        if not cuts:
            return Mix(partners, share, None)
        middle = rng.random(2) * (height, width)
        half = math.sqrt(1 - share) / 2 * np.array((height, width))
        top, left = np.round(np.maximum(middle - half, 0)).astype(int).tolist()
        bottom, right = np.round(np.minimum(middle + half, (height, width))).astype(int).tolist()
        return Mix(partners, 1 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right))

    @paddle.no_grad()
    def __call__(
        self, images: Tensor, labels: list[Tensor], epoch: int, step: int, number: int = 0
    ) -> tuple[Tensor, list[Tensor]]:
        """Images uint8 [N, 3, H, W] and [labels] or [labels, weights] of a batch, see ``draw`` -> the same, mixed.

        Mixed images are float32 of 0 to 255; labels, int64 [N] or soft, become soft, float32 [N, C]; weights, [N], are mixed
        like them. A photograph alone stays as it is.
        """
        count, _, height, width = images.shape
        if not self or count == 1:
            return images, labels
        mix = self.draw((count, height, width), epoch, step, number)
        partners = paddle.to_tensor(mix.partners)
        images = images.astype("float32")  # not every build of Paddle gathers uint8 on a GPU
        others = paddle.gather(images, partners)
        mixed = _blended(images, others, mix.share) if mix.box is None else _cut(images, others, *mix.box)
        classes, *weights = labels
        classes = classes if classes.ndim == 2 else F.one_hot(classes, self.num_classes)
        return mixed, [_blended(one, paddle.gather(one, partners), mix.share) for one in (classes, *weights)]


def _blended(one, other, share):
    return one * share + other * (1 - share)


def _cut(images, others, top, bottom, left, right):
    """``images`` with the box of ``others``, [N, 3, H, W]."""
    if top == bottom or left == right:
        return images
    rows = [images[:, :, top:bottom, :left], others[:, :, top:bottom, left:right], images[:, :, top:bottom, right:]]
    middle = paddle.concat([part for part in rows if part.shape[3]], axis=3)
    parts = [images[:, :, :top], middle, images[:, :, bottom:]]
    return paddle.concat([part for part in parts if part.shape[2]], axis=2)

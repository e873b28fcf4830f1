"""The part of a photograph that the network sees, as a box: in evaluation, and the random ones of training."""

import math
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:  # reading photographs does not need numpy, which takes time and memory to import
    import numpy as np

RESIZE_OVER_CROP = 256 / 224
"""Evaluation scales the shorter side to this multiple of the crop's side, as usual for ImageNet."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the upright photograph; it may reach beyond the photograph."""
ChooseBox = Callable[[int, int], Box]
"""(width, height) of an upright photograph in pixels -> the part to show."""


def whole_box(width: int, height: int) -> Box:
    """The box of the whole photograph: resizing it to a square changes the aspect."""
    return 0, 0, width, height


def letterbox(width: int, height: int) -> Box:
    """The square around the whole photograph, which lies in its middle: resizing it keeps the aspect."""
    side = max(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def central_box(image_size: int) -> ChooseBox:
    """The box of evaluation: resize the shorter side to ``image_size`` * 256 / 224, then cut the central square.

    Both in one step: the square of side shorter * 224 / 256 in the middle of the photograph.
    """

    def choose_box(width, height):
        side = min(width, height) / RESIZE_OVER_CROP
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    return choose_box


def random_box(rng: "np.random.Generator", min_area: float) -> ChooseBox:
    """The box of training: a random part with at least the share ``min_area`` of the area and an aspect from 3:4 to 4:3.

    The random resized crop of C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.
    """

    def choose_box(width, height):
        for _ in range(10):
            area = width * height * rng.uniform(min_area, 1.0)
            aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            crop_width, crop_height = math.sqrt(area * aspect), math.sqrt(area / aspect)
            if crop_width <= width and crop_height <= height:
                left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
                return left, top, left + crop_width, top + crop_height
        # A very long photograph: the largest part with an allowed aspect, in the middle
        crop_width, crop_height = min(width, height * 4 / 3), min(height, width * 4 / 3)
        left, top = (width - crop_width) / 2, (height - crop_height) / 2
        return left, top, left + crop_width, top + crop_height

    return choose_box

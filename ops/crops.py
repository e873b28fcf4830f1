"""A part of a photograph that lies decoded in memory, resized by an operator of its own: ops/csrc/crops.cc."""

import ctypes
import functools
from collections.abc import Sequence
from typing import Callable, Optional

import numpy as np

from machine.private_folder import loadable
from messages.reason import reason_of
from messages.terminal import print_line
from ops.build import BuildError, SmallLibrary, built


class CropLibrary(SmallLibrary):
    """The operator, which needs neither Paddle nor OpenMP: whoever calls it shares out the photographs."""

    name = "crops.so"
    built_for = "crops"
    source = "crops.cc"


def usable() -> bool:
    """Whether ``resized_crop`` can be called; the first call builds and loads the operator, and says in one line why it cannot.

    To be called before processes are forked that need it: they inherit it.
    """
    return _function() is not None


def resized_crop(planes: np.ndarray, box: Sequence[float], image_size: int, mirrored: bool = False) -> np.ndarray:
    """uint8 [3, W, H], a photograph by columns -> uint8 [3, image_size, image_size], by rows.

    ``box``: left, top, right and bottom of the part, in pixels within the photograph. Bilinear as Pillow's resize, within two
    levels of each colour. Raises ValueError for a part beyond the photograph, or an array of another form.
    """
    function = _function()
    if function is None:
        raise RuntimeError("there is no operator for crops: ask usable() before")
    width, height = planes.shape[1:]
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"box = {tuple(box)}: not within {width} x {height} pixels")
    if planes.dtype != np.uint8 or planes.shape[0] != 3 or not planes.flags.c_contiguous:
        raise ValueError(f"expected uint8 [3, W, H] in one piece, this is {planes.dtype} {list(planes.shape)}")
    pixels = np.empty((3, image_size, image_size), np.uint8)
    sides = (ctypes.c_double * 4)(left, top, right, bottom)
    if function(planes.ctypes.data, width, height, sides, image_size, mirrored, pixels.ctypes.data):
        raise MemoryError("no memory for a crop")
    return pixels


@functools.cache
def _function() -> Optional[Callable[..., int]]:
    try:
        function = ctypes.CDLL(loadable(built(CropLibrary()))).resized_crop
    except (BuildError, OSError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        print_line(f"Pillow cuts the photographs of the cache, which takes several times as long: {reason}")
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    function.argtypes = [pointer, number, number, ctypes.POINTER(ctypes.c_double), number, number, pointer]
    return function

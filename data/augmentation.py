"""What a training changes in a photograph after its crop: TrivialAugment, colour jitter, random erasing.

Everything is drawn from a generator that the caller gives. What a shift, a shear or a turn brings in from beyond the photograph
is GREY, as the bars of a letterbox are: the networks normalise it to nearly 0, and black would be an edge to learn.
"""

import math
from typing import Callable, NamedTuple, Optional

import numpy as np
from PIL import Image

from data.photographs import GREY

LEVELS = 31
MAX_SHIFT = 32  # pixels, whatever the image's size, as published; at most half of a small image
ERASED_AREA, ERASED_ASPECT = (0.02, 0.33), (0.3, 3.3)

_RED, _GREEN, _BLUE = 19595, 38470, 7471  # of 65536: the shares of the colours in Pillow's greyscale, those of ITU-R 601


class Change(NamedTuple):
    """One of TrivialAugment's operations, a key of TRIVIAL, and how far it goes, in the operation's own unit."""

    name: str
    strength: float


def draw_trivial(rng: np.random.Generator) -> Change:
    """The operation for one photograph: each of TRIVIAL alike, each of its 31 levels alike, either sign where it has one.

    S. G. Müller and F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021, with the
    "wide" strengths of its table 1.
    """
    names = tuple(TRIVIAL)
    name, level, sign = names[rng.integers(len(names))], int(rng.integers(LEVELS)), 1 - 2 * int(rng.integers(2))
    strengths, signed = TRIVIAL[name][:2]
    return Change(name, float(strengths[level]) * (sign if signed else 1))


def moves(change: Change) -> bool:
    """Whether ``change`` moves pixels."""
    return bool(TRIVIAL[change.name].move and change.strength)


def move(image: Image.Image, change: Change) -> Image.Image:
    """``image`` after ``change``, if that moves pixels, else ``image`` itself; each takes the colour of the nearest one."""
    moved = TRIVIAL[change.name].move
    return moved(image, change.strength) if moved and change.strength else image


def recolour(pixels: np.ndarray, change: Change) -> np.ndarray:
    """uint8 [3, H, W] after ``change``, if that changes colours, else ``pixels`` itself; the results are Pillow's."""
    recoloured = TRIVIAL[change.name].recolour
    return recoloured(pixels, change.strength) if recoloured else pixels


def jitter(pixels: np.ndarray, rng: np.random.Generator, most: float) -> np.ndarray:
    """uint8 [3, H, W] with brightness, contrast and saturation times factors drawn from 1 - ``most`` to 1 + ``most``.

    Contrast is about the mean of the greyscale image, saturation about each pixel's grey. Nothing is cut off or rounded between
    the three, so that their order, which others draw, makes no difference.
    """
    brightness, contrast, saturation = rng.uniform(1 - most, 1 + most, 3).astype(np.float32)
    grey = _grey(pixels).astype(np.float32)
    scale = brightness * contrast
    offset = brightness * (1 - contrast) * grey.mean() + np.float32(0.5)  # and a half to round
    grey *= scale * (1 - saturation)
    grey += offset

    def change(plane):
        values = np.multiply(plane, scale * saturation, dtype=np.float32)
        values += grey
        return values

    return _changed(pixels, change)


def erase(pixels: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """uint8 [3, H, W] with, by ``probability``, one rectangle of noise: 2% to 33% of the area, aspect 0.3 to 3.3.

    Z. Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1; of the fillings there noise and the mean
    colour are the best, and noise is the authors' choice. ``pixels`` themselves may change.
    """
    if rng.random() >= probability:
        return pixels
    height, width = pixels.shape[1:]
    for _ in range(10):  # a rectangle that does not fit is drawn again
        area = height * width * rng.uniform(*ERASED_AREA)
        aspect = math.exp(rng.uniform(math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1])))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < rows < height and 0 < columns < width:
            top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
            pixels = pixels if pixels.flags.writeable else pixels.copy()
            noise = rng.integers(0, 256, (3, rows, columns), dtype=np.uint8)
            pixels[:, top : top + rows, left : left + columns] = noise
            break
    return pixels


def _shear_x(image, slope):
    return image.transform(image.size, Image.Transform.AFFINE, (1, slope, 0, 0, 1, 0), fillcolor=GREY)


def _shear_y(image, slope):
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, 0, slope, 1, 0), fillcolor=GREY)


def _shift_x(image, pixels):
    return _shift(image, pixels, 0)


def _shift_y(image, pixels):
    return _shift(image, 0, pixels)


def _shift(image, right, down):
    right, down = (int(max(-side / 2, min(side / 2, by))) for side, by in zip(image.size, (right, down)))
    shifted = Image.new("RGB", image.size, GREY)
    shifted.paste(image, (right, down))
    return shifted


def _rotate(image, degrees):
    return image.rotate(degrees, Image.Resampling.NEAREST, fillcolor=GREY)


def _brighten(pixels, by):
    return _looked_up(pixels, _blend_table(0, 1 + by))


def _contrast(pixels, by):
    return _looked_up(pixels, _blend_table(int(_grey(pixels).mean() + 0.5), 1 + by))


def _saturate(pixels, by):
    grey = _grey(pixels).astype(np.float32)
    return _changed(pixels, lambda plane: _blended(plane, grey, 1 + by))


def _sharpen(pixels, by):
    """Away from, or towards, the image smoothed by [1 1 1; 1 5 1; 1 1 1] / 13; a border of one pixel stays."""
    sharpened = pixels.copy()
    sharpened[:, 1:-1, 1:-1] = _changed(pixels, lambda plane: _blended(plane[1:-1, 1:-1], _smoothed(plane), 1 + by), border=1)
    return sharpened


def _smoothed(plane):
    """uint8 [H, W] -> the weighted mean of each pixel and its eight neighbours, rounded, float32 [H - 2, W - 2]."""
    wide = plane.astype(np.uint16)
    rows = wide[:, :-2] + wide[:, 1:-1]
    rows += wide[:, 2:]
    total = rows[:-2] + rows[1:-1]
    total += rows[2:]
    total += 4 * wide[1:-1, 1:-1]
    total *= 2
    total += 13
    total //= 26
    return total.astype(np.float32)


def _posterize(pixels, bits):
    return _looked_up(pixels, np.arange(256) & ~(2 ** (8 - int(bits)) - 1))


def _solarize(pixels, threshold):
    values = np.arange(256)
    return _looked_up(pixels, np.where(values < threshold, values, 255 - values))


def _stretch(pixels, _):
    """Each colour stretched to 0..255."""
    return np.stack([_looked_up(plane, _stretch_table(int(plane.min()), int(plane.max()))) for plane in pixels])


def _equalize(pixels, _):
    """Each colour with its values spread evenly."""
    return np.stack([_looked_up(plane, _equal_table(Image.fromarray(plane).histogram())) for plane in pixels])


def _stretch_table(low, high):
    if low == high:
        return np.arange(256)
    scale = 255.0 / (high - low)
    return np.clip((np.arange(256) * scale - low * scale).astype(int), 0, 255)


def _equal_table(histogram):
    present = [count for count in histogram if count]
    step = (sum(present) - present[-1]) // 255
    if not step:
        return np.arange(256)
    below = np.cumsum([0, *histogram[:-1]])
    return np.minimum((step // 2 + below) // step, 255)


def _blend_table(degenerate, factor):
    return np.clip(_blended(np.arange(256), degenerate, factor), 0, 255)


def _looked_up(pixels, table):
    """``table`` [256] of each pixel; bytes.translate does that faster than NumPy."""
    translated = bytearray(pixels).translate(table.astype(np.uint8).tobytes())
    return np.frombuffer(translated, np.uint8).reshape(pixels.shape)


def _grey(pixels):
    """uint8 [3, H, W] -> Pillow's greyscale, uint32 [H, W]."""
    grey = np.multiply(pixels[0], _RED, dtype=np.uint32)
    grey += 0x8000
    part = np.multiply(pixels[1], _GREEN, dtype=np.uint32)
    grey += part
    grey += np.multiply(pixels[2], _BLUE, out=part, dtype=np.uint32)
    grey >>= 16
    return grey


def _blended(plane, degenerate, factor):
    """degenerate + factor * (plane - degenerate), float32 [H, W], computed as Pillow does."""
    values = np.subtract(plane, degenerate, dtype=np.float32)
    values *= np.float32(factor)
    values += degenerate
    return values


def _changed(pixels, change, border=0):
    """uint8 [3, H, W] of ``change(plane)``, float32, of each plane [H, W]; cut to 0..255, fractions dropped, as Pillow does.

    By plane and in place, as all here: a new array of all three costs more time than any arithmetic on it. ``border``: pixels
    at each side that ``change`` leaves out.
    """
    count, height, width = pixels.shape
    changed = np.empty((count, height - 2 * border, width - 2 * border), np.uint8)
    for plane, place in zip(pixels, changed):
        values = change(plane)
        place[...] = np.clip(values, 0, 255, out=values)
    return changed


class _Operation(NamedTuple):
    strengths: np.ndarray  # [LEVELS]
    signed: bool
    move: Optional[Callable] = None  # (image, strength) -> image
    recolour: Optional[Callable] = None  # (uint8 [3, H, W], strength) -> the same


_NONE = np.zeros(LEVELS)
_SHIFTS, _FACTORS = np.linspace(0, MAX_SHIFT, LEVELS), np.linspace(0, 0.99, LEVELS)

TRIVIAL = {
    "identity": _Operation(_NONE, False),
    "shear x": _Operation(_FACTORS, True, move=_shear_x),
    "shear y": _Operation(_FACTORS, True, move=_shear_y),
    "translate x": _Operation(_SHIFTS, True, move=_shift_x),
    "translate y": _Operation(_SHIFTS, True, move=_shift_y),
    "rotate": _Operation(np.linspace(0, 135, LEVELS), True, move=_rotate),
    "brightness": _Operation(_FACTORS, True, recolour=_brighten),
    "color": _Operation(_FACTORS, True, recolour=_saturate),
    "contrast": _Operation(_FACTORS, True, recolour=_contrast),
    "sharpness": _Operation(_FACTORS, True, recolour=_sharpen),
    "posterize": _Operation(8 - np.round(np.arange(LEVELS) / ((LEVELS - 1) / 6)), False, recolour=_posterize),  # 8 to 2 bits
    "solarize": _Operation(np.linspace(255, 0, LEVELS), False, recolour=_solarize),
    "auto-contrast": _Operation(_NONE, False, recolour=_stretch),
    "equalize": _Operation(_NONE, False, recolour=_equalize),
}
"""TrivialAugment's operations. A strength is a shear's slope, a shift's pixels or a turn's degrees; brightness, color, contrast
and sharpness are multiplied by 1 + strength."""

"""From an image file to pixels: the one place that decodes, crops and resizes photographs.

Splitting, training, evaluation and explanation all use it, so that they cannot disagree. Every image becomes upright 8-bit
sRGB: greyscale and palette images are expanded, CMYK is converted, an embedded colour profile is applied, transparency is laid
over white, the camera's orientation (EXIF) is applied, and an animation is reduced to its first frame.
"""

import contextlib
import ctypes
import io
import logging
import math
import os
import struct
import warnings
from typing import BinaryIO, NamedTuple, Union

from PIL import Image

from data.boxes import ChooseBox
from data.checksums import png_pixels_are_whole, size_of
from data.color_profiles import transform_to_srgb
from data.jpeg_segments import count_scans, decodes_in_one_pass
from data.photograph_errors import WRONG_HEADER, WRONG_PIXELS, PhotographError, reading_problem
from data.photograph_formats import FORMATS, HEIC, read_kind, why_unreadable
from data.tiff_pixels import check_tiff, eight_bits
from machine.regular_file import open_regular

MAX_BYTES = 2**29  # of a photograph's file
MAX_TEXT_BYTES = 16 * 2**20  # of a text or a colour profile in a PNG; Pillow's own limit is 1 MB
LARGEST_JPEG = 2  # times the pixels of the largest photograph in another format: a JPEG can be decoded at half its sides
MAX_SCANS = 50  # of a JPEG: a few bytes of a scan cost the decoder a pass over all pixels. Cameras write up to 10
MIN_SCAN_BYTES = 10
QUICK = 500_000_000  # pixels that the decoder passes over in a quarter of a second

# Pillow must print nothing: a file is either fine or raises PhotographError
warnings.filterwarnings("ignore", module=r"PIL\b")
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
with contextlib.suppress(OSError, AttributeError):  # libtiff writes to stderr by itself; some builds of Pillow hide it
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)

GREY = (114, 114, 114)
"""What lies beyond a photograph: nearly the mean of ImageNet's photographs, so nearly 0 once the network has normalised it."""


class PhotographBytes(NamedTuple):
    """The bytes of a photograph's file in memory, and the name that its sender gave it."""

    name: str
    content: bytes


Source = Union[str, os.PathLike, PhotographBytes]
"""A photograph's file: its path, or its bytes."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MIRRORS_X, _MIRRORS_Y, _SWAPS_SIDES = (2, 3, 6, 7), (3, 4, 7, 8), (5, 6, 7, 8)


def read_photograph(path: Source) -> Image.Image:
    """The whole photograph as an upright RGB image; raises PhotographError with the reason.

    A JPEG of more pixels than max_pixels() is decoded at half its width and height.
    """
    return _decode(path, _whole)


def read_crop(path: Source, choose_box: ChooseBox, image_size: int, flip: bool = False) -> Image.Image:
    """A part of a photograph, resized to ``image_size`` x ``image_size`` pixels, as an RGB image.

    ``choose_box(width, height)`` takes the size of the upright photograph in pixels and returns the part as (left, top, right,
    bottom), floats. Where it reaches beyond the photograph, the result is GREY. ``flip`` mirrors the result. A JPEG is decoded
    at 1/2, 1/4 or 1/8 of its size if that still has at least one pixel for each pixel of the result. Raises PhotographError
    with the reason.
    """
    return _decode(path, lambda image, orientation: _crop(image, orientation, choose_box, image_size, flip))


def photograph_size(path: Source) -> tuple[int, int]:
    """Width and height of the upright photograph in pixels; of a JPEG without decoding it. Raises PhotographError."""
    return _decode(path, lambda image, orientation: image.size[::-1] if orientation in _SWAPS_SIDES else image.size)


def reduced_size(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """``size``, width and height, in proportion such that the shorter is ``shorter``; as it is where it is no larger."""
    scale = min(1.0, shorter / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_reduced(path: Source, shorter: int) -> Image.Image:
    """The whole photograph as an upright RGB image of ``reduced_size``, decoded as by read_crop. Raises PhotographError."""
    return _decode(path, lambda image, orientation: _reduced(image, orientation, shorter))


def crop(image: Image.Image, choose_box: ChooseBox, image_size: int, flip: bool = False) -> Image.Image:
    """Like read_crop, for an upright image in memory."""
    return _crop(image, 1, choose_box, image_size, flip)


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """The image turned counter-clockwise about its middle, in the same size, with black corners.

    Each pixel takes the colour of the nearest one, as in Paddle's RandomRotation.
    """
    return image.rotate(degrees, Image.Resampling.NEAREST, fillcolor=(0, 0, 0))


def max_pixels() -> int:
    """The largest photograph that is decoded whole: 179 million pixels, Pillow's limit against decompression bombs."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)


def _whole(image, orientation):
    halved = _smallest_reduction(image)
    if halved > 1:
        image.draft(None, (image.width // halved, image.height // halved))
    pixels, transform = _colors(image)
    return _upright(_to_srgb(pixels, transform) if transform or pixels is not image else pixels.copy(), orientation)


def _crop(image, orientation, choose_box, image_size, flip):
    """The part of the stored image that ``choose_box`` selects on the upright one: see read_crop."""
    width, height = image.size
    upright_size = (height, width) if orientation in _SWAPS_SIDES else (width, height)
    upright_box = choose_box(*upright_size)
    left, top, right, bottom = _as_stored(upright_box, upright_size, orientation)
    x_scale, y_scale = _draft(image, max(image_size / (right - left), image_size / (bottom - top)))
    box = (max(left, 0) * x_scale, max(top, 0) * y_scale, min(right, width) * x_scale, min(bottom, height) * y_scale)
    pixels, transform = _colors(image)
    filled, corner = _filled(upright_box, upright_size, image_size)
    pixels = pixels.resize(filled[::-1] if orientation in _SWAPS_SIDES else filled, Image.Resampling.BILINEAR, box=box)
    image = _upright(_to_srgb(pixels, transform), orientation)  # the colours last: here are the fewest pixels
    if filled != (image_size, image_size):
        beyond = Image.new("RGB", (image_size, image_size), GREY)
        beyond.paste(image, corner)
        image = beyond
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def _reduced(image, orientation, shorter):
    stored = image.size
    size = reduced_size(stored, shorter)
    if size == stored:
        return _whole(image, orientation)
    x_scale, y_scale = _draft(image, max(size[0] / stored[0], size[1] / stored[1]))
    box = (0, 0, stored[0] * x_scale, stored[1] * y_scale)
    pixels, transform = _colors(image)
    return _upright(_to_srgb(pixels.resize(size, Image.Resampling.BILINEAR, box=box), transform), orientation)


def _draft(image, enough):
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size where that has at least ``enough`` of its width and height; returns
    the shares that it will have, with fractions: the last column and row may cover less than the others."""
    width, height = image.size
    enough = min(1 / _smallest_reduction(image), enough)
    # of JPEG only: another format would take a thumbnail that is stored beside the photograph
    draft = image.draft(None, (math.ceil(width * enough), math.ceil(height * enough))) if _is_jpeg(image) else None
    drafted_width, drafted_height = draft[1][2:] if draft else (width, height)
    return drafted_width / width, drafted_height / height


def _filled(box, size, image_size):
    """Width and height in pixels that a photograph of ``size`` fills of the result, and where they begin in it."""
    sides, places = [], []
    for low, high, length in zip(box[:2], box[2:], size):
        shown = min(high, length) - max(low, 0)
        sides.append(max(1, round(image_size * shown / (high - low))))
        free = image_size - sides[-1]
        places.append(round(free * max(-low, 0) / (high - low - shown)) if free else 0)
    return tuple(sides), tuple(places)


def _decode(path, finish):
    opened, kind = False, None
    try:
        with _file_of(path) as file:
            kind = read_kind(file)
            if reason := why_unreadable(kind, path.name if isinstance(path, PhotographBytes) else path):
                raise PhotographError(reason)
            with _open(file, kind) as image:
                opened = True
                if _is_jpeg(image):
                    _check_scans(file, image.width * image.height)
                    return finish(image, _orientation(image))
                if image.format == "TIFF":
                    check_tiff(file, image)
                if image.format == "PNG" and not png_pixels_are_whole(file):
                    raise PhotographError(WRONG_PIXELS)
                image.load()  # before its EXIF data: Pillow looks for those behind the pixels, and a second load hides damage
                if image.format in ("TIFF", "HEIF"):
                    return finish(image, 1)  # they are upright already
                return finish(image, _orientation(image))
    except PhotographError:
        raise
    except Image.UnidentifiedImageError:
        if kind in ("PNG", "GIF", "WebP"):  # Pillow reads all there is of these
            raise PhotographError(WRONG_HEADER) from None
        raise PhotographError(f"damaged, or a rare kind of {kind} that is not read: convert it to JPEG or PNG") from None
    except Image.DecompressionBombError:
        raise PhotographError(f"more than {max_pixels():,} pixels: make it smaller") from None
    except Exception as error:  # Pillow's decoders raise nearly every type of error on damaged files
        if kind == HEIC and isinstance(error, AttributeError):  # in a plugin that was written for another Pillow
            raise PhotographError("HEIC: this pillow-heif does not fit Pillow: pip install --upgrade pillow-heif") from error
        raise PhotographError(reading_problem(error, opened)) from error


def _file_of(source: Source) -> BinaryIO:
    return io.BytesIO(source.content) if isinstance(source, PhotographBytes) else open_regular(source, MAX_BYTES)


def claimed_pixels(photograph: PhotographBytes) -> int:
    """The pixels that a photograph has by its header, without decoding them; 0 where it cannot be read."""
    try:
        with _file_of(photograph) as file, _open(file, read_kind(file)) as image:
            return image.width * image.height
    except Exception:  # _decode gives the reason
        return 0


def _open(file, kind):
    """The image in an open file of this ``kind``, not decoded yet; raises PhotographError if it has too many pixels."""
    if kind == "PNG":
        from PIL import PngImagePlugin

        PngImagePlugin.MAX_TEXT_CHUNK = MAX_TEXT_BYTES  # such a PNG would be refused for something that is not its pixels
    if kind == "WebP":
        _check_canvas(file)
    try:
        return Image.open(file, formats=(FORMATS[kind],))
    except Image.DecompressionBombError:
        file.seek(0)
        image = Image.OPEN[FORMATS[kind]][0](file, "")  # what Image.open returns, before it looks at the size
        width, height = image.size
        if _is_jpeg(image) and width * height <= LARGEST_JPEG * max_pixels() and decodes_in_one_pass(_content(file)):
            return image
        raise PhotographError(f"{width:,} x {height:,} pixels, more than {max_pixels():,} in all: make it smaller") from None


def _check_canvas(file):
    """Raise PhotographError for an extended WebP whose canvas is too large.

    Its decoder allocates eight bytes for each pixel of it before Pillow looks at the size.
    """
    head = file.read(30)
    file.seek(0)
    if head[12:16] == b"VP8X" and len(head) == 30:
        width, height = (1 + int.from_bytes(head[place : place + 3], "little") for place in (24, 27))
        if width * height > max_pixels():
            raise PhotographError(f"{width:,} x {height:,} pixels, more than {max_pixels():,} in all: make it smaller")


def _is_jpeg(image):
    return image.format in ("JPEG", "MPO")


def _smallest_reduction(image):
    return 1 if image.width * image.height <= max_pixels() else 2


def _check_scans(file, pixels):
    """Raise PhotographError for a JPEG that would keep the decoder busy; leaves the position in ``file`` unchanged."""
    if size_of(file) // MIN_SCAN_BYTES * pixels < QUICK:
        return
    content = _content(file)
    if content.count(b"\xff\xda") <= MAX_SCANS:  # quick, and never too few
        return
    scans = count_scans(content)
    if scans > MAX_SCANS:
        raise PhotographError(f"a JPEG of {scans:,} scans, more than {MAX_SCANS}: save it anew")


def _content(file):
    """All bytes of an open file, whose position stays."""
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    return content


def _orientation(image):
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error):
        return 1  # the pixels are usable even if the EXIF data are damaged


def _colors(image):
    """(8-bit pixels without transparency, the transform of their colours to sRGB, or None: they are RGB, taken for sRGB)."""
    profile, grey = image.info.get("icc_profile"), image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    if image.mode.startswith("I"):
        image = eight_bits(image)
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    mode = "L" if grey else "CMYK" if image.mode == "CMYK" else "RGB"
    transform = transform_to_srgb(profile, mode)
    wanted = mode if transform else "RGB"
    if image.mode != wanted:
        return image.convert(wanted), transform
    image.load()  # convert would copy all its pixels
    return image, transform


def _to_srgb(pixels, transform):
    return transform.apply(pixels) if transform else pixels


def _upright(image, orientation):
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _as_stored(box, upright_size, orientation):
    """The box on the stored photograph that corresponds to ``box`` on the upright one."""
    left, top, right, bottom = box
    width, height = upright_size
    if orientation in _MIRRORS_X:
        left, right = width - right, width - left
    if orientation in _MIRRORS_Y:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if orientation in _SWAPS_SIDES else (left, top, right, bottom)

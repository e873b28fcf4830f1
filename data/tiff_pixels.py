"""TIFF files that Pillow decodes without an error into something else: a thumbnail, a wrong brightness, damaged pixels."""

from typing import BinaryIO

from PIL import Image, ImageChops

from data.checksums import zlib_parts_are_whole
from data.photograph_errors import WRONG_PIXELS, PhotographError
from data.photograph_formats import RAW, why_unreadable

_KIND_OF_PAGE, _BITS, _COMPRESSION, _WHITE_IS, _PAGES_INSIDE, _DNG_VERSION = 254, 258, 259, 262, 330, 50706  # tags of TIFF 6.0
_THUMBNAIL, _ZLIB = 1, (8, 32946)  # values of the first and the third
_PLACES_AND_LENGTHS = ((273, 279), (324, 325))  # of strips, of tiles


def check_tiff(file: BinaryIO, image: Image.Image) -> None:
    """Raise PhotographError for a TIFF, opened but not decoded, that is camera RAW, damaged, or of unknown brightness."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if _DNG_VERSION in tags or (tags.get(_KIND_OF_PAGE) == _THUMBNAIL and _PAGES_INSIDE in tags):
        raise PhotographError(why_unreadable(RAW, ""))
    if image.mode in ("F", "I"):
        numbers = "floating-point numbers" if image.mode == "F" else "signed or 32-bit integers"
        raise PhotographError(f"a TIFF of {numbers}, whose brightness range is unknown: convert it to 8 or 16 bits")
    if tags.get(_COMPRESSION) in _ZLIB:
        parts = next((pair for pair in _PLACES_AND_LENGTHS if pair[0] in tags and pair[1] in tags), None)
        unpacked = 64 * image.width * image.height  # bytes: up to 4 samples of 16 bytes
        if parts and not zlib_parts_are_whole(file, tags[parts[0]], tags[parts[1]], unpacked):
            raise PhotographError(WRONG_PIXELS)


def eight_bits(image: Image.Image) -> Image.Image:
    """The grey image of mode "L" from one of 12 or 16 bits, in a TIFF or not, of mode "I;16" or "I"."""
    tags = getattr(image, "tag_v2", {})
    scale = 1 / 16 if tags.get(_BITS) == (12,) else 1 / 256
    grey = image.convert("I").point(lambda value: value * scale).convert("L")
    return ImageChops.invert(grey) if tags.get(_WHITE_IS) == 0 else grey  # Pillow inverts only up to 8 bits

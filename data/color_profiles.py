"""Colours by the profile that is embedded in a photograph (ICC.1): what is not sRGB is converted to it."""

import hashlib
import io
from typing import Any, Optional

from PIL import Image, ImageChops

MAX_BYTES = 4 * 2**20  # of a profile: those of printing presses have up to 3 MB
_MAX_KEPT = 16  # transforms: most data sets have one to three profiles. A transform takes up to a few MB
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_RELATIVE, _BLACK_POINT = 1, 0x2000  # intent and flag of LittleCMS, as Adobe's programs have them by default
_SAME = 2  # grey levels: the profiles called sRGB differ among themselves by as much

_kept: dict[bytes, Any] = {}  # digest of a profile -> its transform, or None


def transform_to_srgb(profile: Any, mode: str) -> Optional[Any]:
    """The PIL.ImageCms transform from an image of ``mode`` "RGB", "L" or "CMYK" to an sRGB image of mode "RGB".

    None where nothing is to be converted: without ``profile`` (bytes), and where it is sRGB within 2 of 255 grey levels, is for
    other modes, or is damaged or larger than 4 MB. Each process keeps the 16 newest transforms.
    """
    if not isinstance(profile, bytes) or not 128 < len(profile) <= MAX_BYTES or _SPACES.get(profile[16:20]) != mode:
        return None
    digest = hashlib.blake2b(profile, digest_size=16).digest()
    if digest not in _kept:
        transform = _build(profile, mode)
        for oldest in list(_kept)[: max(0, len(_kept) - _MAX_KEPT + 1)]:
            _kept.pop(oldest, None)
        _kept[digest] = transform
        return transform
    return _kept.get(digest)


def _build(profile, mode):
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB", _RELATIVE, _BLACK_POINT)
        sample = _sample(mode)
        difference = ImageChops.difference(transform.apply(sample), sample.convert("RGB"))
    except (ImportError, OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None  # the pixels are usable even if the profile is damaged, or Pillow was built without LittleCMS
    return transform if max(high for _, high in difference.getextrema()) > _SAME else None


def _sample(mode):
    """An image of colours from all over the space of ``mode``."""
    if mode == "L":
        return Image.linear_gradient("L")
    levels = range(0, 256, 15)
    colours = [(red, green, blue) for red in levels for green in levels for blue in levels]
    image = Image.new("RGB", (len(colours), 1))
    image.putdata(colours)
    return image.convert(mode)

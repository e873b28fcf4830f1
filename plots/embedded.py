"""Pictures inside of an HTML page, as data URIs, so that the page needs no other file."""

import base64
import io

from PIL import Image


def data_uri(image: Image.Image, max_side: int) -> str:
    """A JPEG of the RGB image, made small enough for ``max_side`` pixels (in place), as a data URI."""
    image.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return encoded(buffer.getvalue(), "jpeg")


def encoded(content: bytes, kind: str) -> str:
    """The content of an image file of this kind ("png", "jpeg") as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"

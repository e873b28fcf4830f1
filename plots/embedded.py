"""What stands inside of an HTML page so that it needs no other file: pictures as data URIs, its own style and script."""

import base64
import hashlib
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


def digest_for_policy(content: str) -> str:
    """What a Content-Security-Policy calls a page's own script or style: with it the browser runs no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"

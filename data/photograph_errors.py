"""Why a file cannot be read as a photograph, in a user's words."""

import re

from machine.regular_file import NotRegularError
from messages.reason import reason_of

_TOO_SHORT = re.compile(r"truncated|not enough image data|not large enough|requires a buffer|unexpected end|premature", re.I)

WRONG_PIXELS = "damaged: its pixels are wrong or incomplete"
WRONG_HEADER = "damaged: its header is wrong or incomplete"


class PhotographError(ValueError):
    """A file that cannot be read as a photograph; the message is the reason alone, without the path."""


def reading_problem(error: BaseException, opened: bool) -> str:
    """The reason for an error that the system or Pillow raised; ``opened``: the file's header was read without one."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, MemoryError):
        return "too large for the memory"
    # an error from the system has a number, one from Pillow's decoders has none
    if isinstance(error, NotRegularError) or getattr(error, "errno", None):
        return f"cannot be read: {reason_of(error, getattr(error, 'filename', None))}"
    # Pillow's decoders raise nearly every type of error on damaged files, with messages for programmers
    text = str(error)
    if _TOO_SHORT.search(text):
        return "damaged: the file ends too early"
    if "text chunk" in text.lower() or "MAX_TEXT_CHUNK" in text:
        return "damaged: a text inside it is too large"
    return WRONG_PIXELS if opened else WRONG_HEADER

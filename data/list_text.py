"""Text of lists that people wrote with any editor: UTF-8, UTF-16 as Windows Notepad saves it, GB18030 (and so GBK)."""

import codecs
import os
from typing import NamedTuple, Optional, Union

from machine.regular_file import open_regular

UTF8, GB18030 = "UTF-8", "GB18030"
MARKS = {
    codecs.BOM_UTF8: UTF8,
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""{byte order mark: the encoding that it announces}."""


class NotTextError(ValueError):
    """Bytes that are no text in a known encoding; ``line``: the first such line, from 1, None where there are no lines."""

    def __init__(self, reason: str, line: Optional[int] = None):
        super().__init__(reason)
        self.line = line

    def where(self, path: Union[str, os.PathLike]) -> str:
        """The file ``path`` and, if it is known, the line in it, for messages."""
        return f"{path}" if self.line is None else f"{path} line {self.line}"


class ListText(NamedTuple):
    """The lines of a list, without their ends, and the encoding that they were read in.

    GB18030 is a guess: most bytes of other encodings would be text in it too, so a reader must find its names confirmed. So is
    UTF-8 where it has letters: 猫 in GB18030 is è in UTF-8. ``in_gb18030`` then gives the other reading.
    """

    lines: list[str]
    encoding: str
    data: bytes = b""

    def in_gb18030(self) -> Optional["ListText"]:
        """The same bytes read as GB18030; None where that is the same or cannot be meant."""
        if self.encoding != UTF8 or self.data.isascii() or self.data.startswith(codecs.BOM_UTF8):
            return None
        try:
            return ListText(_lines(self.data.decode("gb18030")), GB18030)
        except UnicodeDecodeError:
            return None


def read_lines(path: Union[str, os.PathLike], max_bytes: int) -> ListText:
    """The lines of the file ``path`` of at most ``max_bytes``. Raises OSError, NotRegularError, NotTextError."""
    with open_regular(path, max_bytes) as file:
        data = file.read()
    text, encoding = _decoded(data)
    return ListText(_lines(text), encoding, data)


def _lines(text):
    # splitlines() would also break at rarer characters, which a file name may hold
    return [line.rstrip("\r") for line in text.split("\n")]


def _decoded(data):
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    if mark and MARKS[mark] != UTF8:
        try:
            return data.decode(MARKS[mark]), MARKS[mark]
        except UnicodeDecodeError:
            raise NotTextError(f"it begins with the mark of {MARKS[mark]}, but is not {MARKS[mark]}") from None
    if 3 * data.count(0) > len(data):
        raise NotTextError("it holds zero bytes, as UTF-16 without a byte order mark does")
    try:
        return data[len(mark) :].decode("utf-8"), UTF8
    except UnicodeDecodeError as error:
        place = len(mark) + error.start
    try:
        return data.decode("gb18030"), GB18030
    except UnicodeDecodeError:
        line = data.count(b"\n", 0, place) + 1
        raise NotTextError(f"byte 0x{data[place]:02x} is neither UTF-8 nor GB18030", line) from None

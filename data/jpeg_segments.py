"""What a JPEG asks of its decoder: each scan costs a pass over all pixels, however few its bytes (ITU T.81, annex B)."""

import re
from collections.abc import Iterator

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_SOS, _EOI = 0xDA, 0xD9
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, restarts, SOI: no length follows
_KNOWN = frozenset({*range(0xC0, 0xF0), 0xFE}) - _ALONE  # a length follows
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_IN_ONE_PASS = (0xC0, 0xC1, 0xC9)  # baseline, extended, arithmetic


def count_scans(content: bytes) -> int:
    """The number of scans that a decoder meets in a JPEG file: those before its first end of image.

    A video or a second picture after that end is not counted, nor what looks like a scan inside a segment, such as a thumbnail.
    """
    return sum(kind == _SOS for kind, _ in _segments(content))


def decodes_in_one_pass(content: bytes) -> bool:
    """Whether a decoder returns the lines of a JPEG as it reads them, so that it need not keep the coefficients of all."""
    segments = list(_segments(content))
    frames = [(kind, segment) for kind, segment in segments if kind in _FRAMES]
    scans = [segment for kind, segment in segments if kind == _SOS]
    if len(frames) != 1 or len(scans) != 1 or len(scans[0]) < 1 or len(frames[0][1]) < 6:
        return False
    return frames[0][0] in _IN_ONE_PASS and scans[0][0] == frames[0][1][5]  # the numbers of components


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, content) of the segments before the first end of image, also of those between scans.

    Where a file breaks the rules, a scan too many is found rather than one too few: the decoder stops at an unknown marker, or
    looks for the next marker without skipping a segment, and so does this.
    """
    place = 2  # after the start of image
    while found := _MARKER.search(content, place):
        kind, place = found[1][0], found.end()
        if kind == _EOI:
            return
        if kind in _KNOWN:
            end = place + max(2, int.from_bytes(content[place : place + 2], "big"))
            yield kind, content[place + 2 : end]
            place = end

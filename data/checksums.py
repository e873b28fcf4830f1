"""The checksums in a file that Pillow does not look at: without them spoilt pixels would pass for a photograph."""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

_PIECE = 2**20  # bytes that are read at once


def png_pixels_are_whole(file: BinaryIO) -> bool:
    """Whether each IDAT chunk of an open PNG has its CRC-32; other chunks hold no pixels, and Pillow checks the critical ones.

    The position in ``file`` stays.
    """
    place, at = file.tell(), 8  # after the signature
    try:
        while True:
            file.seek(at)
            header = file.read(8)
            if len(header) < 8 or header[4:] == b"IEND":
                return True  # Pillow says whether enough pixels have come
            length = int.from_bytes(header[:4], "big")
            if header[4:] == b"IDAT":
                crc = zlib.crc32(b"IDAT")
                for piece in _pieces(file, length):
                    crc = zlib.crc32(piece, crc)
                stored = file.read(4)
                if len(stored) == 4 and struct.unpack(">I", stored)[0] != crc:
                    return False
            at += length + 12
    finally:
        file.seek(place)


def zlib_parts_are_whole(file: BinaryIO, offsets: Sequence[int], lengths: Sequence[int], max_bytes: int) -> bool:
    """Whether the strips or tiles of an open TIFF, at these ``offsets`` in bytes, are zlib streams with the right Adler-32.

    Looks at no more than ``max_bytes`` of what they unpack to in all, and at no byte of the file twice. The position in
    ``file`` stays.
    """
    place = file.tell()
    unread = size_of(file)
    try:
        for offset, length in zip(offsets, lengths):
            file.seek(offset)
            unpacker = zlib.decompressobj()
            for piece in _pieces(file, min(length, unread)):
                unread -= len(piece)
                while piece and not unpacker.eof and max_bytes > 0:
                    max_bytes -= len(unpacker.decompress(piece, _PIECE))
                    piece = unpacker.unconsumed_tail
            if unread <= 0 or max_bytes <= 0:
                break
        return True
    except zlib.error:
        return False
    finally:
        file.seek(place)


def size_of(file: BinaryIO) -> int:
    """The bytes of an open file, on the disk or in memory; its position stays."""
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size


def _pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := file.read(min(length, _PIECE))):
        length -= len(piece)
        yield piece

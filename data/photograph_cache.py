"""Photographs that are decoded once, for all processes and trainings: one file for each list, mapped into memory.

The file of a training list has each photograph whole, reduced until its shorter side is what evaluation resizes it to, by
columns: uint8 [3, W, H], which is how ops.crops reads it. That of another list has what evaluation shows of each: uint8
[3, S, S], to the bit. The name of a file has a digest of all that decides its content, so one that does not fit is never read.
It appears whole or not at all. Before the pixels come a line of JSON, filled up to PAGE bytes, and the places of the
photographs: int64 [N, 3] of their first byte, width and height.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np
from PIL import Image

from data.boxes import RESIZE_OVER_CROP, ChooseBox
from data.lists import DataError
from data.photographs import crop
from machine.locks import locked
from machine.processor import available_cores
from machine.regular_file import open_regular
from machine.whole_file import remove_unfinished, whole_file, without_links
from messages.progress import ProgressBar, in_bytes
from messages.quoting import quoted
from messages.reason import reason_of
from messages.terminal import print_line, printable
from ops import crops

FORMAT = 1
PAGE = 4096
BLOCK = 512  # photographs that are given to the threads at once
MAX_BYTES = 2**50
WHOLE, SHOWN = "photographs, by columns", "what evaluation shows, by rows"
"""What a file holds of each photograph."""


class Pictures(NamedTuple):
    """What a cache is to hold. ``size(i)``: width and height of picture i; ``pixels(i)``: uint8 of as many bytes times three.

    ``content``: what decides the pixels, as JSON has it; its ``kind`` is WHOLE or SHOWN. Both functions may be called by
    several threads, and raise DataError.
    """

    content: dict[str, Any]
    total: int
    size: Callable[[int], tuple[int, int]]
    pixels: Callable[[int], np.ndarray]

    def digest(self) -> str:
        return hashlib.sha256(json.dumps([FORMAT, self.content], sort_keys=True).encode()).hexdigest()


class PhotographCache:
    """The pictures of one file: ``cache[i]``, a read-only uint8 array, [3, W, H] or [3, S, S].

    Another process that gets it opens the file by itself. Raises ValueError for a file of another content, OSError.
    """

    def __init__(self, path: Path, digest: str):
        self.path, self.digest = path, digest
        with open_regular(path, MAX_BYTES) as file:
            header = _header(file.read(PAGE))
            if header.get("digest") != digest:
                raise ValueError("its content is another one")
            self.kind = header["content"]["kind"]
            self._all = np.memmap(file, np.uint8, "r")
        end = PAGE + 24 * header["count"]
        if not end <= len(self._all) == header["bytes"]:
            raise ValueError("it is incomplete")
        self._places = np.array(self._all[PAGE:end].view(np.int64).reshape(-1, 3))
        if (self._places < 0).any() or (_ends(self._places) > len(self._all)).any():
            raise ValueError("it is damaged")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> np.ndarray:
        start, width, height = self._places[index].tolist()
        shape = (3, width, height) if self.kind == WHOLE else (3, height, width)
        return self._all[start : start + 3 * width * height].view(np.ndarray).reshape(shape)

    def __reduce__(self):
        return PhotographCache, (self.path, self.digest)


def shorter_side(image_size: int) -> int:
    """Pixels of the shorter side of a photograph as evaluation resizes it before it cuts ``image_size`` out of it."""
    return math.ceil(image_size * RESIZE_OVER_CROP)


def cut(planes: np.ndarray, choose_box: ChooseBox, image_size: int, flip: bool = False) -> np.ndarray:
    """Like photographs.crop, of a photograph by columns, uint8 [3, W, H]; returns uint8 [3, image_size, image_size]."""
    width, height = planes.shape[1:]
    box = choose_box(width, height)
    inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height))
    beyond = max(abs(side - cut_off) for side, cut_off in zip(box, inside))
    if beyond < 1e-6 and crops.usable():  # a letterbox is more than the photograph; a random box may exceed it by a rounding
        return crops.resized_crop(planes, inside, image_size, flip)
    image = crop(Image.fromarray(planes.transpose(2, 1, 0)), lambda *_: box, image_size, flip)
    return np.asarray(image).transpose(2, 0, 1)


def by_columns(image: Image.Image) -> np.ndarray:
    """The pixels of an RGB image, uint8 [3, W, H]."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 1, 0))


def opened(folder: Path, name: str, pictures: Pictures, show_progress: bool = True) -> PhotographCache:
    """The cache of ``pictures`` in ``folder``, made if it is not there. Its file is called ``name`` and a digest.

    What it takes is said before. One process makes it, the others wait. Raises DataError where the disk has no room for it, the
    folder cannot be used, or a photograph cannot be read.
    """
    digest = pictures.digest()
    path = folder / f"{name}-{digest[:20]}.photographs"
    try:
        if cache := _found(path, digest):
            return cache
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock") as held:
            if cache := _found(path, digest):
                return cache
            if held:
                remove_unfinished(folder)
            _make(path, digest, pictures, show_progress)
        return PhotographCache(path, digest)
    except (OSError, ValueError) as error:
        reason = reason_of(error, folder) if isinstance(error, OSError) else str(error)
        raise DataError(f"cache = {quoted(str(folder))}: {reason}; give another folder, or leave out --cache") from None


def _found(path, digest) -> Optional[PhotographCache]:
    try:
        return PhotographCache(path, digest)
    except FileNotFoundError:
        return None
    except ValueError as error:
        print_line(f"{printable(path)} is made anew: {error}")
        return None


def _make(path, digest, pictures, show_progress):
    sizes = np.array(list(_in_threads(pictures.size, pictures.total, "sizes of photographs", show_progress)), np.int64)
    places = np.empty((pictures.total, 3), np.int64)
    places[:, 1:] = sizes.reshape(-1, 2)
    lengths = 3 * places[:, 1] * places[:, 2]
    first = PAGE + places.nbytes
    places[:, 0] = first + np.cumsum(lengths) - lengths
    total = first + int(lengths.sum())
    free = shutil.disk_usage(path.parent).free
    wanted = f"{in_bytes(total)} for {pictures.total:,} photographs, {in_bytes(free)} are free"
    if total > free:
        raise ValueError(wanted)
    if show_progress:
        print_line(f"cache: {printable(path)} takes {wanted}")
    kind = {"kind": pictures.content["kind"]}  # the rest, of which the digest is, may be longer than a page
    header = {"format": FORMAT, "digest": digest, "count": pictures.total, "bytes": total, "content": kind}
    with whole_file(path) as temporary, open(temporary, "rb+", opener=without_links) as file:
        handle = file.fileno()
        with contextlib.suppress(AttributeError):  # not on Windows; elsewhere a full disk is noticed now
            os.posix_fallocate(handle, 0, total)
        _write(handle, json.dumps(header).encode().ljust(PAGE - 1) + b"\n", 0)
        _write(handle, places.tobytes(), PAGE)

        def put(index):
            pixels = pictures.pixels(index)
            if pixels.nbytes != lengths[index]:
                raise DataError(f"photograph {index + 1} of the list has changed while it was decoded")
            _write(handle, memoryview(np.ascontiguousarray(pixels)).cast("B"), int(places[index, 0]))

        for _ in _in_threads(put, pictures.total, "decoding photographs", show_progress):
            pass


def _in_threads(work, count, label, show_progress) -> Iterator[Any]:
    """``work(i)`` for each of ``count``, in order: Pillow's decoders let other threads work."""
    bar = ProgressBar(count, label, visible=show_progress)
    pool = concurrent.futures.ThreadPoolExecutor(available_cores())
    try:
        for start in range(0, count, BLOCK):
            for index, result in enumerate(pool.map(work, range(start, min(start + BLOCK, count))), start=start + 1):
                bar.update(index)
                yield result
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()


def _write(handle, content, place):
    left = memoryview(content)
    while left:
        written = os.pwrite(handle, left, place)
        left, place = left[written:], place + written


def _header(page) -> dict[str, Any]:
    try:
        header = json.loads(page)
        numbers = [header["count"], header["bytes"]]
        if all(type(number) is int and 0 <= number <= MAX_BYTES for number in numbers) and header["format"] == FORMAT:
            return header if header["content"]["kind"] in (WHOLE, SHOWN) else {}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise ValueError("it is damaged, or of another version")


def _ends(places):
    start, width, height = places.astype(float).T  # a hostile product would overflow
    return start + 3 * width * height

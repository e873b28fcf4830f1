"""The photographs to predict: files and folders that the user names, as a data set whose unreadable files end nothing."""

import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np

from data.given_photographs import photographs_in
from data.photograph_dataset import PhotographDataset
from data.photographs import PhotographError, read_crop

STANDARD_INPUT = "-"


def photograph_paths(images: tuple[str, ...], on_error: Callable[[OSError], None]) -> Iterator[str]:
    """The files that ``images`` names, in order: a file itself, the photographs in a folder, and for ``-`` the paths that
    standard input has, one a line, in any bytes that a file name may hold.

    Calls ``on_error`` for each folder that cannot be read: see photographs_in.
    """
    for given in images:
        if given == STANDARD_INPUT:
            yield from (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip())
        else:
            yield from map(str, photographs_in(Path(given), on_error))


class PhotographFiles(PhotographDataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size], 1) of the file ``paths[i]``; (zeros, 0) where it is unreadable.

    ``view``: how the network sees photographs, see PhotographDataset.
    """

    def __init__(self, paths: list[str], **view: Any):
        super().__init__(train=False, **view)
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        try:
            return self.show(functools.partial(read_crop, self.paths[index]), index), np.int64(1)
        except PhotographError:
            return np.zeros((3, self.image_size, self.image_size), np.uint8), np.int64(0)

    def problem(self, index: int) -> str:
        """Why the photograph cannot be read; reads it once more, since a batch carries no text."""
        try:
            read_crop(self.paths[index], lambda width, height: (0, 0, width, height), 1)
        except PhotographError as error:
            return str(error)
        return "it could not be read; it can now: predict again"

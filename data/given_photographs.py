"""The photographs that a user names on the command line: files, and folders at any depth. What cannot be read ends nothing."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np

from data.data_folder import DataFolder
from data.photograph_dataset import PhotographDataset
from data.photograph_formats import may_be_photograph
from data.photographs import PhotographError, read_crop
from messages.terminal import print_line, printable


def name_unreadable(error: OSError) -> None:
    """Name a folder that cannot be read on stderr."""
    print_line(f"left out: {printable(error.filename)} cannot be read: {error.strerror}")


def photographs_in(given: Path, on_error: Callable[[OSError], None] = name_unreadable) -> list[Path]:
    """The photographs in the folder ``given``, at any depth, sorted; ``given`` itself where it is no folder.

    Links are followed, because the user named this folder; it is not part of a data set from elsewhere. Calls ``on_error`` for
    each folder that cannot be read, and goes on.
    """
    if not os.path.isdir(given):  # Path.is_dir raises an error for a name that is too long
        return [given]
    return sorted(
        Path(path)
        for path, problem in DataFolder(given, follow_links=True).files_below(given, on_error)
        if problem is None and may_be_photograph(path)
    )


class PhotographFiles(PhotographDataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size], 1) of the file ``paths[i]``; (zeros, 0) where it is unreadable.

    ``view``: how the network sees photographs, see PhotographDataset.
    """

    def __init__(self, paths: Sequence[Union[str, Path]], **view: Any):
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

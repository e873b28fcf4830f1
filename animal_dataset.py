"""The data set of the photographs in a list file: ``AnimalDataset``."""

import functools
import os
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from PIL import Image

from data.data_folder import DataFolder
from data.data_source import DataSource
from data.lists import SIDES, DataError, list_digest
from data.photograph_dataset import PhotographDataset
from data.photograph_record import digest_of_photographs
from data.photographs import PhotographError, read_crop, read_photograph


class AnimalDataset(PhotographDataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size] RGB, int64 label).

    ``list_file``: lines ``relative/path label``, beside ``labels.txt``. ``folder``: the photographs that the paths are relative
    to; by default the list's own folder, where links that lead out are refused. The other arguments: see PhotographDataset.
    Raises DataError, for a bad list at once, for a bad photograph when it is read.
    """

    def __init__(
        self,
        list_file: Union[str, os.PathLike],
        image_size: int,
        train: bool,
        seed: int = 0,
        *,
        folder: Optional[DataFolder] = None,
        **view: Any,
    ):
        super().__init__(image_size, train, seed, **view)
        self.list_file = Path(list_file)
        self.folder = folder or DataFolder(self.list_file.parent)
        self.source, self.data = str(self.list_file), self.folder.name
        self.classes = self.folder.read_classes()
        self.samples = self.folder.read_list(self.list_file.name, len(self.classes))

    @classmethod
    def find(cls, data: str, may_download: bool = False) -> str:
        """``data`` itself: users bring their own photographs."""
        return data

    @classmethod
    def open_side(cls, source: DataSource, side: str, image_size: int, seed: int = 0, **view: Any) -> "AnimalDataset":
        """The photographs of the list of ``side``."""
        folder = DataFolder.of(source)
        return cls(folder.lists / SIDES[side], image_size, side == "train", seed, folder=folder, **view)

    @classmethod
    def count_classes(cls, source: DataSource) -> Optional[int]:
        """The number of names in labels.txt; None if the file is missing."""
        folder = DataFolder.of(source)
        return len(folder.read_classes()) if folder.has_classes() else None

    def digest(self) -> str:
        """SHA-256 of the list's content."""
        return list_digest(self.list_file)

    def photographs_digest(self) -> Optional[str]:
        """SHA-256 of the photographs' files; None where their split did not record it."""
        return digest_of_photographs(self.folder, self.samples, self.list_file.name)

    def photograph(self, index: int) -> Image.Image:
        return self._read(index, read_photograph)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        pixels = self._read(index, lambda path: self.show(functools.partial(read_crop, path), index))
        return pixels, np.int64(self.sample(index).label)

    def _read(self, index, read):
        sample = self.sample(index)
        path = self.folder.root / sample.name
        try:
            return read(path)
        except PhotographError as error:
            raise DataError(
                f"{self.list_file} line {sample.place}: {path}: {error}; {self.folder.split_command} writes lists without it"
            ) from None

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
from data.photograph_cache import SHOWN, WHOLE, PhotographCache, Pictures, by_columns, cut, opened, shorter_side
from data.photograph_dataset import PhotographDataset
from data.photograph_record import digest_of_photographs
from data.photographs import PhotographError, photograph_size, read_crop, read_photograph, read_reduced, reduced_size


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
        self.cache: Optional[PhotographCache] = None

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
        if self.cache is None:
            pixels = self._read(index, lambda path: self.show(functools.partial(read_crop, path), index))
        else:
            cached = self.cache[index % len(self)]
            pixels = cached if self.cache.kind == SHOWN else self.show(functools.partial(cut, cached), index)
        return pixels, np.int64(self.sample(index).label)

    def use_cache(self, folder: str, image_size: int, show_progress: bool = True) -> None:
        """Read the photographs from a cache in ``folder`` from now on, which is made if it is not there.

        In training crops come from photographs whose shorter side is what evaluation at ``image_size`` resizes it to, and are
        nearly those from the files; else the cache has the very pixels that ``dataset[i]`` has now. Raises DataError.
        """
        content = {"list": self.digest(), "photographs": self.photographs_digest() or self._stamps()}
        if self.train:
            shorter = shorter_side(image_size)

            def size(index):
                return reduced_size(self._read(index, photograph_size), shorter)

            def pixels(index):
                return by_columns(self._read(index, lambda path: read_reduced(path, shorter)))

            content |= {"kind": WHOLE, "shorter_side": shorter}
        else:

            def size(index):
                return self.image_size, self.image_size

            def pixels(index):
                return self[index][0]

            content |= {"kind": SHOWN, "image_size": self.image_size, "crop": self.crop}
        pictures = Pictures(content, len(self), size, pixels)
        self.cache = opened(Path(folder), self.list_file.stem, pictures, show_progress)

    def _stamps(self):
        """What changes with the photographs' files, where their split has not recorded their digests."""
        found = [os.stat(self.folder.root / sample.name) for sample in self.samples]
        return [[status.st_size, status.st_mtime_ns] for status in found]

    def _read(self, index, read):
        sample = self.sample(index)
        path = self.folder.root / sample.name
        try:
            return read(path)
        except PhotographError as error:
            raise DataError(
                f"{self.list_file} line {sample.place}: {path}: {error}; {self.folder.split_command} writes lists without it"
            ) from None

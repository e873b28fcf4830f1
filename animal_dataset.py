"""The data set of the photographs in a list file: ``AnimalDataset``."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from PIL import Image

from data.data_folder import DataFolder
from data.data_source import DataSource
from data.lists import SIDES, VAL_LIST, DataError, list_digest
from data.photograph_cache import SHOWN, WHOLE, PhotographCache, Pictures, by_columns, cut, opened, shorter_side
from data.photograph_dataset import PhotographDataset
from data.photograph_record import digest_of_photographs
from data.photographs import PhotographError, photograph_size, read_crop, read_photograph, read_reduced, reduced_size
from ops import crops


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
        self._places: Sequence[int] = range(len(self.samples))  # of the samples in the cache

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
            cached = self.cache[self._places[index % len(self)]]
            pixels = cached if self.cache.kind == SHOWN else self.show(functools.partial(cut, cached), index)
        return pixels, np.int64(self.sample(index).label)

    def use_cache(self, folder: str, image_size: int, show_progress: bool = True) -> None:
        """Read the photographs from a cache in ``folder`` from now on, which is made if it is not there.

        In training crops come from photographs whose shorter side is what evaluation at ``image_size`` resizes it to, and are
        nearly those from the files; all folds share one such cache. Else the cache has the very pixels that ``dataset[i]`` has
        now. Raises DataError.
        """
        if not self.train:
            content = {**self._content(), "kind": SHOWN, "image_size": self.image_size, "crop": self.crop}
            shown = Pictures(content, len(self), lambda _: (self.image_size, self.image_size), lambda index: self[index][0])
            self.cache = opened(Path(folder), self.list_file.stem, shown, show_progress)
            return
        crops.usable()  # now: of the threads and processes that read, each would build or load it
        shorter = shorter_side(image_size)
        if self.folder.fold:
            listed = self._of_all_folds()
            samples = [dataset.samples[index] for dataset, index in listed]
            places = {sample.name: place for place, sample in enumerate(samples)}
            self._places = [places[sample.name] for sample in self.samples]
            name, content = "folds", self._content_of(samples)
        else:
            listed = [(self, index) for index in range(len(self))]
            name, content = self.list_file.stem, self._content()

        def size(place):
            dataset, index = listed[place]
            return reduced_size(dataset._read(index, photograph_size), shorter)

        def pixels(place):
            dataset, index = listed[place]
            return by_columns(dataset._read(index, lambda path: read_reduced(path, shorter)))

        content |= {"kind": WHOLE, "shorter_side": shorter}
        self.cache = opened(Path(folder), name, Pictures(content, len(listed), size, pixels), show_progress)

    def _of_all_folds(self):
        """[(data set, index there), ...] of the photographs of all folds: those to train on and the others of this fold."""
        others = AnimalDataset(self.list_file.with_name(VAL_LIST), self.image_size, False, folder=self.folder)
        found = {sample.name: (dataset, index) for dataset in (self, others) for index, sample in enumerate(dataset.samples)}
        return [found[name] for name in sorted(found)]

    def _content(self):
        """What decides which photographs a cache of this list holds."""
        return {"list": self.digest(), "photographs": self.photographs_digest() or self._stamps(self.samples)}

    def _content_of(self, samples):
        """The same of ``samples``, whichever lists they are in."""
        known = digest_of_photographs(self.folder, samples, self.list_file.name)
        return {"names": [sample.name for sample in samples], "photographs": known or self._stamps(samples)}

    def _stamps(self, samples):
        """What changes with the photographs' files, where their split has not recorded their digests."""
        found = [os.stat(self.folder.root / sample.name) for sample in samples]
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

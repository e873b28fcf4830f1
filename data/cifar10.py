"""CIFAR-10 as Paddle downloads it, ready for the network: ``Cifar10Dataset``.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009: 60,000 photographs of 32 x 32 pixels, ten classes.
The file is an archive of pickles. Paddle's own data set unpickles them, which runs any code that a file contains. This module
runs no code (see pickles/plain_pickle.py) and unpacks nothing to the disk.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import os
import sys
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from paddle.dataset import common
from paddle.vision.datasets import cifar
from PIL import Image

from data.data_source import DataSource
from data.lists import DataError, Sample
from data.photograph_dataset import PhotographDataset
from data.photographs import crop
from messages.quoting import quoted
from messages.reason import reason_of
from pickles.pickled_arrays import PlainArray, PlainPickleError
from pickles.plain_pickle import read_plain_pickle

FILE_NAME = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
META = "batches.meta"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
VAL_BATCHES = ("test_batch",)
SIDE = 32  # pixels
NUM_CLASSES = 10

MAX_BYTES = 64 * 2**20  # of a file in the archive; the original's largest has half as many
MAX_PARTS = 64  # files in the archive


class Cifar10Dataset(PhotographDataset):
    """``dataset[i]`` -> (uint8 [3, image_size, image_size] RGB, int64 label).

    ``file``: cifar-10-python.tar.gz. With ``train`` the 50,000 photographs of data_batch_1 to data_batch_5, else the 10,000 of
    test_batch; ``samples`` names them data_batch_1/0, data_batch_1/1 and so on. The other arguments: see PhotographDataset.
    Raises DataError for a file that is damaged or not such an archive.
    """

    def __init__(self, file: Union[str, os.PathLike], image_size: int, train: bool, seed: int = 0, **view: Any):
        super().__init__(image_size, train, seed, **view)
        self.file, self.data = Path(file), str(file)
        names = TRAIN_BATCHES if train else VAL_BATCHES
        self.source = f"{self.file} ({' to '.join(dict.fromkeys((names[0], names[-1])))})"
        pickles = read_parts(self.file, (META, *names))
        self.classes = _classes(self.file, _unpickle(self.file, META, pickles.pop(META)))
        images, self.samples = [], []
        for name in names:
            pixels, labels = _batch(self.file, name, _unpickle(self.file, name, pickles.pop(name)), len(self.classes))
            images.append(pixels)
            self.samples += [Sample(f"{name}/{place}", label, place) for place, label in enumerate(labels)]
        self.images = np.concatenate(images)  # uint8 [N, 3 * 32 * 32]

    @classmethod
    def find(cls, data: str, may_download: bool = False) -> str:
        """The archive that ``data`` stands for: see find_file."""
        return str(find_file(data, may_download))

    @classmethod
    def open_side(cls, source: DataSource, side: str, image_size: int, seed: int = 0, **view: Any) -> "Cifar10Dataset":
        """The training or the validation side of the archive; there is no third."""
        if side not in ("train", "val"):
            raise DataError(f"split = {side!r}: CIFAR-10 has two parts, which serve as train and val; choose val")
        return cls(source.data, image_size, side == "train", seed, **view)

    @classmethod
    def count_classes(cls, source: DataSource) -> Optional[int]:
        """Ten, even if the archive is missing."""
        return NUM_CLASSES

    def digest(self) -> str:
        """SHA-256 of class names, labels and pixels, which do not depend on how the archive was packed."""
        samples = [tuple(sample) for sample in self.samples]  # plain tuples: their repr does not name the class Sample
        content = hashlib.sha256(repr((self.classes, samples)).encode("utf-8"))
        content.update(self.images.data)
        return content.hexdigest()

    def photograph(self, index: int) -> Image.Image:
        pixels = self.images[index % len(self)].reshape(3, SIDE, SIDE).transpose(1, 2, 0)  # [3, H, W] -> [H, W, 3]
        return Image.fromarray(np.ascontiguousarray(pixels))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        return self.show(functools.partial(crop, self.photograph(index)), index), np.int64(self.sample(index).label)


def find_file(path: Union[str, os.PathLike], may_download: bool = False) -> Path:
    """The archive: ``path`` itself or the one in the folder ``path``, else a download by Paddle if ``may_download``.

    Raises DataError.
    """
    path = Path(path)
    for place in (path, path / FILE_NAME):
        if place.is_file():
            return place
    if may_download:
        return _download()
    what = f"no {FILE_NAME} in the folder {path}" if path.is_dir() else f"no {path}"
    raise DataError(f"there is {what}: --data takes {FILE_NAME} or its folder; train.py without --data lets Paddle download it")


def _download():
    """Let Paddle download the archive into its own folder and check the MD5; keeps an existing file."""
    folder = Path(common.DATA_HOME) / "cifar"
    if not (folder / FILE_NAME).is_file():
        print(f"downloading {FILE_NAME} (about 170 MB) into {folder}", flush=True)
    nowhere = io.StringIO()
    bar = sys.stdout if sys.stdout.isatty() else nowhere
    try:
        # Paddle reports the missing file at each attempt, and draws its bar even into pipes
        with contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(bar):
            return Path(common.download(cifar.CIFAR10_URL, "cifar", cifar.CIFAR10_MD5))
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{FILE_NAME} could not be downloaded ({reason_of(error)}): download it in another way and put it into {folder}, "
            f"or name it with --data FILE"
        ) from None


class _BoundedGzip(gzip.GzipFile):
    """A gzip file that gives at most MAX_BYTES at a time, and MAX_PARTS times as many in all."""

    def read(self, size=-1):
        if not 0 <= size <= MAX_BYTES or self.tell() > MAX_PARTS * MAX_BYTES:
            raise DataError(f"{self.name} unpacks to more than CIFAR-10 holds and was not read. {_remedy()}")
        return super().read(size)


def read_parts(file: Path, names: Iterable[str]) -> dict[str, bytes]:
    """{name: bytes} of the files ``names`` in the archive's folder, read into memory; raises DataError.

    Only plain files count, not links. The archive is read to its end, so that gzip's checksum reveals a cut or changed one.
    """
    wanted = {f"{FOLDER}/{name}": name for name in names}
    found = {}
    try:
        with _BoundedGzip(file) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as archive:
            for count, part in enumerate(archive):
                if not 0 <= part.size <= MAX_BYTES or count >= MAX_PARTS:
                    size, than = f"{part.size:,}"[:40], "less than" if part.size < 0 else "more than"
                    raise DataError(f"{file}: {quoted(part.name)} of {size} bytes is {than} CIFAR-10 holds. {_remedy()}")
                name = wanted.get(part.name)
                if name is None:
                    continue
                if part.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or part.issparse() or name in found:
                    raise DataError(f"{file}: {part.name} is not a plain file, or appears twice. {_remedy()}")
                content = archive.extractfile(part)
                found[name] = content.read(part.size) if content else b""  # extractfile gives None only for other kinds
            while unzipped.read(2**20):
                pass
    except DataError:
        raise
    except (tarfile.TarError, EOFError, OSError, OverflowError, RecursionError, ValueError, zlib.error) as error:
        raise DataError(f"{file} is not a complete {FILE_NAME}: {reason_of(error, file)}. {_remedy()}") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{file} has no {FOLDER}/{missing[0]}. {_remedy()}")
    return found


def _remedy():
    return f"Give another copy of {FILE_NAME} with --data FILE"


def _unpickle(file, name, data):
    try:
        content = read_plain_pickle(data)
    except PlainPickleError as error:
        raise DataError(f"{file}: {name}: {error}. {_remedy()}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: {name} holds no dict. {_remedy()}")
    # Python 3 may have written the keys as text; "replace": text in a pickle can hold surrogates, which UTF-8 cannot encode
    return {key.encode("utf-8", "replace") if isinstance(key, str) else key: value for key, value in content.items()}


def _classes(file, meta):
    names = meta.get(b"label_names")
    if isinstance(names, list) and all(isinstance(name, (bytes, str)) for name in names):
        names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names]
        if len(set(names)) == len(names) > 1 and all(name.isprintable() and name.strip() for name in names):
            return names
    raise DataError(f"{file}: {META} does not name the classes. {_remedy()}")


def _batch(file, name, batch, num_classes):
    """(uint8 [N, 3 * 32 * 32], N labels) of a batch; raises DataError."""
    data, labels = batch.get(b"data"), batch.get(b"labels")
    pixels = data.array if isinstance(data, PlainArray) else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != 3 * SIDE * SIDE or not len(pixels):
        shape = None if pixels is None else pixels.shape
        raise DataError(f"{file}: {name}: data of shape {shape}; expected (N, {3 * SIDE * SIDE}). {_remedy()}")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise DataError(f"{file}: {name}: expected a list of {len(pixels)} labels, one per photograph. {_remedy()}")
    for place, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < num_classes:
            shown = label if type(label) is int else f"of type {type(label).__name__}"
            raise DataError(f"{file}: {name}/{place}: label {shown}, but there are {num_classes} classes. {_remedy()}")
    return pixels, labels

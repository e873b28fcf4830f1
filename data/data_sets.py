"""The data sets that the scripts know by name."""

import os
from pathlib import Path

from data.lists import TRAIN_LIST, VAL_LIST, DataError

DATASETS = ("folder", "cifar10")


def find_data(dataset, data, may_download=False) -> str:
    """``data`` as it is for a "folder"; for "cifar10" the archive that it stands for, see cifar10.find_file."""
    if dataset == "folder":
        return data
    from data.cifar10 import find_file

    return str(find_file(data, may_download))


def data_root(data) -> Path:
    """The folder that ``data`` of a "folder" stands for: itself, or what an archive holds, see data_archive.unpacked.

    Raises DataError. A folder that is not there is left for the reader of its lists to say.
    """
    path = Path(data)
    if path.is_file():
        from data.archive import unpacked

        return unpacked(path)
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is neither a folder nor an archive")
    return path


def open_dataset(dataset, data, image_size, train, seed=0, follow_links=False, **view):
    """The training or the validation side of a data set.

    ``dataset``: one of DATASETS. ``data``: for "folder" the folder that the lists lie in, or an archive of it, for "cifar10"
    its archive. ``follow_links``: see AnimalDataset. The other arguments: see PhotographDataset. Raises DataError.
    """
    if dataset == "folder":
        from animal_dataset import AnimalDataset

        list_file = data_root(data) / (TRAIN_LIST if train else VAL_LIST)
        return AnimalDataset(list_file, image_size, train, seed, follow_links=follow_links, data=data, **view)
    if dataset == "cifar10":
        from data.cifar10 import Cifar10Dataset

        return Cifar10Dataset(data, image_size, train, seed, **view)
    raise ValueError(f"dataset = {dataset!r}: expected one of {', '.join(DATASETS)}")


def check_apart(train_set, val_set) -> None:
    """Raise DataError where a photograph is to be trained on and validated on: its accuracy would say nothing."""
    trained_on = {_plain(name) for name, _, _ in train_set.samples}
    both = [name for name, _, _ in val_set.samples if _plain(name) in trained_on]
    if both:
        raise DataError(
            f"{len(both)} photographs of {val_set.source} are in {train_set.source} as well (the first: {both[0]}): accuracy "
            f"on what was trained on says nothing; train_val_split.py writes lists that are apart"
        )


def _plain(name):
    return os.path.normpath(name) if "./" in name or "//" in name else name


def digests(dataset, data, follow_links=False) -> dict:
    """{"train", "val"}: what tells the two sides of a data set from those of another; raises DataError, see check_apart too."""
    sides = {side: open_dataset(dataset, data, 1, side == "train", follow_links=follow_links) for side in ("train", "val")}
    check_apart(**{f"{side}_set": opened for side, opened in sides.items()})
    return {side: opened.digest() for side, opened in sides.items()}

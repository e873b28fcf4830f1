"""The data sets that the scripts know by name."""

from pathlib import Path

from photo_lists import TRAIN_LIST, VAL_LIST

DATASETS = ("folder", "cifar10")


def find_data(dataset, data, may_download=False) -> str:
    """``data`` as it is for a "folder"; for "cifar10" the archive that it stands for, see cifar10.find_file."""
    if dataset == "folder":
        return data
    from cifar10 import find_file

    return str(find_file(data, may_download))


def open_dataset(dataset, data, image_size, train, seed=0, **view):
    """The training or the validation side of a data set.

    ``dataset``: one of DATASETS. ``data``: for "folder" the folder that the lists lie in, for "cifar10" the archive. The other
    arguments: see PhotographDataset. Raises DataError.
    """
    if dataset == "folder":
        from animal_dataset import AnimalDataset

        return AnimalDataset(Path(data) / (TRAIN_LIST if train else VAL_LIST), image_size, train, seed, **view)
    if dataset == "cifar10":
        from cifar10 import Cifar10Dataset

        return Cifar10Dataset(data, image_size, train, seed, **view)
    raise ValueError(f"dataset = {dataset!r}: expected one of {', '.join(DATASETS)}")


def digests(dataset, data) -> dict:
    """{"train", "val"}: what tells the two sides of a data set from those of another; raises DataError."""
    return {side: open_dataset(dataset, data, image_size=1, train=side == "train").digest() for side in ("train", "val")}

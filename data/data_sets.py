"""The data sets by name: how the scripts find and open them, whichever they are, and what tells two of them apart."""

import os
from typing import Optional

from data import DATASETS
from data.lists import DataError
from data.photograph_dataset import PhotographDataset


def dataset_class(dataset: str) -> type[PhotographDataset]:
    """The class of the data set ``dataset``, one of DATASETS; raises DataError for another name."""
    if dataset not in DATASETS:
        raise DataError(f"dataset = {dataset!r}: expected one of {', '.join(DATASETS)}")
    return DATASETS[dataset].load()


def find_data(dataset: str, data: str, may_download: bool = False) -> str:
    """``data`` as open_dataset takes it: for a folder itself, for CIFAR-10 the archive it stands for; raises DataError.

    ``may_download``: fetch a data set that is published where it is not there.
    """
    return dataset_class(dataset).find(data, may_download)


def open_dataset(
    dataset: str, data: str, image_size: int, train: bool, seed: int = 0, follow_links: bool = False, **view
) -> PhotographDataset:
    """The training or the validation side of a data set.

    ``data``: what find_data returns. ``follow_links``: see DataFolder. The other arguments: see PhotographDataset. Raises
    DataError.
    """
    return dataset_class(dataset).open_side(data, image_size, train, seed, follow_links, **view)


def count_classes(dataset: str, data: str, follow_links: bool = False) -> Optional[int]:
    """How many classes a data set has; None where that is not known yet, as of a folder that is not split. Raises DataError."""
    return dataset_class(dataset).count_classes(data, follow_links)


def check_apart(train_set: PhotographDataset, val_set: PhotographDataset) -> None:
    """Raise DataError where a photograph is to be trained on and validated on: its accuracy would say nothing."""
    trained_on = {_plain(sample.name) for sample in train_set.samples}
    both = [sample.name for sample in val_set.samples if _plain(sample.name) in trained_on]
    if both:
        raise DataError(
            f"{len(both)} photographs of {val_set.source} are in {train_set.source} as well (the first: {both[0]}): accuracy "
            f"on what was trained on says nothing; train_val_split.py writes lists that are apart"
        )


def _plain(name):
    return os.path.normpath(name) if "./" in name or "//" in name else name


def digests(dataset: str, data: str, follow_links: bool = False) -> dict[str, str]:
    """{"train", "val"}: what tells the two sides of a data set from those of another; raises DataError, see check_apart too."""
    sides = {side: open_dataset(dataset, data, 1, side == "train", follow_links=follow_links) for side in ("train", "val")}
    check_apart(sides["train"], sides["val"])
    return {side: opened.digest() for side, opened in sides.items()}

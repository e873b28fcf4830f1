"""Finds and opens data sets by name, and computes the digests that tell one from another."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from data import DATASETS
from data.data_source import DataSource
from data.lists import DataError
from data.photograph_dataset import PhotographDataset
from data.photograph_record import same_as_far_as_known


def dataset_class(dataset: str) -> type[PhotographDataset]:
    """The class of the data set ``dataset``; raises DataError if DATASETS lacks it."""
    if dataset not in DATASETS:
        raise DataError(f"dataset = {dataset!r}: expected one of {', '.join(DATASETS)}")
    return DATASETS[dataset].load()


def find_data(source: DataSource, may_download: bool = False) -> DataSource:
    """``source`` in the form that open_side takes: a folder stays as it is, CIFAR-10 becomes its archive. Raises DataError.

    ``may_download``: download a published data set if it is missing.
    """
    return source._replace(data=dataset_class(source.dataset).find(source.data, may_download))


def open_side(source: DataSource, side: str, image_size: int, seed: int = 0, **view: Any) -> PhotographDataset:
    """One of the SIDES of a data set.

    ``source``: from find_data. The other arguments: see PhotographDataset. Raises DataError.
    """
    return dataset_class(source.dataset).open_side(source, side, image_size, seed, **view)


def count_classes(source: DataSource) -> Optional[int]:
    """The number of classes of a data set; None if not known yet, as for a folder that is not split. Raises DataError."""
    return dataset_class(source.dataset).count_classes(source)


def open_test_set(source: DataSource, image_size: int, **view: Any) -> PhotographDataset:
    """The side "test", for a final figure; raises DataError, also where it shares a photograph with another side."""
    test_set = open_side(source, "test", image_size, **view)
    for side in ("train", "val"):
        check_apart(open_side(source, side, image_size=1), test_set)
    return test_set


def check_apart(train_set: PhotographDataset, val_set: PhotographDataset) -> None:
    """Raise DataError if a photograph is in both sides: the accuracy on it would say nothing."""
    trained_on = {_plain(sample.name) for sample in train_set.samples}
    both = [sample.name for sample in val_set.samples if _plain(sample.name) in trained_on]
    if both:
        raise DataError(
            f"{len(both)} photographs of {val_set.source} are in {train_set.source} as well (the first: {both[0]}): accuracy "
            f"on photographs that a training used says nothing; train_val_split.py writes lists without common photographs"
        )


def _plain(name):
    return os.path.normpath(name) if "./" in name or "//" in name else name


def count_photographs(source: DataSource, side: str = "train") -> int:
    """How many photographs the list of a ``side`` names. Raises DataError."""
    return len(open_side(source, side, image_size=1))


class Digests(NamedTuple):
    """SHA-256 of the sides that a training uses, "train" and "val": of their lists, and of their photographs if known."""

    lists: dict[str, str]
    photographs: Optional[dict[str, str]]

    @classmethod
    def of(cls, train_set: PhotographDataset, val_set: PhotographDataset) -> "Digests":
        """Those of two opened sides. Raises DataError where a photograph is not the one that the split saw."""
        sides = {"train": train_set, "val": val_set}
        photographs = {side: digest for side, opened in sides.items() if (digest := opened.photographs_digest())}
        lists = {side: opened.digest() for side, opened in sides.items()}
        return cls(lists, photographs if len(photographs) == len(sides) else None)

    def are_those_of(self, record: Mapping[str, Any]) -> bool:
        """Whether the ``list_sha256`` of ``record``, a result.json or a checkpoint's header, are these lists, and its
        ``photographs_sha256`` these photographs, as far as both are known."""
        same_lists = record.get("list_sha256") == self.lists
        return same_lists and same_as_far_as_known(record.get("photographs_sha256"), self.photographs)


def digests(source: DataSource) -> Digests:
    """The digests of ``source``; raises DataError as ``check_apart`` and Digests.of do."""
    sides = [open_side(source, side, image_size=1) for side in ("train", "val")]
    check_apart(*sides)
    return Digests.of(*sides)

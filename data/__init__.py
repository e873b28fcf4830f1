"""Photographs in folders, lists and archives, the data sets made of them, and batches for the network.

``DATASETS`` names the data sets. To add one, write a subclass of data.photograph_dataset.PhotographDataset in a file of its own
and add one line here; --dataset, its help and every script then know it. Nothing here imports Paddle, so that ``--help`` can
list the names at once.
"""

import importlib
from typing import Any, NamedTuple


class LazyDataset(NamedTuple):
    """A data set: the class ``name`` of ``module``, which only ``load`` imports.

    ``in_folder``: whether its photographs are files in a DataFolder, with lists beside them; only such a data set can be split
    and shown. The class itself does not say so, because it imports Paddle, and splitting need not wait for that.
    """

    module: str
    name: str
    in_folder: bool = False

    def load(self) -> Any:
        """The class, a subclass of PhotographDataset."""
        return getattr(importlib.import_module(self.module), self.name)


DATASETS = {
    "folder": LazyDataset("animal_dataset", "AnimalDataset", in_folder=True),
    "cifar10": LazyDataset("data.cifar10", "Cifar10Dataset"),
}

"""Photographs: folders, lists and archives of them, the data sets made of them, and batches for the network.

``DATASETS`` names the data sets. To add one: write one file with a subclass of data.photograph_dataset.PhotographDataset and
add one line here; --dataset, its help and every script take it. Nothing here imports Paddle, so that ``--help`` can list the
names.
"""

import importlib
from typing import NamedTuple


class LazyDataset(NamedTuple):
    """A data set: the class ``name`` of ``module``, imported only when it is asked for.

    ``in_folder``: whether its photographs are files in a DataFolder, with lists beside them; these alone can be split and
    shown. That stands here and not in the class, which imports Paddle: splitting need not wait for it.
    """

    module: str
    name: str
    in_folder: bool = False

    def load(self) -> type:
        """The class itself."""
        return getattr(importlib.import_module(self.module), self.name)


DATASETS = {
    "folder": LazyDataset("animal_dataset", "AnimalDataset", in_folder=True),
    "cifar10": LazyDataset("data.cifar10", "Cifar10Dataset"),
}

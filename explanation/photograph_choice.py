"""The photographs to explain, their true classes, and their pixels as each network sees them."""

import functools
import os
import random
import sys
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

import numpy as np

from config import Config
from data import DATASETS
from data.data_folder import DataFolder
from data.lists import DataError
from data.photograph_formats import may_be_photograph
from messages.terminal import printable
from trained.trained_run import TrainedRun


class Photograph(NamedTuple):
    """A photograph: its name, the name of its class (None: not known), and a function that reads it.

    ``read(run)`` -> uint8 [3, image_size, image_size] as evaluation shows it to the network of ``runs[run]``; raises DataError.
    """

    name: str
    true_class: Optional[str]
    read: Callable[[int], np.ndarray]


def validation_photographs(config: Config, runs: list[TrainedRun]) -> list[Photograph]:
    """--sample photographs of the validation list, drawn with --seed.

    Raises DataError where the list cannot be read, CheckpointError where a run was validated on another list.
    """
    datasets = [run.open_validation_set(config.data, config.follow_links, runs[0].settings.dataset) for run in runs]
    for run, dataset in zip(runs, datasets):
        run.check_val_list(dataset, asked_for="data" in config.given)
    first = datasets[0]
    drawn = _draw(range(len(first)), config.sample, config.seed)
    print(f"{len(drawn)} of {len(first)} photographs of {printable(first.source)}")

    def read(index, run):
        return datasets[run][index][0]

    return [
        Photograph(first.samples[index].name, first.classes[first.samples[index].label], functools.partial(read, index))
        for index in drawn
    ]


def given_photographs(config: Config, runs: list[TrainedRun]) -> list[Photograph]:
    """The files that --images names, and those in its folders at any depth; at most --sample of them, drawn with --seed."""
    paths = [path for given in config.images or () for path in photographs_in(Path(given))]
    drawn = _draw(paths, config.sample, config.seed)
    if len(drawn) < len(paths):
        print(f"{len(drawn)} of {len(paths)} photographs, drawn at random: --sample takes more")
    names = {name for run in runs for name in run.classes}
    known = true_classes(config.data, runs[0].settings.dataset, names, config.follow_links)

    def read(path, run):
        return runs[run].read_photograph(path)

    return [Photograph(str(path), known(path), functools.partial(read, path)) for path in drawn]


def photographs_in(given: Path) -> list[Path]:
    """The photographs in the folder ``given``, at any depth, sorted, or ``given`` itself where it is a file or holds none.

    Links are followed, because the user named this folder; it is not part of a data set from elsewhere.
    """
    found = DataFolder(given, follow_links=True).files_below(given) if given.is_dir() else ()
    inside = [Path(path) for path, problem in found if problem is None]
    return sorted(path for path in inside if may_be_photograph(path)) or [given]


def true_classes(
    data: str, dataset: str, names: set[str], follow_links: bool = False
) -> Callable[[Union[str, Path]], Optional[str]]:
    """A function from a path to the name of its class: by the lists of the data folder ``data``, else by its class folders.

    It returns None for a photograph that is in no list and in no class folder named in ``names``. ``dataset``: the kind of
    ``data``, see data.DATASETS; data sets that are no folders, such as CIFAR-10, say nothing about files.
    """
    listed, root = {}, Path(data)
    try:
        if DATASETS[dataset].in_folder:
            folder = DataFolder.open(data, follow_links)
            root = folder.root  # also where its lists cannot be read: the class folders are below it
            listed = folder.class_of_paths()
    except DataError as error:
        print(f"note: true classes are taken from the folders' names alone: {printable(error)}", file=sys.stderr)

    def known(path):
        for form in (os.path.abspath, os.path.realpath):  # the path as given, then with symbolic links followed
            place, base = Path(form(path)), Path(form(root))
            if place != base and place.is_relative_to(base):
                inside = place.relative_to(base)
                return listed.get(inside.as_posix(), inside.parts[0] if inside.parts[0] in names else None)
        return None

    return known


def read_photographs(photographs: list[Photograph], runs: int) -> tuple[list[Photograph], list[np.ndarray]]:
    """(the N photographs that can be read, for each of ``runs`` networks their pixels, uint8 [N, 3, image_size, image_size]).

    Names the others on stderr; raises DataError where none can be read.
    """
    readable, pixels = [], []
    for photograph in photographs:
        try:
            pixels.append([photograph.read(run) for run in range(runs)])
            readable.append(photograph)
        except DataError as error:
            print(f"left out: {printable(error)}", file=sys.stderr)
    if not readable:
        raise DataError(f"none of {len(photographs)} photographs can be read: --images takes photographs and folders of them")
    return readable, [np.stack(images) for images in zip(*pixels)]


def _draw(items, count, seed):
    """At most ``count`` of the items, drawn with ``seed``, in their original order."""
    chosen = random.Random(seed).sample(range(len(items)), min(count, len(items)))
    return [items[index] for index in sorted(chosen)]

"""The photographs to explain, their true classes, and their pixels as each network sees them."""

import functools
import itertools
import os
import random
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

import numpy as np

from config import Config
from data import DATASETS
from data.data_folder import DataFolder
from data.data_source import DataSource
from data.given_photographs import photographs_in
from data.lists import DataError
from messages.quoting import named
from messages.terminal import print_line, printable
from trained.run_error import RunError
from trained.trained_run import TrainedRun

MAX_REASONS = 3  # that one line gives


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
    source = runs[0].source(config)
    datasets = [run.open_validation_set(source) for run in runs]
    for run, dataset in zip(runs, datasets):
        run.check_val_list(dataset, source, asked_for=run.are_lists_named(config))
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
    """The files that --images names, and those in its folders at any depth; at most --sample of them, drawn with --seed.

    Names folders without photographs on stderr; raises DataError where there is no photograph at all.
    """
    given = [Path(name) for name in config.images or ()]
    found = [photographs_in(path) for path in given]
    paths = list(itertools.chain.from_iterable(found))
    empty = [str(path) for path, inside in zip(given, found) if not inside]
    if not paths:
        raise DataError(f"images = {', '.join(map(named, empty))}: no photograph there or in folders below")
    for name in empty:
        print_line(f"left out: {printable(name)}: no photograph there or in folders below")
    drawn = _draw(paths, config.sample, config.seed)
    if len(drawn) < len(paths):
        print(f"{len(drawn)} of {len(paths)} photographs, drawn at random: --sample takes more")
    names = {name for run in runs for name in run.classes}
    try:
        known = true_classes(runs[0].source(config), names)
    except RunError as error:
        print_line(f"note: true classes are not known: {printable(error)}")
        known = _unknown

    def read(path, run):
        return runs[run].read_photograph(path)

    return [Photograph(str(path), known(path), functools.partial(read, path)) for path in drawn]


def _unknown(path):
    return None


def true_classes(source: DataSource, names: set[str]) -> Callable[[Union[str, Path]], Optional[str]]:
    """A function from a path to the name of its class: by the lists of the data folder ``source``, else by its class folders.

    It returns None for a photograph that is in no list and in no class folder named in ``names``; class folders may lie in
    other folders, as in a folder that is split already. Data sets that are no folders, such as CIFAR-10, say nothing about
    files.
    """
    listed, root = {}, Path(source.data)
    try:
        if DATASETS[source.dataset].in_folder:
            folder = DataFolder.of(source)
            root = folder.root  # also where its lists cannot be read: the class folders are below it
            listed = folder.class_of_paths()
    except DataError as error:
        print_line(f"note: true classes are taken from the folders' names alone: {printable(error)}")

    def known(path):
        for form in (os.path.abspath, os.path.realpath):  # the path as given, then with symbolic links followed
            place, base = Path(form(path)), Path(form(root))
            if place != base and place.is_relative_to(base):
                inside = place.relative_to(base)
                # the outermost: photographs belong to their class at any depth, so cat/dog/1.jpg is a cat
                class_folder = next((part for part in inside.parts[:-1] if part in names), None)
                return listed.get(inside.as_posix(), class_folder)
        return None

    return known


def read_photographs(photographs: list[Photograph], runs: int) -> tuple[list[Photograph], list[np.ndarray]]:
    """(the N photographs that can be read, for each of ``runs`` networks their pixels, uint8 [N, 3, image_size, image_size]).

    Names the others on stderr; raises DataError, with the reasons, where none can be read.
    """
    readable, pixels, problems = [], [], []
    for photograph in photographs:
        try:
            pixels.append([photograph.read(run) for run in range(runs)])
            readable.append(photograph)
        except DataError as error:
            problems.append(str(error))
    if not readable:
        more = f", and {len(problems) - MAX_REASONS} more" if len(problems) > MAX_REASONS else ""
        raise DataError(f"none of {len(photographs)} photographs can be read: {', '.join(problems[:MAX_REASONS])}{more}")
    for problem in problems:
        print_line(f"left out: {printable(problem)}")
    return readable, [np.stack(images) for images in zip(*pixels)]


def _draw(items, count, seed):
    """At most ``count`` of the items, drawn with ``seed``, in their original order."""
    chosen = random.Random(seed).sample(range(len(items)), min(count, len(items)))
    return [items[index] for index in sorted(chosen)]

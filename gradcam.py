"""Show where trained networks look: Grad-CAM heat maps over photographs, and the gates of Shuffle Attention."""

import functools
import os
import random
import sys
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from machine import ending
from config import Config, ConfigError, config_of_checkpoint, parse_config
from data import DATASETS
from data.data_folder import DataFolder
from data.lists import DataError
from data.photographs import SUFFIXES, PhotographError, read_crop
from messages.terminal import printable

BATCH = 16  # photographs that a network sees at once; the backward pass needs all their feature maps in memory


class TrainedRun(NamedTuple):
    """A run: its folder, what to call it, its best checkpoint, the header of that and the settings in the header."""

    folder: Path
    name: str
    checkpoint: Path
    header: dict
    settings: Config


class Photograph(NamedTuple):
    """What it is called, the name of its class (None: not known), and a function that reads it.

    ``read(run)`` -> uint8 [3, image_size, image_size], as evaluation shows it to the network of the run with that number;
    raises DataError.
    """

    name: str
    true_class: Optional[str]
    read: Callable


def main(config) -> int:
    return ending.run("gradcam", explain_photographs, config)


def explain_photographs(config) -> Path:
    """Draw the grid of heat maps, and the gates of every network with Shuffle Attention; returns the grid's file."""
    from explanation.pictures import draw_gradcam, draw_shuffle_gates
    from explanation.shuffle_gates import stage_gates
    from machine.device import select_device
    from ops import fused
    from trained.run_folder import create_run
    from trained.trained_run import load_classifier

    runs = trained_runs(config)
    config = config.inherit(runs[0].settings, ("data", "follow_links")).resolved()
    select_device(config.device)
    fused.set_mode(config.fused)
    photographs = given_photographs(config, runs) if config.images else validation_photographs(config, runs)
    photographs, pixels = read_photographs(photographs, len(runs))
    networks, gates = [], []
    for run, images in zip(runs, pixels):
        classifier = load_classifier(run.checkpoint, run.settings.net, **run.settings.network_options())
        explanations = explain(classifier, images, [photograph.true_class for photograph in photographs], run.header["classes"])
        networks.append((run.name, images.transpose(0, 2, 3, 1), explanations))  # [N, 3, H, W] -> [N, H, W, 3]
        gates.append(stage_gates(classifier, images, BATCH))
        print(_summary(run.name, explanations))
    if "picture" in config.given:
        picture = Path(config.picture)
    else:
        picture = (runs[0].folder if len(runs) == 1 else create_run(config.runs_dir, "gradcam")) / "gradcam.png"
    labels = [("/".join(Path(photograph.name).parts[-2:]), photograph.true_class) for photograph in photographs]
    draw_gradcam(labels, networks, picture)
    print(f"Grad-CAM: {printable(picture)}")
    for (name, images, _), stages in zip(networks, gates):
        if stages:
            ending = f"_{name.replace(' ', '_')}" if len(runs) > 1 else ""
            file = picture.with_name(f"{picture.stem}_attention{ending}.png")
            draw_shuffle_gates(images, stages, file, f"{name}: gates of Shuffle Attention")
            print(f"gates of Shuffle Attention: {printable(file)}")
    return picture


def trained_runs(config) -> list:
    """The runs that --run, --runs, --nets or --net name; raises ConfigError where two of them do."""
    from trained.checkpoint import CheckpointError, read_header
    from trained.run_folder import best_checkpoint, newest_finished_run

    named = [name for name in ("run", "runs", "nets") if name in config.given and getattr(config, name) is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} are both given: choose the networks with one of --net, --nets, --run, --runs")
    if config.run or config.runs:
        folders = [Path(run) for run in config.runs or (config.run,)]
    else:
        folders = [newest_finished_run(config.runs_dir, net) for net in (config.nets if named else (config.net,))]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"a run is there twice: {', '.join(map(str, folders))}")
    checkpoints = [best_checkpoint(folder) for folder in folders]
    headers = [read_header(checkpoint) for checkpoint in checkpoints]
    settings = [config_of_checkpoint(header, checkpoint) for header, checkpoint in zip(headers, checkpoints)]
    nets = [one.net for one in settings]
    if config.run and "net" in config.given and config.net != nets[0]:
        raise CheckpointError(f"{config.run} holds {nets[0]}, not {config.net}")
    names = [net if nets.count(net) == 1 else f"{net} {folder.resolve().name}" for net, folder in zip(nets, folders)]
    return [TrainedRun(*fields) for fields in zip(folders, names, checkpoints, headers, settings)]


def validation_photographs(config, runs) -> list:
    """--sample photographs of the validation list, drawn with --seed; raises where a run was validated on another list."""
    from data.data_sets import find_data, open_dataset
    from trained.trained_run import check_val_list

    kind = runs[0].settings.dataset
    data = find_data(kind, config.data)
    source = {"dataset": kind, "data": data, "train": False, "follow_links": config.follow_links}
    datasets = [open_dataset(**source, **run.settings.view_options()) for run in runs]
    for run, dataset in zip(runs, datasets):
        check_val_list(dataset, run.header, run.folder, asked_for="data" in config.given)
    first = datasets[0]
    drawn = _draw(range(len(first)), config.sample, config.seed)
    print(f"{len(drawn)} of {len(first)} photographs of {printable(first.source)}")

    def read(index, run):
        return datasets[run][index][0]

    return [
        Photograph(first.samples[index].name, first.classes[first.samples[index].label], functools.partial(read, index))
        for index in drawn
    ]


def given_photographs(config, runs) -> list:
    """The files that --images names, those of its folders at any depth, at most --sample of them, drawn with --seed."""
    from data.photograph_dataset import PhotographDataset

    paths = [path for given in config.images for path in photographs_in(Path(given))]
    drawn = _draw(paths, config.sample, config.seed)
    if len(drawn) < len(paths):
        print(f"{len(drawn)} of {len(paths)} photographs, drawn at random: --sample takes more")
    names = {name for run in runs for name in run.header["classes"]}
    known = true_classes(config.data, runs[0].settings.dataset, names, config.follow_links)
    views = [PhotographDataset(train=False, **run.settings.view_options()) for run in runs]

    def read(path, run):
        try:
            return views[run].show(functools.partial(read_crop, path), 0)
        except PhotographError as error:
            raise DataError(f"{path}: {error}") from None

    return [Photograph(str(path), known(path), functools.partial(read, path)) for path in drawn]


def photographs_in(given) -> list:
    """The photographs of the folder ``given``, at any depth, sorted, or ``given`` itself where it is a file or holds none.

    Links are followed: this is no data set that came from somewhere, but what the user points at.
    """
    found = DataFolder(given, follow_links=True).files_below(given) if given.is_dir() else ()
    inside = [Path(path) for path, problem in found if problem is None]
    return sorted(path for path in inside if path.suffix.lower() in SUFFIXES) or [given]


def true_classes(data, dataset, names, follow_links=False):
    """A function from a path to the name of its class: by the lists of the data folder ``data``, else by its class folders.

    The function returns None for a photograph that is in neither, or not in a folder of one of ``names``. ``dataset``: what
    ``data`` is, see data.DATASETS; photographs of CIFAR-10 are no files.
    """
    listed, root = {}, Path(data)
    try:
        if DATASETS[dataset].in_folder:
            folder = DataFolder.open(data, follow_links)
            root, listed = folder.root, folder.class_of_paths()
    except DataError as error:
        print(f"note: classes are known by their folders alone: {printable(error)}", file=sys.stderr)

    def known(path):
        for form in (os.path.abspath, os.path.realpath):  # as it is written, then with symbolic links followed
            place, base = Path(form(path)), Path(form(root))
            if place.is_relative_to(base):
                inside = place.relative_to(base)
                return listed.get(inside.as_posix(), inside.parts[0] if inside.parts[0] in names else None)
        return None

    return known


def read_photographs(photographs, runs):
    """(those that can be read, for each of ``runs`` networks uint8 [N, 3, image_size, image_size]).

    The others are named on stderr; raises DataError where none can be read.
    """
    import numpy as np

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


def explain(classifier, images, true_classes, classes) -> list:
    """The ``Explanation`` of every photograph: uint8 [N, 3, H, W], the names of their classes or None.

    ``classes``: the network's own names, in label order.
    """
    import numpy as np

    from explanation.class_activation import grad_cam
    from explanation.pictures import ClassMap, Explanation

    explanations = []
    labels = [classes.index(name) if name in classes else None for name in true_classes]
    for start in range(0, len(images), BATCH):
        batch, batch_labels = images[start : start + BATCH], labels[start : start + BATCH]
        heat, probabilities = grad_cam(classifier, batch)
        predicted = probabilities.argmax(axis=1)
        wrong = [i for i, label in enumerate(batch_labels) if label not in (None, predicted[i])]
        true_heat = {}
        if wrong:
            true_heat = dict(zip(wrong, grad_cam(classifier, batch[wrong], np.array([batch_labels[i] for i in wrong]))[0]))
        for i, label in enumerate(batch_labels):
            guess = ClassMap(heat[i], classes[predicted[i]], probabilities[i, predicted[i]])
            true = ClassMap(true_heat[i], classes[label], probabilities[i, label]) if i in true_heat else None
            explanations.append(Explanation(guess, None if label is None else bool(label == predicted[i]), true))
    return explanations


def _draw(items, count, seed):
    """At most ``count`` of the items, drawn with ``seed``, in the order they were in."""
    chosen = random.Random(seed).sample(range(len(items)), min(count, len(items)))
    return [items[index] for index in sorted(chosen)]


def _summary(name, explanations):
    judged = [explanation.right for explanation in explanations if explanation.right is not None]
    return f"{name}: {sum(judged)} of {len(judged)} predictions right" if judged else f"{name}: true classes unknown"


if __name__ == "__main__":
    ending.leave(main(parse_config()))

"""The work of gradcam.py: draw heat maps of trained networks over photographs, and the gates of Shuffle Attention."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np
import paddle

from config import Config, ConfigError, names_of
from explanation.photograph_choice import given_photographs, read_photographs, validation_photographs
from explanation.pictures import ClassMap, Explanation, draw_gradcam, draw_shuffle_gates
from explanation.shuffle_gates import stage_gates
from machine.device import select_device
from messages.terminal import printable
from networks.class_activation import grad_cam
from ops import fused
from trained.run_folder import create_run
from trained.trained_run import TrainedRun

BATCH = 16  # photographs in a batch; the backward pass keeps all their feature maps in memory


def explain_photographs(config: Config) -> Path:
    """Draw the grid of heat maps, and the gates of every network with Shuffle Attention; returns the grid's file.

    Raises a UserError where runs or photographs cannot be used.
    """
    runs = trained_runs(config)
    names = names_of_runs(runs)
    config = config.inherit(runs[0].settings, names_of(inherited_by="gradcam")).resolved()
    select_device(config.device)
    fused.set_mode(config.fused)
    photographs = given_photographs(config, runs) if config.images else validation_photographs(config, runs)
    photographs, pixels = read_photographs(photographs, len(runs))
    networks, gates = [], []
    for run, name, images in zip(runs, names, pixels):
        classifier = run.classifier()
        true_classes = [photograph.true_class for photograph in photographs]
        explanations = explain(classifier, images, true_classes, run.classes, run.temperature)
        run.check_answers(np.array([explanation.predicted.probability for explanation in explanations]))
        networks.append((name, images.transpose(0, 2, 3, 1), explanations))  # [N, 3, H, W] -> [N, H, W, 3]
        gates.append(stage_gates(classifier, images, BATCH))
        print(_summary(name, explanations))
    labels = [("/".join(Path(photograph.name).parts[-2:]), photograph.true_class) for photograph in photographs]
    with _picture_file(config, runs) as picture:
        draw_gradcam(labels, networks, picture)
    print(f"Grad-CAM: {printable(picture)}")
    for (name, images, _), stages in zip(networks, gates):
        if stages:
            ending = f"_{name.replace(' ', '_')}" if len(runs) > 1 else ""
            file = picture.with_name(f"{picture.stem}_attention{ending}.png")
            draw_shuffle_gates(images, stages, file, f"{name}: gates of Shuffle Attention")
            print(f"gates of Shuffle Attention: {printable(file)}")
    return picture


@contextlib.contextmanager
def _picture_file(config, runs):
    """The file of the grid; the folder that is made for it goes again where the grid cannot be written."""
    if "picture" in config.given or len(runs) == 1:
        yield Path(config.picture) if "picture" in config.given else runs[0].folder / "gradcam.png"
        return
    folder = create_run(config.runs_dir, "gradcam")
    try:
        yield folder / "gradcam.png"
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def trained_runs(config: Config) -> list[TrainedRun]:
    """The runs that --run, --runs, --nets or --net name; raises ConfigError where two of these are given or a run occurs twice,
    and what TrainedRun raises."""
    named = [name for name in ("run", "runs", "nets") if name in config.given and getattr(config, name) is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} are both given: choose the networks with one of --net, --nets, --run, --runs")
    if config.runs:
        runs = [TrainedRun.open(folder) for folder in config.runs]
    elif named == ["nets"]:
        runs = [TrainedRun.newest(config.runs_dir, net) for net in config.nets]
    else:
        runs = [TrainedRun.chosen(config)]
    folders = [run.folder for run in runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"a run is given twice: {', '.join(map(str, folders))}")
    return runs


def explain(
    classifier: paddle.nn.Layer,
    images: np.ndarray,
    true_classes: Sequence[Optional[str]],
    classes: list[str],
    temperature: float = 1.0,
) -> list[Explanation]:
    """The ``Explanation`` of every photograph of ``images``, uint8 [N, 3, H, W].

    ``true_classes``: N names, None where the class is not known; ``classes``: the network's own names, in label order;
    ``temperature``: of its probabilities.
    """
    explanations = []
    labels = [classes.index(name) if name in classes else None for name in true_classes]
    for start in range(0, len(images), BATCH):
        batch, batch_labels = images[start : start + BATCH], labels[start : start + BATCH]
        heat, probabilities = grad_cam(classifier, batch, temperature=temperature)
        predicted = probabilities.argmax(axis=1).tolist()
        wrong = {i: label for i, label in enumerate(batch_labels) if label is not None and label != predicted[i]}
        true_maps = {}
        if wrong:
            true_heat, _ = grad_cam(classifier, batch[list(wrong)], list(wrong.values()))
            for true_map, (i, true_label) in zip(true_heat, wrong.items()):
                true_maps[i] = ClassMap(true_map, classes[true_label], float(probabilities[i, true_label]))
        for i, label in enumerate(batch_labels):
            guess = ClassMap(heat[i], classes[predicted[i]], float(probabilities[i, predicted[i]]))
            right = None if label is None else label == predicted[i]
            explanations.append(Explanation(guess, right, true_maps.get(i)))
    return explanations


def names_of_runs(runs: Sequence[TrainedRun]) -> list[str]:
    """The names of networks side by side: with the number of the run only where several runs are of one network."""
    nets = [run.net for run in runs]
    return [run.net if nets.count(run.net) == 1 else run.name for run in runs]


def _summary(name, explanations):
    judged = [explanation.right for explanation in explanations if explanation.right is not None]
    return f"{name}: {sum(judged)} of {len(judged)} predictions right" if judged else f"{name}: true classes unknown"

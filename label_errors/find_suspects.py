"""The work of suspects.py: out-of-fold predictions of all photographs, and the labels that they contest."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config, names_of
from data.lists import DataError
from data.photograph_dataset import PhotographDataset
from evaluation.confident_learning import LabelErrors, find_label_errors
from evaluation.evaluate_run import answers_on
from label_errors.fold_runs import FoldRuns, chosen_runs
from machine.device import select_device
from machine.temporary_folder import share_what_cannot_be_cached
from machine.whole_file import write_csv
from messages.terminal import printable
from ops import fused
from plots.photograph_page import MAX_SHOWN, Figure, write_photograph_page
from trained.calibration import probabilities_of
from trained.run_folder import new_folder
from trained.trained_run import TrainedRun

SHOWN = 10  # suspects on the terminal


class OutOfFold(NamedTuple):
    """The answers for all photographs: their ``names`` and files ``paths``, ``labels`` [N], ``probabilities`` [N, C], ``folds``
    [N], of networks that did not see them in training; ``classes``: names in label order."""

    names: list[str]
    paths: list[Path]
    labels: np.ndarray
    probabilities: np.ndarray
    folds: np.ndarray
    classes: list[str]


def find_suspects(config: Config) -> Path:
    """Write suspects.csv, out_of_fold.csv and index.html into the next free ``runs_dir/suspects/NNN``, and return it.

    Nothing of the user's data is changed. Raises a UserError where runs or photographs cannot be used.
    """
    chosen = chosen_runs(config)
    share_what_cannot_be_cached()
    first = TrainedRun.open(next(iter(chosen.runs.values()))[0])
    config = config.inherit(first.settings, names_of(inherited_by="suspects")).resolved()
    select_device(config.device)
    fused.set_mode(config.fused)
    answers = predict_out_of_fold(chosen, config)
    errors = find_label_errors(answers.labels, answers.probabilities)
    with new_folder(config.runs_dir, "suspects") as folder:
        _write_tables(folder, answers, errors)
        _write_page(folder / "index.html", answers, errors)
    _report(folder, answers, errors)
    return folder


def predict_out_of_fold(chosen: FoldRuns, config: Config) -> OutOfFold:
    """The answers of each run for the validation list of its fold; of several runs on a fold their mean.

    ``config``: resolved. Raises DataError, CheckpointError where the photographs are not those of the runs.
    """
    names, paths, labels, probabilities, folds = [], [], [], [], []
    classes: list[str] = []
    for fold, runs in chosen.runs.items():
        source, of_runs = chosen.source._replace(fold=fold), []
        for place in runs:
            run = TrainedRun.open(place)
            dataset = run.open_validation_set(source)
            classes = classes or list(run.classes)
            if classes != list(run.classes):
                raise DataError(f"{place} was trained on other classes than the runs of other folds: train again")
            run.check_classes(dataset)
            run.check_val_list(dataset, source, asked_for=False)
            print(f"fold {fold}: {len(dataset):,} photographs by {printable(place)}", flush=True)
            of_runs.append(_probabilities(run, dataset, config))
        names += [sample.name for sample in dataset.samples]
        paths += [dataset.folder.root / sample.name for sample in dataset.samples]
        labels += [sample.label for sample in dataset.samples]
        probabilities.append(np.mean(of_runs, axis=0))
        folds += [fold] * len(dataset)
    return OutOfFold(names, paths, np.array(labels), np.concatenate(probabilities), np.array(folds), classes)


def _probabilities(run: TrainedRun, dataset: PhotographDataset, config: Config) -> np.ndarray:
    answers = answers_on(run, dataset, config)
    return probabilities_of(answers.logits, run.temperature)


def _write_tables(folder: Path, answers: OutOfFold, errors: LabelErrors) -> None:
    classes, chances = answers.classes, answers.probabilities
    guesses = chances.argmax(axis=1)
    write_csv(
        folder / "out_of_fold.csv",
        ["path", "label", "prediction", "confidence", "fold"],
        (
            [name, classes[label], classes[guess], f"{chance[guess]:.6f}", int(fold)]
            for name, label, guess, chance, fold in zip(answers.names, answers.labels, guesses, chances, answers.folds)
        ),
    )
    write_csv(
        folder / "suspects.csv",
        ["path", "label", "suggested", "probability", "score", "fold", "suspect"],
        (
            [
                answers.names[index],
                classes[answers.labels[index]],
                classes[errors.suggested[index]],
                f"{chances[index, errors.suggested[index]]:.6f}",
                f"{errors.score[index]:.6f}",
                int(answers.folds[index]),
                "yes" if errors.contested[index] else "no",
            ]
            for index in errors.order
        ),
    )


def _write_page(page: Path, answers: OutOfFold, errors: LabelErrors) -> None:
    suspects = _suspects(errors)
    shown = suspects[:MAX_SHOWN]
    figures = [Figure(answers.names[index], _lines(answers, errors, index), answers.paths[index]) for index in shown]
    text = f"{_found(answers, errors)} The worst come first"
    text += f"; the first {len(shown):,} are shown." if len(shown) < len(suspects) else "."
    write_photograph_page(
        page, figures, "Doubtful labels", f"{text} Nothing was changed: whether a label is wrong is yours to say."
    )


def _suspects(errors):
    return errors.order[errors.contested[errors.order]]


def _lines(answers, errors, index):
    chances, label, other = answers.probabilities[index], answers.labels[index], errors.suggested[index]
    return [
        f"label: {answers.classes[label]} ({chances[label]:.0%})",
        f"networks say: {answers.classes[other]} ({chances[other]:.0%})",
    ]


def _found(answers, errors):
    count, total = int(errors.contested.sum()), len(answers.names)
    accuracy = float((answers.probabilities.argmax(axis=1) == answers.labels).mean())
    return (
        f"{count:,} of {total:,} photographs have a label that the network of another fold contests. The confident joint "
        f"expects {round(errors.expected):,} wrong labels, which counts the networks' own mistakes too: their accuracy is "
        f"{accuracy:.1%}."
    )


def _report(folder, answers, errors):
    print(_found(answers, errors))
    for index in _suspects(errors)[:SHOWN]:
        print(f"  {printable(answers.names[index])}: {'; '.join(map(printable, _lines(answers, errors, index)))}")
    print(f"all photographs, the worst first: {printable(folder / 'suspects.csv')}")
    print(f"out-of-fold predictions: {printable(folder / 'out_of_fold.csv')}")
    print(f"page to look at them: {printable(folder / 'index.html')}")

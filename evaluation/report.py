"""The files of an evaluation, in ``eval/`` or ``eval_test/``: metrics.json, confusion_matrix.png and .csv, reliability.png,
predictions.csv, and strangers.csv if strangers were shown."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from data.class_balance import is_unbalanced
from data.photograph_dataset import PhotographDataset
from data.photograph_record import same_as_far_as_known
from evaluation.confidence import Calibration, draw_calibration
from evaluation.scores import balanced_accuracy, confusion_matrix, macro_f1, per_class, top_k_accuracy, wilson_interval
from evaluation.strangers import FILE as STRANGERS_FILE
from evaluation.strangers import Strangers, outcome_of, write_strangers
from machine.whole_file import remove_unfinished, write_csv, write_json
from messages.reason import reason_of
from messages.user_error import UserError
from plots.confusion import draw_confusion
from settings.format_number import FormatError
from trained.calibration import confidences_of, is_temperature
from trained.csv_file import check_cell, read_rows
from trained.json_file import read_values
from trained.result import read_result
from trained.rules import is_count, is_digest, is_flag, is_number, is_pair_of_shares, is_share, is_text
from trained.run_folder import folder_in

FORMAT = 2
"""Of metrics.json. 1: without a number; 2: with ``format``."""
FOLDERS = {"val": "eval", "test": "eval_test"}
"""The folder in the run, by the side that was evaluated: a reader from before there was a test list finds that of "val"."""
PICTURES = ("confusion_matrix.png", "reliability.png")
MAX_BYTES = 2**31  # of predictions.csv: ten million photographs
RULES: dict[str, Callable[[Any], bool]] = {
    "loss": is_number,
    "acc": is_share,
    "acc_interval": is_pair_of_shares,
    "acc_top5": is_share,
    "temperature": is_temperature,
    "calibration_error": is_share,
    "calibration_error_after": is_share,
    "calibration_error_by_chance": is_share,
    "cross_fitted": is_flag,
    "photographs": is_count,
    "list": is_text,
    "list_sha256": is_digest,
    "photographs_sha256": is_digest,
    "epoch": is_count,
    "same_list_as_in_training": is_flag,
}
"""The entries of metrics.json that are read back. A new one is one line here; readers use ``get``, as older files lack it."""
ROUNDING = 1e-6  # of an accuracy in float32
NEEDED_METRICS = ("loss", "acc", "epoch", "same_list_as_in_training")  # files of every format have them


class EvaluationError(UserError):
    """An evaluation cannot be read, or two are not of the same photographs."""


def write_evaluation(
    run: Path,
    dataset: PhotographDataset,
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    calibration: Calibration,
    strangers: Optional[Strangers] = None,
    split: str,
    loss: float,
    acc: float,
    net: str,
    epoch: int,
    same_list: bool,
) -> tuple[Path, dict[str, Any]]:
    """Write the folder of an evaluation, see FOLDERS, and return it with the content of metrics.json; raises OSError.

    ``logits``: [N, C], ``labels``: [N], in the order of ``dataset.samples``; ``calibration``: of these; the confidences in
    predictions.csv are those of the run's temperature. ``split``: the side that ``dataset`` is; ``epoch``: of the evaluated
    weights; ``same_list``: whether the run was validated on this list during training, or, for the test list, trained and
    validated on the lists beside it. metrics.json holds loss, acc and its 95% interval, balanced_acc, macro_f1, acc_top5 (with
    more than five classes), what Calibration.entries and ``outcome_of`` tell, per_class (precision, recall, f1, support), the
    list, its SHA-256 and the epoch. It is removed first and written after the tables, so that it exists only beside tables of
    the same evaluation; the pictures come last, because of many classes they take longest. The caller keeps other processes
    out: see evaluation_lock.
    """
    classes = dataset.classes
    predictions = logits.argmax(axis=1)
    confidences = confidences_of(logits, calibration.temperature or 1.0)
    matrix = confusion_matrix(labels, predictions, len(classes))
    figures = per_class(matrix, classes)
    balanced = balanced_accuracy(predictions == labels, labels)
    metrics: dict[str, Any] = {"format": FORMAT, "loss": loss, "acc": acc}
    metrics["acc_interval"] = list(wilson_interval(int((predictions == labels).sum()), len(labels)))
    metrics.update(balanced_acc=balanced, macro_f1=macro_f1(figures))
    if len(classes) > 5:
        metrics["acc_top5"] = top_k_accuracy(logits, labels, 5)
    metrics.update(calibration.entries())
    if strangers:
        metrics["strangers"] = outcome_of(strangers, confidences)
    metrics.update(per_class=figures, photographs=len(labels), split=split, list=dataset.source, list_sha256=dataset.digest())
    if (digest := dataset.photographs_digest()) is not None:
        metrics["photographs_sha256"] = digest
    metrics.update(epoch=epoch, same_list_as_in_training=same_list)
    folder = folder_in(run, FOLDERS[split])
    for name in ("metrics.json", STRANGERS_FILE, *PICTURES):
        (folder / name).unlink(missing_ok=True)
    remove_unfinished(folder)  # of an evaluation that was killed
    write_csv(folder / "confusion_matrix.csv", ["true class", *classes], ([n, *r.tolist()] for n, r in zip(classes, matrix)))
    rows = (
        (sample.name, classes[label], classes[guess], f"{confidence:.6f}")
        for sample, label, guess, confidence in zip(dataset.samples, labels, predictions, confidences)
    )
    write_csv(folder / "predictions.csv", ["path", "label", "prediction", "confidence"], rows)
    beside = f", balanced accuracy {balanced:.4f}" if is_unbalanced(matrix.sum(axis=1).tolist()) else ""
    kind = "test photographs" if split == "test" else "photographs"
    title = f"{net}: accuracy {acc:.4f}{beside} on {len(labels)} {kind}"
    if strangers:
        write_strangers(folder, strangers)
    write_json(folder / "metrics.json", metrics)
    draw_confusion(matrix, classes, folder / PICTURES[0], title)
    draw_calibration(calibration, folder / PICTURES[1], f"{net}: confidence on {len(labels)} {kind}")
    return folder, metrics


def read_metrics(run: Path, split: str = "val") -> dict[str, Any]:
    """The entries of a run's metrics.json for ``split`` that RULES names; all but NEEDED_METRICS may be missing.

    Raises EvaluationError where the file or a value cannot be used, FormatError where a newer version of the toolkit wrote it.
    """
    path = Path(run) / FOLDERS[split] / "metrics.json"
    try:
        metrics, faults = read_values(path, RULES, FORMAT)
    except FormatError:
        raise
    except (OSError, ValueError) as error:
        reason = reason_of(error, path)
        raise EvaluationError(f"{path} cannot be read: {reason}; {_command(run, split)} writes it anew") from None
    if faults:
        raise EvaluationError(f"{path} has {faults[0]}, which no evaluation writes; {_command(run, split)} writes it anew")
    missing = [name for name in NEEDED_METRICS if name not in metrics]
    if missing:
        raise EvaluationError(f"{path} has no {' and no '.join(missing)}: {_command(run, split)} writes it anew")
    return metrics


class Predictions(NamedTuple):
    """Of an evaluation: ``paths`` of the photographs, ``labels``, names of their classes, ``correct``, bool [photographs].

    ``guesses``: names of the classes that the network says; ``confidences``: float [photographs], its probabilities of them,
    NaN where an older version did not write them.
    """

    paths: list[str]
    labels: list[str]
    correct: np.ndarray
    guesses: list[str]
    confidences: np.ndarray


def read_predictions(run: Path, split: str = "val") -> Predictions:
    """The predictions.csv of a run's evaluation on ``split``. Raises EvaluationError."""
    path = Path(run) / FOLDERS[split] / "predictions.csv"
    paths, labels, guesses, confidences = [], [], [], []
    try:
        for line, row in read_rows(path, ("path", "label", "prediction"), MAX_BYTES):
            for column in ("path", "label", "prediction"):
                check_cell(bool(row[column].strip()), line, column, row[column], "a name")
            confidence = row.get("confidence", "nan")
            check_cell("confidence" not in row or _is_share(confidence), line, "confidence", confidence, "a number from 0 to 1")
            paths.append(row["path"])
            labels.append(sys.intern(row["label"]))
            guesses.append(sys.intern(row["prediction"]))
            confidences.append(float(confidence))
        if not paths:
            raise ValueError("it names no photographs")
    except (OSError, ValueError, csv.Error) as error:
        reason = reason_of(error, path)
        raise EvaluationError(f"{path} cannot be read: {reason}; {_command(run, split)} writes it anew") from None
    correct = np.array([guess == label for guess, label in zip(guesses, labels)])
    return Predictions(paths, labels, correct, guesses, np.array(confidences))


def _is_share(text):
    try:
        return is_share(float(text))
    except ValueError:
        return False


def read_evaluation(run: Path, split: str = "val") -> tuple[dict[str, Any], Predictions]:
    """What ``read_metrics`` and ``read_predictions`` return; raises as they do, and EvaluationError where they disagree."""
    metrics, predictions = read_metrics(run, split), read_predictions(run, split)
    found, place = float(predictions.correct.mean()), Path(run) / FOLDERS[split]
    if abs(metrics["acc"] - found) > ROUNDING:
        raise EvaluationError(
            f"{place / 'metrics.json'} has acc = {metrics['acc']:g}, and predictions.csv beside it comes to {found:g}: "
            f"{_command(run, split)} writes both anew"
        )
    count = metrics.get("photographs", len(predictions.paths))
    if count != len(predictions.paths):
        raise EvaluationError(
            f"{place / 'metrics.json'} has {count:,} photographs, predictions.csv beside it {len(predictions.paths):,}: "
            f"{_command(run, split)} writes both anew"
        )
    return metrics, predictions


def is_evaluated(
    run: Path, split: str = "val", list_sha256: Optional[str] = None, photographs_sha256: Optional[str] = None
) -> bool:
    """Whether ``run`` has an evaluation of its best epoch on its own list of ``split``; raises FormatError.

    ``list_sha256``, ``photographs_sha256``: of the list, and of its photographs, as they are now, if known; then an evaluation
    on others does not count.
    """
    best = read_result(run).get("best")
    try:
        metrics, _ = read_evaluation(run, split)
    except EvaluationError:
        return False
    same_list = metrics["same_list_as_in_training"] and list_sha256 in (None, metrics.get("list_sha256"))
    same_list = same_list and same_as_far_as_known(photographs_sha256, metrics.get("photographs_sha256"))
    return same_list and best is not None and metrics["epoch"] == best["epoch"]


def read_correct(runs: Sequence[Path], split: str = "val") -> tuple[list[str], list[str], np.ndarray]:
    """What each run classified correctly, from predictions.csv.

    (paths of the photographs, names of their classes, bool [runs, photographs]). Raises EvaluationError unless all runs were
    evaluated on the same photographs in the same order, with the same classes.
    """
    found = [read_predictions(run, split) for run in runs]
    for run, own in zip(runs, found):
        if (own.paths, own.labels) != (found[0].paths, found[0].labels):
            path = Path(run) / FOLDERS[split] / "predictions.csv"
            raise EvaluationError(
                f"{path} has other photographs than {runs[0]}, or in another order, or of other classes: evaluate both again"
            )
    return found[0].paths, found[0].labels, np.array([own.correct for own in found])


def _command(run, split):
    return f"eval.py --run {run}" + (f" --split {split}" if split != "val" else "")

"""The files of an evaluation, in ``eval/`` or ``eval_test/``: metrics.json, confusion_matrix.png and .csv, reliability.png,
predictions.csv, and strangers.csv if strangers were shown."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from data.class_balance import is_unbalanced
from data.photograph_dataset import PhotographDataset
from data.photograph_record import same_as_far_as_known
from evaluation.confidence import Calibration, draw_calibration
from evaluation.scores import balanced_accuracy, confusion_matrix, macro_f1, per_class, top_k_accuracy, wilson_interval
from evaluation.strangers import FILE as STRANGERS_FILE
from evaluation.strangers import Strangers, outcome_of, write_strangers
from machine.regular_file import open_regular
from machine.whole_file import remove_unfinished, write_csv, write_text
from messages.reason import reason_of
from messages.user_error import UserError
from plots.figures import draw_confusion_matrix
from settings.format_number import FormatError
from trained.calibration import confidences_of, is_temperature
from trained.json_file import read_values
from trained.result import read_result
from trained.rules import is_count, is_dict, is_digest, is_flag, is_number, is_pair_of_shares, is_positive_or_zero, is_text

FORMAT = 2
"""Of metrics.json. 1: without a number; 2: with ``format``."""
FOLDERS = {"val": "eval", "test": "eval_test"}
"""The folder in the run, by the side that was evaluated: a reader from before there was a test list finds that of "val"."""
MAX_BYTES = 2**31  # of predictions.csv: ten million photographs
RULES: dict[str, Callable[[Any], bool]] = {
    "loss": is_number,
    "acc": is_number,
    "acc_interval": is_pair_of_shares,
    "acc_top5": is_number,
    "temperature": is_temperature,
    "calibration_error": is_positive_or_zero,
    "calibration_error_after": is_positive_or_zero,
    "calibration_error_by_chance": is_positive_or_zero,
    "cross_fitted": is_flag,
    "strangers": is_dict,
    "photographs": is_count,
    "list": is_text,
    "list_sha256": is_digest,
    "photographs_sha256": is_digest,
    "epoch": is_count,
    "same_list_as_in_training": is_flag,
}
"""The entries of metrics.json that are read back. A new one is one line here; readers use ``get``, as older files lack it."""
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
    list, its SHA-256 and the epoch. It is removed first and written last, so that it exists only beside files of the same
    evaluation. The caller keeps other processes out: see evaluation_lock.
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
    metrics.update(photographs_sha256=dataset.photographs_digest(), epoch=epoch, same_list_as_in_training=same_list)
    folder = run / FOLDERS[split]
    folder.mkdir(exist_ok=True)
    for name in ("metrics.json", STRANGERS_FILE):
        (folder / name).unlink(missing_ok=True)
    remove_unfinished(folder)  # of an evaluation that was killed
    write_csv(folder / "confusion_matrix.csv", ["true class", *classes], ([n, *r] for n, r in zip(classes, matrix.tolist())))
    rows = (
        (sample.name, classes[label], classes[guess], f"{confidence:.6f}")
        for sample, label, guess, confidence in zip(dataset.samples, labels, predictions, confidences)
    )
    write_csv(folder / "predictions.csv", ["path", "label", "prediction", "confidence"], rows)
    beside = f", balanced accuracy {balanced:.4f}" if is_unbalanced(matrix.sum(axis=1).tolist()) else ""
    kind = "test photographs" if split == "test" else "photographs"
    title = f"{net}: accuracy {acc:.4f}{beside} on {len(labels)} {kind}"
    draw_confusion_matrix(matrix, classes, folder / "confusion_matrix.png", title)
    draw_calibration(calibration, folder / "reliability.png", f"{net}: confidence on {len(labels)} {kind}")
    if strangers:
        write_strangers(folder, strangers)
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    return folder, metrics


def read_metrics(run: Path, split: str = "val") -> dict[str, Any]:
    """The entries of a run's metrics.json for ``split`` that RULES names; all but NEEDED_METRICS may be missing.

    Raises EvaluationError where the file cannot be used, FormatError where a newer version of the toolkit wrote it.
    """
    path = Path(run) / FOLDERS[split] / "metrics.json"
    try:
        metrics = read_values(path, RULES, FORMAT)
    except FormatError:
        raise
    except (OSError, ValueError) as error:
        reason = reason_of(error, path)
        raise EvaluationError(f"{path} cannot be read: {reason}; {_command(run, split)} writes it anew") from None
    missing = [name for name in NEEDED_METRICS if name not in metrics]
    if missing:
        raise EvaluationError(f"{path} has no usable {' and no usable '.join(missing)}: {_command(run, split)} writes it anew")
    return metrics


def is_evaluated(
    run: Path, split: str = "val", list_sha256: Optional[str] = None, photographs_sha256: Optional[str] = None
) -> bool:
    """Whether ``run`` has an evaluation of its best epoch on its own list of ``split``; raises FormatError.

    ``list_sha256``, ``photographs_sha256``: of the list, and of its photographs, as they are now, if known; then an evaluation
    on others does not count.
    """
    best = read_result(run).get("best")
    try:
        metrics = read_metrics(run, split)
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
    paths: list[str] = []
    labels: list[str] = []
    correct: list[list[bool]] = []
    for run in runs:
        path = Path(run) / FOLDERS[split] / "predictions.csv"
        try:
            with open_regular(path, MAX_BYTES) as file:
                rows = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")))
            if rows and not {"path", "label", "prediction"} <= rows[0].keys():
                raise ValueError("it has no columns path, label and prediction")
            own, own_labels = [row["path"] for row in rows], [row["label"] for row in rows]
            correct.append([row["label"] == row["prediction"] for row in rows])
        except (OSError, ValueError, csv.Error) as error:
            reason = reason_of(error, path)
            raise EvaluationError(f"{path} cannot be read: {reason}; {_command(run, split)} writes it anew") from None
        if len(correct) > 1 and (paths, labels) != (own, own_labels):
            raise EvaluationError(
                f"{path} has other photographs than {runs[0]}, or in another order, or of other classes: evaluate both again"
            )
        paths, labels = own, own_labels
    return paths, labels, np.array(correct)


def _command(run, split):
    return f"eval.py --run {run}" + (f" --split {split}" if split != "val" else "")

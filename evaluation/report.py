"""The files of an evaluation in ``eval/``: metrics.json, confusion_matrix.png and .csv, predictions.csv."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np

from data.photograph_dataset import PhotographDataset
from evaluation.scores import confusion_matrix, per_class, top_k_accuracy
from machine.regular_file import open_regular
from machine.whole_file import write_csv, write_text
from messages.reason import reason_of
from messages.user_error import UserError
from plots.figures import draw_confusion_matrix
from settings.format_number import FormatError
from trained.json_file import read_values
from trained.result import read_result
from trained.rules import is_count, is_flag, is_number

FORMAT = 2
"""Of metrics.json. 1: without a number; 2: with ``format``."""
MAX_BYTES = 2**31  # of predictions.csv: ten million photographs
RULES: dict[str, Callable[[Any], bool]] = {
    "loss": is_number,
    "acc": is_number,
    "acc_top5": is_number,
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
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    loss: float,
    acc: float,
    net: str,
    epoch: int,
    same_list: bool,
) -> Path:
    """Write the folder ``run/eval`` and return it; raises OSError.

    ``probabilities``: [N, C], ``labels``: [N], in the order of ``dataset.samples``; ``epoch``: of the evaluated weights;
    ``same_list``: whether the run was validated on this list during training. metrics.json holds loss, acc, acc_top5 (with more
    than five classes), per_class (precision, recall, f1, support), the list and the epoch. It is removed first and written
    last, so that it exists only beside files of the same evaluation.
    """
    classes = dataset.classes
    predictions = probabilities.argmax(axis=1)
    matrix = confusion_matrix(labels, predictions, len(classes))
    metrics: dict[str, Any] = {"format": FORMAT, "loss": loss, "acc": acc}
    if len(classes) > 5:
        metrics["acc_top5"] = top_k_accuracy(probabilities, labels, 5)
    metrics.update(per_class=per_class(matrix, classes), photographs=len(labels), list=dataset.source)
    metrics.update(epoch=epoch, same_list_as_in_training=same_list)
    folder = run / "eval"
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").unlink(missing_ok=True)
    write_csv(folder / "confusion_matrix.csv", ["true class", *classes], ([n, *r] for n, r in zip(classes, matrix.tolist())))
    rows = (
        (sample.name, classes[label], classes[guess], f"{float(row[guess]):.6f}")
        for sample, label, guess, row in zip(dataset.samples, labels, predictions, probabilities)
    )
    write_csv(folder / "predictions.csv", ["path", "label", "prediction", "confidence"], rows)
    title = f"{net}: accuracy {acc:.4f} on {len(labels)} photographs"
    draw_confusion_matrix(matrix, classes, folder / "confusion_matrix.png", title)
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    return folder


def read_metrics(run: Path) -> dict[str, Any]:
    """The entries of ``run/eval/metrics.json`` that RULES names; "acc_top5" may be missing.

    Raises EvaluationError where the file cannot be used, FormatError where a newer version of the toolkit wrote it.
    """
    path = Path(run) / "eval" / "metrics.json"
    try:
        metrics = read_values(path, RULES, FORMAT)
    except FormatError:
        raise
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {reason_of(error, path)}; eval.py --run {run} writes it anew") from None
    missing = [name for name in NEEDED_METRICS if name not in metrics]
    if missing:
        raise EvaluationError(f"{path} has no usable {' and no usable '.join(missing)}: eval.py --run {run} writes it anew")
    return metrics


def is_evaluated(run: Path) -> bool:
    """Whether ``run`` has an evaluation of its best epoch on its own validation list; raises FormatError."""
    best = read_result(run).get("best")
    try:
        metrics = read_metrics(run)
    except EvaluationError:
        return False
    return metrics["same_list_as_in_training"] and best is not None and metrics["epoch"] == best["epoch"]


def read_correct(runs: Sequence[Path]) -> tuple[list[str], np.ndarray]:
    """(paths of the photographs, bool [runs, photographs]: which ones each run classified correctly), from predictions.csv.

    Raises EvaluationError unless all runs were evaluated on the same photographs in the same order.
    """
    paths: list[str] = []
    correct: list[list[bool]] = []
    for run in runs:
        path = Path(run) / "eval" / "predictions.csv"
        try:
            with open_regular(path, MAX_BYTES) as file:
                rows = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")))
            if rows and not {"path", "label", "prediction"} <= rows[0].keys():
                raise ValueError("it has no columns path, label and prediction")
            own = [row["path"] for row in rows]
            correct.append([row["label"] == row["prediction"] for row in rows])
        except (OSError, ValueError, csv.Error) as error:
            raise EvaluationError(
                f"{path} cannot be read: {reason_of(error, path)}; eval.py --run {run} writes it anew"
            ) from None
        if len(correct) > 1 and paths != own:
            raise EvaluationError(f"{path} has other photographs than {runs[0]}, or in another order: evaluate both again")
        paths = own
    return paths, np.array(correct)

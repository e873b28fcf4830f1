"""Figures of an evaluation, worked out by hand."""

import json
import os

import numpy as np
import pytest

from evaluation.report import EvaluationError, is_evaluated, read_correct, read_metrics
from evaluation.scores import confusion_matrix, per_class, top_k_accuracy
from settings.format_number import FormatError
from trained.result import write_result


def test_confusion_matrix_and_per_class_figures():
    matrix = confusion_matrix([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 1], 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    figures = per_class(matrix, ["ant", "bee", "cat", "dog"])
    assert figures["ant"] == {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    assert figures["bee"] == {"precision": 1 / 3, "recall": 0.5, "f1": 0.4, "support": 2}
    assert figures["cat"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert figures["dog"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_top_k_accuracy():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    labels = [1, 2, 2]
    assert top_k_accuracy(probabilities, labels, 1) == 1 / 3
    assert top_k_accuracy(probabilities, labels, 2) == 2 / 3
    assert top_k_accuracy(probabilities, labels, 3) == 1.0


METRICS = {"format": 2, "loss": 0.5, "acc": 0.75, "epoch": 2, "same_list_as_in_training": True, "later": "x"}


@pytest.fixture
def run(tmp_path):
    """The folder of a run whose best epoch is the second."""
    (tmp_path / "eval").mkdir()
    write_result(tmp_path, {"status": "finished", "best": {"epoch": 2, "val_acc": 0.75, "val_loss": 0.5}})
    return tmp_path


def write(run, metrics):
    (run / "eval" / "metrics.json").write_text(json.dumps(metrics))


def test_metrics_come_back(run):
    assert not is_evaluated(run)
    write(run, METRICS)
    used = {key: value for key, value in METRICS.items() if key not in ("format", "later")}
    assert read_metrics(run) == used
    assert is_evaluated(run)
    write(run, {**METRICS, "acc_top5": 0.9})
    assert read_metrics(run) == {**used, "acc_top5": 0.9}
    for other in ({"epoch": 1}, {"same_list_as_in_training": False}):
        write(run, {**METRICS, **other})
        assert not is_evaluated(run)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"acc": "0.75"}, "no usable acc"), ({"loss": None}, "no usable loss"), ({"epoch": 1.5}, "no usable epoch"),
     ({"same_list_as_in_training": 1}, "no usable same_list_as_in_training")],
)  # fmt: skip
def test_metrics_of_a_wrong_type_are_named_and_count_as_no_evaluation(run, changes, complaint):
    write(run, {**METRICS, **changes})
    with pytest.raises(EvaluationError, match=rf"metrics\.json has {complaint}: eval\.py --run .* writes it anew"):
        read_metrics(run)
    assert not is_evaluated(run)


def test_metrics_of_a_newer_format_are_no_evaluation_to_be_replaced(run):
    write(run, {**METRICS, "format": 99})
    with pytest.raises(FormatError, match=r"metrics\.json: format 99"):
        is_evaluated(run)


def test_a_named_pipe_in_place_of_an_evaluation_does_not_hang(run):
    for name in ("metrics.json", "predictions.csv"):
        os.mkfifo(run / "eval" / name)
    for read in (read_metrics, lambda folder: read_correct([folder])):
        with pytest.raises(EvaluationError, match=r"cannot be read: .*named pipe"):
            read(run)
    assert not is_evaluated(run)

"""Figures of an evaluation, worked out by hand."""

import json
import os

import numpy as np
import pytest

from data.class_balance import is_unbalanced
from evaluation.report import EvaluationError, is_evaluated, read_correct, read_metrics
from evaluation.scores import balanced_accuracy, confusion_matrix, macro_f1, per_class, top_k_accuracy
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


def plain_figures(labels, guesses):
    """(balanced accuracy, macro F1), class by class, as textbooks define them."""
    recalls, f1s = [], []
    for label in sorted(set(labels)):
        hits = sum(1 for true, guess in zip(labels, guesses) if true == guess == label)
        recall = hits / labels.count(label)
        precision = hits / guesses.count(label) if label in guesses else 0.0
        recalls.append(recall)
        f1s.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return sum(recalls) / len(recalls), sum(f1s) / len(f1s)


RANDOM = np.random.default_rng(3)
DRAWN = {
    "random": (RANDOM.integers(0, 5, 200), RANDOM.integers(0, 5, 200)),
    "unbalanced": (RANDOM.choice(5, 300, p=[0.8, 0.1, 0.05, 0.03, 0.02]), RANDOM.choice(5, 300, p=[0.9, 0.1, 0, 0, 0])),
    "without photographs of two classes, one of them predicted": (RANDOM.choice([0, 2, 4], 60), RANDOM.choice([0, 1, 2], 60)),
    "of one class": (np.full(20, 3), RANDOM.integers(0, 5, 20)),
    "one photograph": (np.array([1]), np.array([1])),
    "all wrong": (np.zeros(9, int), np.ones(9, int)),
}


@pytest.mark.parametrize("case", DRAWN)
def test_balanced_accuracy_and_macro_f1_are_those_of_the_definition(case):
    labels, guesses = DRAWN[case]
    names = ["ant", "bee", "cat", "dog", "elk"]
    balanced, f1 = plain_figures(labels.tolist(), guesses.tolist())
    assert balanced_accuracy(labels == guesses, labels) == pytest.approx(balanced, abs=1e-12)
    assert balanced_accuracy(labels == guesses, [names[label] for label in labels]) == pytest.approx(balanced, abs=1e-12)
    assert macro_f1(per_class(confusion_matrix(labels, guesses, 5), names)) == pytest.approx(f1, abs=1e-12)


def test_who_gives_up_the_small_classes_has_a_high_accuracy_and_a_low_balanced_one():
    labels = np.repeat([0, 1, 2], [400, 2, 3])
    correct = labels == 0
    assert correct.mean() > 0.98
    assert balanced_accuracy(correct, labels) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("counts", "unbalanced"),
    [([30, 10, 12], False), ([31, 10, 12], True), ([31, 0, 12], False), ([5], False), ([0, 0], False), ([], False)],
)
def test_classes_are_unbalanced_above_three_to_one(counts, unbalanced):
    assert is_unbalanced(counts) is unbalanced


METRICS = {"format": 2, "loss": 0.5, "acc": 0.75, "epoch": 2, "same_list_as_in_training": True, "later": "x"}


@pytest.fixture
def run(tmp_path):
    """The folder of a run whose best epoch is the second."""
    (tmp_path / "eval").mkdir()
    write_result(tmp_path, {"status": "finished", "best": {"epoch": 2, "val_acc": 0.75, "val_loss": 0.5}})
    return tmp_path


def write(run, metrics, folder="eval"):
    """metrics.json, and a predictions.csv of four photographs that fits an accuracy in quarters."""
    right = round(4 * metrics["acc"]) if isinstance(metrics["acc"], float) else 3
    rows = [f"{number}.png,cat,{'cat' if number < right else 'dog'},0.5\n" for number in range(4)]
    (run / folder).mkdir(exist_ok=True)
    (run / folder / "predictions.csv").write_text("path,label,prediction,confidence\n" + "".join(rows))
    (run / folder / "metrics.json").write_text(json.dumps(metrics))


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
    [({"acc": "0.75"}, "acc = '0.75'"), ({"loss": None}, "loss = None"), ({"epoch": 1.5}, "epoch = 1.5"),
     ({"same_list_as_in_training": 1}, "same_list_as_in_training = 1")],
)  # fmt: skip
def test_metrics_of_a_wrong_type_are_named_and_count_as_no_evaluation(run, changes, complaint):
    write(run, {**METRICS, **changes})
    with pytest.raises(
        EvaluationError, match=rf"metrics\.json has {complaint}, which no evaluation writes; eval\.py --run .* writes"
    ):
        read_metrics(run)
    assert not is_evaluated(run)


def test_an_evaluation_on_the_test_list_is_one_beside_and_of_that_very_list(run):
    write(run, METRICS)
    assert not is_evaluated(run, "test")
    with pytest.raises(EvaluationError, match=rf"eval_test.metrics\.json cannot be read: .*eval\.py --run {run} --split test "):
        read_metrics(run, "test")
    write(run, {**METRICS, "acc": 0.5, "list_sha256": "a" * 64}, "eval_test")
    assert (read_metrics(run)["acc"], read_metrics(run, "test")["acc"]) == (0.75, 0.5)
    assert is_evaluated(run, "test", "a" * 64)
    assert not is_evaluated(run, "test", "b" * 64), "the list has changed since"
    assert not is_evaluated(run, "val", "b" * 64), "an older evaluation does not say of which list it is"


def test_runs_that_saw_other_photographs_or_labels_are_not_compared(tmp_path):
    rows = {"a": "1.png,cat,cat,1\n2.png,dog,cat,1\n", "b": "1.png,cat,dog,1\n2.png,cat,cat,1\n"}
    for name, text in rows.items():
        (tmp_path / name / "eval").mkdir(parents=True)
        (tmp_path / name / "eval" / "predictions.csv").write_text("path,label,prediction,confidence\n" + text)
    paths, labels, correct = read_correct([tmp_path / "a"])
    assert (paths, labels, correct.tolist()) == (["1.png", "2.png"], ["cat", "dog"], [[True, False]])
    with pytest.raises(EvaluationError, match=r"has other photographs than .* or of other classes: evaluate both again"):
        read_correct([tmp_path / "a", tmp_path / "b"])


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

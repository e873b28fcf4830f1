"""Confidence from training to prediction: the temperature of a run, what eval.py says of it, photographs of strangers."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import paddle
import pytest
from conftest import CLASSES, fill, random_photograph
from old_run import change_header
from PIL import Image

import eval as eval_script
import gradcam
import predict
import train
from config import parse_config
from evaluation.strangers import threshold_for
from explanation import explain_photographs
from trained.calibration import confidences_of, cross_fitted, fit_temperature, probabilities_of
from trained.checkpoint import read_header
from trained.trained_run import TrainedRun
from training.state import Position

pytestmark = [pytest.mark.usefixtures("register_tiny_network", "quick_pictures"), pytest.mark.python_independent]


@pytest.fixture(scope="module")
def place(tiny_run_place):
    return tiny_run_place


@pytest.fixture
def folder(place, tmp_path):
    """A copy of the run, which a test may change."""
    return shutil.copytree(place / "runs" / "resnet" / "001", tmp_path / "001")


def set_temperature(folder, value):
    """Let the run have the temperature ``value``; None: as a run of an older version, which has none."""

    def change(header):
        header["temperature"] = value
        if value is None:
            del header["temperature"]

    change_header(folder / "best.safetensors", change)


def what_it_says(run):
    """Logits float32 [N, C] and labels [N] of the run's validation list."""
    dataset = run.open_validation_set()
    images, labels = zip(*(dataset[index] for index in range(len(dataset))))
    with paddle.no_grad():
        return run.classifier()(paddle.to_tensor(np.stack(images))).numpy(), np.array(labels)


def evaluate(folder, *arguments):
    words = ["--run", str(folder), "--num_workers", "0", "--device", "cpu", *map(str, arguments)]
    return eval_script.main(parse_config(words, "eval"))


def metrics_of(folder, split="eval"):
    return json.loads((folder / split / "metrics.json").read_text())


def read_table(file):
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


def test_a_training_keeps_the_temperature_of_its_best_epoch_beside_the_weights(place):
    run = TrainedRun.open(place / "runs" / "resnet" / "001")
    logits, labels = what_it_says(run)
    assert run.is_calibrated
    assert run.temperature == pytest.approx(fit_temperature(logits, labels), rel=1e-3)
    assert run.temperature == read_header(run.folder / "last.safetensors")["temperature"], "a killed process may need it again"
    assert run.calibration_note == ""
    dataset = run.open_validation_set()
    images = np.stack([dataset[index][0] for index in range(len(dataset))])
    np.testing.assert_allclose(run.predict(images), probabilities_of(logits, run.temperature), atol=1e-6)


def row(epoch, accuracy):
    return {"epoch": epoch, "val_acc": accuracy, "val_loss": 1.0}


def refuse():
    raise AssertionError("no temperature was to be fitted")


def test_a_temperature_belongs_to_the_weights_of_the_best_epoch():
    below = Position().after_epoch(row(1, 0.2), 0.3, refuse)
    assert (below.best, below.temperature) == (None, None)
    first = below.after_epoch(row(2, 0.5), 0.3, lambda: 2.0)
    assert (first.best["epoch"], first.temperature) == (2, 2.0)
    worse = first.after_epoch(row(3, 0.4), 0.3, refuse)
    assert (worse.best["epoch"], worse.temperature) == (2, 2.0)
    within = dataclasses.replace(worse, step=3, so_far={})
    better = within.after_epoch(row(4, 0.6), 0.3, lambda: 3.0)
    assert (better.best["epoch"], better.temperature) == (4, 3.0)


def test_a_best_epoch_of_an_older_version_gets_no_temperature_of_a_later_epoch():
    older = Position([row(1, 0.5)], row(1, 0.5))
    worse = older.after_epoch(row(2, 0.4), 0.0, refuse)
    assert (worse.best["epoch"], worse.temperature) == (1, None)
    assert worse.after_epoch(row(3, 0.6), 0.0, lambda: 1.5).temperature == 1.5


@pytest.mark.parametrize("best_so_far", [0.0, 1.0])
def test_a_run_of_an_older_version_that_is_trained_further_has_a_temperature_from_its_next_best_epoch_on(folder, best_so_far):
    def change(header):
        del header["temperature"]
        for entry in [header["best"], *header.get("history", [])]:
            entry.update(val_acc=best_so_far, val_loss=100.0 if best_so_far == 0 else 0.0)

    for name in ("best", "last"):
        change_header(folder / f"{name}.safetensors", change)
    assert train.main(parse_config(["--resume", str(folder), "--epochs", "2", "--device", "cpu"], "train")) == 0
    run = TrainedRun.open(folder)
    assert run.epoch == (2 if best_so_far == 0 else 1)
    assert run.is_calibrated == (best_so_far == 0)
    assert read_header(folder / "last.safetensors")["temperature"] == read_header(folder / "best.safetensors")["temperature"]
    if run.is_calibrated:
        assert run.temperature == pytest.approx(fit_temperature(*what_it_says(run)), rel=1e-3)


def test_eval_shows_the_error_of_temperatures_from_other_photographs(folder, capsys):
    set_temperature(folder, 0.07)
    assert evaluate(folder) == 0
    logits, labels = what_it_says(TrainedRun.open(folder))
    metrics = metrics_of(folder)
    lines = capsys.readouterr().out.splitlines()

    def error(temperatures):
        """As the papers define it."""
        confidences, correct = confidences_of(logits, temperatures), logits.argmax(axis=1) == labels
        bins = np.ceil(15 * confidences)
        gaps = [(sum(bins == one), abs(np.mean(confidences[bins == one] - correct[bins == one]))) for one in set(bins)]
        return sum(number * gap for number, gap in gaps) / len(labels)

    assert metrics["calibration_error"] == pytest.approx(error(1.0), abs=1e-4)
    assert metrics["calibration_error_after"] == pytest.approx(error(cross_fitted(logits, labels)), abs=1e-3)
    assert (metrics["temperature"], metrics["cross_fitted"]) == (0.07, True)
    low, high = metrics["acc_interval"]
    assert 0 <= low < metrics["acc"] < high <= 1
    assert f"accuracy {metrics['acc']:.4f} (95% interval {low:.4f} to {high:.4f})" in lines
    before, after, chance = (f"{metrics[f'calibration_error{part}']:.4f}" for part in ("", "_after", "_by_chance"))
    assert (
        f"expected calibration error {before} before, {after} after temperature scaling (T = 0.070, cross-fitted in 5 folds); "
        f"{chance} by chance alone"
    ) in lines


def test_a_temperature_changes_confidences_and_neither_loss_nor_accuracy(folder):
    found = {}
    for temperature in (None, 1.0, 0.07):
        set_temperature(folder, temperature)
        assert evaluate(folder) == 0
        metrics = metrics_of(folder)
        found[temperature] = metrics["loss"], metrics["acc"], metrics["calibration_error"]
    assert found[None] == found[1.0] == found[0.07]


def test_eval_predict_and_the_run_have_the_same_confidence(folder, place, tmp_path, monkeypatch):
    set_temperature(folder, 0.07)
    assert evaluate(folder) == 0
    monkeypatch.chdir(tmp_path)
    words = ["--run", str(folder), "--images", str(place / "data"), "--num_workers", "0", "--device", "cpu"]
    assert predict.main(parse_config(words, "predict")) == 0
    predicted = {entry["path"]: entry for entry in read_table(tmp_path / "predictions.csv")}
    rows = read_table(folder / "eval" / "predictions.csv")
    assert len(rows) == 6
    for entry in rows:
        its = predicted[str(place / "data" / entry["path"])]
        assert its["prediction"] == entry["prediction"]
        assert float(its["confidence"]) == pytest.approx(float(entry["confidence"]), abs=1.1e-6)  # both are rounded
    logits, _ = what_it_says(TrainedRun.open(folder))
    assert np.abs(probabilities_of(logits).max(axis=1) - probabilities_of(logits, 0.07).max(axis=1)).min() > 0.01


def test_the_test_list_says_what_the_run_s_own_temperature_does(folder, place, tmp_path, capsys):
    data = shutil.copytree(place / "data", tmp_path / "data")
    (data / "test").mkdir()
    tests = []
    for label in range(3):
        random_photograph((label, 77)).save(data / CLASSES[label] / "77.png")
        tests.append(f"{CLASSES[label]}/77.png {label}\n")
    (data / "test_list.txt").write_text("".join(tests))
    set_temperature(folder, 0.07)
    assert evaluate(folder, "--data", data, "--split", "test") == 0
    metrics = metrics_of(folder, "eval_test")
    assert metrics["cross_fitted"] is False
    rows = read_table(folder / "eval_test" / "predictions.csv")
    wrong = [float(entry["confidence"]) - (entry["label"] == entry["prediction"]) for entry in rows]
    assert metrics["calibration_error_after"] <= np.mean(np.abs(wrong)) + 1e-6
    assert "(T = 0.070, of the training)" in capsys.readouterr().out


def test_a_run_of_an_older_version_is_said_to_be_uncalibrated(folder, place, tmp_path, monkeypatch, capsys):
    set_temperature(folder, None)
    run = TrainedRun.open(folder)
    assert (run.is_calibrated, run.temperature) == (False, 1.0)
    note = (
        f"note: {folder} has no temperature, as an older version trained it: its confidences are not calibrated; a training "
        f"from now on has one"
    )
    assert evaluate(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert note in lines
    assert any(line.startswith("expected calibration error 0.") and "after" not in line for line in lines)
    assert not {"temperature", "calibration_error_after"} & metrics_of(folder).keys()
    monkeypatch.chdir(tmp_path)
    words = ["--run", str(folder), "--images", str(place / "data" / CLASSES[0]), "--num_workers", "0", "--device", "cpu"]
    assert predict.main(parse_config(words, "predict")) == 0
    assert note in capsys.readouterr().err.splitlines()


def test_grad_cam_shows_the_same_probabilities(folder, place, tmp_path, monkeypatch):
    set_temperature(folder, 0.07)
    shown = []
    monkeypatch.setattr(explain_photographs, "draw_gradcam", lambda labels, networks, picture: shown.extend(networks))
    words = ["--run", str(folder), "--images", str(place / "data" / "cat" / "4.png"), "--device", "cpu"]
    assert gradcam.main(parse_config([*words, "--picture", str(tmp_path / "p.png")], "gradcam")) == 0
    [(_, _, [explanation])] = shown
    run = TrainedRun.open(folder)
    expected = run.predict(run.read_photograph(place / "data" / "cat" / "4.png")[None]).max()
    assert explanation.predicted.probability == pytest.approx(expected, abs=1e-5)
    assert expected > 0.4, "the temperature changes it: without, three classes are nearly equal"


@pytest.fixture
def strangers(tmp_path):
    """Twelve photographs of none of the classes, in two folders, and a file that is none."""
    folder = fill(tmp_path / "strangers", [f"{part}/{number}.png" for part in "ab" for number in range(6)], first_seed=500)
    (folder / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    return folder


def test_strangers_are_counted_at_thresholds(folder, strangers, capsys):
    set_temperature(folder, 0.07)
    assert evaluate(folder, "--strangers", strangers) == 0
    printed = capsys.readouterr()
    rows = read_table(folder / "eval" / "strangers.csv")
    own = np.array([float(entry["confidence"]) for entry in read_table(folder / "eval" / "predictions.csv")])
    read = [entry for entry in rows if not entry["reason"]]
    found = np.array([float(entry["confidence"]) for entry in read])
    assert (len(rows), len(read)) == (13, 12)
    run = TrainedRun.open(folder)
    for entry in read:
        probabilities = run.predict(run.read_photograph(entry["path"])[None])[0]
        assert entry["prediction"] == CLASSES[probabilities.argmax()]
        assert float(entry["confidence"]) == pytest.approx(probabilities.max(), abs=1e-5)
    assert f"left out: {strangers / 'a' / 'broken.png'}: " in printed.err
    outcome = metrics_of(folder)["strangers"]
    assert (outcome["photographs"], outcome["unreadable"]) == (12, 1)
    for shares in [*outcome["thresholds"], outcome["chosen"]]:
        assert shares["strangers_passing"] == pytest.approx(np.mean(found >= shares["threshold"]))
        assert shares["own_kept"] == pytest.approx(np.mean(own >= shares["threshold"]))
        assert shares["interval"][0] <= shares["strangers_passing"] <= shares["interval"][1]
    threshold = outcome["chosen"]["threshold"]
    assert outcome["chosen"]["strangers_passing"] == 0, "of twelve, one would be more than 5%"
    assert threshold == pytest.approx(found.max(), abs=2e-4)
    assert f"--unsure_below {threshold:g} lets 0.0% of 12 strangers pass" in printed.out.replace("\n", " ")
    assert evaluate(folder) == 0
    assert not (folder / "eval" / "strangers.csv").exists(), "the folder holds one evaluation"
    assert "strangers" not in metrics_of(folder)


def test_the_threshold_lets_five_of_a_hundred_pass():
    confidences = np.linspace(0.3, 0.9, 100)
    threshold = threshold_for(confidences)
    assert (confidences >= threshold).sum() == 5
    assert confidences[-6] < threshold <= confidences[-6] + 1e-4
    assert threshold_for(np.full(40, 0.75)) == pytest.approx(0.7501)
    assert threshold_for(np.array([0.1])) == pytest.approx(0.1001)
    assert threshold_for(np.full(40, 1.0)) is None
    assert threshold_for(np.append(np.full(2, 1.0), np.full(38, 0.5))) == pytest.approx(0.5001)


def test_strangers_that_are_certain_of_a_class_are_said_to_be_beyond_any_threshold(folder, strangers, capsys, monkeypatch):
    certain = np.float32([[1, 0, 0]])
    monkeypatch.setattr(TrainedRun, "predict", lambda self, images, batch_size: certain.repeat(len(images), axis=0))
    assert evaluate(folder, "--strangers", strangers) == 0
    assert "more than 5% of 12 strangers have a confidence of 1: no threshold keeps them out" in capsys.readouterr().out
    assert metrics_of(folder)["strangers"]["chosen"] is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "is no folder: name a folder of photographs that show none of the classes"),
        ({}, "holds no photographs: name a folder of photographs that show none of the classes"),
        ({"a.png": b"\x89PNG\r\n\x1a\n cut"}, "none of its 1 photographs can be read"),
    ],
)
def test_a_folder_without_strangers_is_refused(folder, tmp_path, capsys, content, complaint):
    given = tmp_path / "given"
    if content is not None:
        given.mkdir()
        for name, data in content.items():
            (given / name).write_bytes(data)
    assert evaluate(folder, "--strangers", given) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"eval.py: error: strangers = {given}")
    assert complaint in last


def test_the_reliability_diagram_is_drawn(folder, monkeypatch, quick_pictures):
    monkeypatch.setattr("plots.reliability.save_figure", quick_pictures)
    sizes = []
    for temperature in (0.07, None):
        set_temperature(folder, temperature)
        assert evaluate(folder) == 0
        with Image.open(folder / "eval" / "reliability.png") as picture:
            sizes.append(picture.width)
    assert sizes[0] > 1.5 * sizes[1] > 500, "before and after side by side, or before alone"

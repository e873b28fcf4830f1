"""Training and evaluation as a user runs them, on a small network and a few pictures."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cifar10_archive import contents, write_archive
from PIL import Image
from processes_started import heed_interruption, processes_of
from safetensors.numpy import load_file

import eval as eval_script
import networks
import train
import training.optimization
from config import Config, load_config, parse_config
from data.data_sets import digests
from data.data_source import DataSource
from data.splitting import split_folder
from plots import figures
from trained.checkpoint import read_header
from trained.history import read_history
from trained.result import read_result
from trained.trained_run import TrainedRun
from training import recorder as run_recorder
from training.model import TrainingModel
from training.state import Position

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture(autouse=True)
def small_resnet(monkeypatch):
    """The name "resnet" stands for a network of three blocks of a ResNet."""
    monkeypatch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyResNet"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Seven classes of eight noisy pictures; each class has a colour and a direction of stripes."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for label in range(7):
        folder = root / f"kind {label}"
        folder.mkdir()
        for index in range(8):
            y, x = np.mgrid[0:40, 0:44]
            stripes = 60 * np.sin((x * np.cos(label) + y * np.sin(label)) / 2 + index)
            colour = np.array([40 * (label % 3), 30 * label, 200 - 25 * label])
            pixels = colour + stripes[..., None] + rng.normal(0, 10, (40, 44, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    split_folder(root, 0.25)
    return root


def settings(data, tmp_path, **changes):
    chosen = {
        "net": "resnet", "data": str(data), "runs_dir": str(tmp_path / "runs"), "image_size": 32, "epochs": 2,
        "batch_size": 16, "num_workers": 0, "threads": 2, "learning_rate": 0.02,
    }  # fmt: skip
    return Config(**{**chosen, **changes})


def run_eval(config, **changes):
    names = {"net": config.net, "runs_dir": config.runs_dir, "num_workers": 0, **changes}
    return eval_script.main(Config(**names, given=frozenset(names)))


def without_times(run):
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in read_history(run)]


def test_a_run_leaves_the_folder_it_promises_and_eval_agrees_with_its_history(
    data, tmp_path, capsys, monkeypatch, quick_pictures
):
    monkeypatch.setattr(figures, "save_figure", quick_pictures)
    config = settings(data, tmp_path, epochs=3)
    assert train.main(config) == 0
    printed = capsys.readouterr().out
    run = tmp_path / "runs" / "resnet" / "001"
    left = {entry.name for entry in run.iterdir()}
    assert left == {"config.yaml", "classes.txt", "history.csv", "curves.png", "vdl", "best.safetensors",
                    "last.safetensors", "result.json", ".lock"}  # fmt: skip
    assert load_config(run / "config.yaml") == config.resolved().resolved_for(42)
    assert (run / "classes.txt").read_text() == "".join(f"kind {i}\n" for i in range(7))
    history = read_history(run)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    best = max(row["val_acc"] for row in history)
    lines = printed.splitlines()
    assert lines[0] == "Constructing TinyResNet......"
    assert lines[2].startswith("42 photographs, 3 epochs, batches of 16, from random weights: optimizer ")
    assert sum(line.startswith("epoch ") for line in lines) == 3, "one plain line an epoch where output is piped"
    assert "\r" not in printed
    assert f"best validation accuracy {best:.4f}" in lines[-1]
    assert str(run) in lines[-1]
    assert "images/s" in lines[-1]
    with Image.open(run / "curves.png") as picture:
        assert picture.width > 800

    outcomes = []
    for _ in range(2):
        assert run_eval(config) == 0
        outcomes.append(capsys.readouterr().out)
        metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert outcomes[0] == outcomes[1], "two evaluations of one model agree to the last digit"
    lines = outcomes[0].splitlines()
    assert lines[0] == "Eval begin..."
    assert "Eval samples: 14" in lines
    assert lines[-1] == str({"loss": [metrics["loss"]], "acc": metrics["acc"]})
    assert metrics["acc"] == best
    assert metrics["same_list_as_in_training"] is True
    assert metrics["loss"] == next(row["val_loss"] for row in history if row["epoch"] == read_result(run)["best"]["epoch"])
    check_evaluation(run / "eval", metrics)


def check_evaluation(folder, metrics):
    with open(folder / "predictions.csv", newline="") as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == 14
    right = [row["label"] == row["prediction"] for row in predictions]
    assert np.mean(right) == pytest.approx(metrics["acc"])
    assert all(row["path"].startswith(row["label"]) for row in predictions)
    assert all(1 / 7 <= float(row["confidence"]) <= 1 for row in predictions)
    assert metrics["acc"] <= metrics["acc_top5"] <= 1
    with open(folder / "confusion_matrix.csv", newline="") as file:
        header, *rows = csv.reader(file)
    matrix = np.array([row[1:] for row in rows], dtype=int)
    assert header[1:] == [row[0] for row in rows] == [f"kind {i}" for i in range(7)]
    assert matrix.trace() == sum(right)
    for index, numbers in enumerate(metrics["per_class"].values()):
        assert numbers["support"] == matrix[index].sum() == 2
        assert numbers["recall"] == matrix[index, index] / 2
    assert (folder / "confusion_matrix.png").stat().st_size > 5000


def test_the_seed_decides_and_the_number_of_workers_does_not(data, tmp_path):
    runs = {}
    for name, changes in {"a": {}, "b": {"num_workers": 2}, "c": {"seed": 1}}.items():
        assert train.main(settings(data, tmp_path / name, **changes)) == 0
        run = tmp_path / name / "runs" / "resnet" / "001"
        runs[name] = without_times(run), load_file(run / "best.safetensors")
    assert runs["a"][0] == runs["b"][0]
    assert runs["a"][0] != runs["c"][0]
    for tensor, values in runs["a"][1].items():
        np.testing.assert_array_equal(values, runs["b"][1][tensor], tensor)


def test_a_new_run_takes_the_next_number_and_eval_takes_the_newest(data, tmp_path, capsys):
    config = settings(data, tmp_path, epochs=1)
    assert train.main(config) == 0
    first = (tmp_path / "runs/resnet/001/history.csv").read_bytes()
    assert train.main(config) == 0
    assert (tmp_path / "runs/resnet/001/history.csv").read_bytes() == first
    capsys.readouterr()
    assert run_eval(config) == 0
    assert "resnet/002/eval" in capsys.readouterr().out
    assert run_eval(config, run=str(tmp_path / "runs/resnet/001")) == 0
    assert "resnet/001/eval" in capsys.readouterr().out


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photograph_that_went_bad_stops_the_training_with_its_name(tmp_path, data, capsys, workers):
    broken = tmp_path / "data"
    for picture in data.rglob("*.*"):
        target = broken / picture.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture.read_bytes())
    line = (broken / "train_list.txt").read_text().splitlines()[5].rpartition(" ")[0]
    (broken / line).write_bytes(b"no picture at all")
    (broken / "photographs.sha256").unlink()  # else it would be noticed before the training begins
    assert train.main(settings(broken, tmp_path, num_workers=workers)) == 2
    lines = [text for text in capsys.readouterr().err.splitlines() if not text.startswith("running on the processor")]
    assert len(lines) == 1
    assert lines[0].startswith("train.py: error: ")
    assert f"train_list.txt line 6: {broken / line}: not an image" in lines[0]
    assert read_result(tmp_path / "runs/resnet/001")["status"] == "failed"


def test_a_diverging_loss_stops_with_an_explanation_and_leaves_the_best(data, tmp_path, capsys, monkeypatch):
    def explode_in_the_second_epoch(step, steps_per_epoch, *args, **kwargs):
        return 1.0 if step < steps_per_epoch else 1e25

    monkeypatch.setattr(training.optimization, "learning_rate_factor", explode_in_the_second_epoch)
    config = settings(data, tmp_path, epochs=5)
    assert train.main(config) == 1
    error = capsys.readouterr().err
    assert "loss became" in error
    assert "lower --learning_rate" in error
    run = tmp_path / "runs/resnet/001"
    assert read_result(run)["status"] == "failed"
    assert [row["epoch"] for row in read_history(run)] == [1]
    assert run_eval(config) == 2
    assert f": --run {run} uses it" in capsys.readouterr().err
    assert run_eval(config, run=str(run)) == 0
    assert json.loads((run / "eval/metrics.json").read_text())["acc"] == read_history(run)[0]["val_acc"]


def test_a_validation_loss_that_is_no_number_stops_and_replaces_nothing(data, tmp_path, capsys, monkeypatch):
    original, calls = TrainingModel.evaluate, []

    def second_epoch_is_nan(self, *arguments):
        calls.append(arguments)
        values = original(self, *arguments)
        return {**values, "mean_loss": float("nan")} if len(calls) == 2 else values

    monkeypatch.setattr(TrainingModel, "evaluate", second_epoch_is_nan)
    assert train.main(settings(data, tmp_path, epochs=5)) == 1
    assert "the validation loss became nan after epoch 2: training has diverged" in capsys.readouterr().err
    run = tmp_path / "runs/resnet/001"
    assert [read_header(run / f"{name}.safetensors")["epoch"] for name in ("best", "last")] == [1, 1]
    assert read_result(run)["best"]["epoch"] == 1
    assert read_result(run)["diverged"] is True, "a comparison then begins another training"


def test_early_stop_counts_epochs_without_a_better_accuracy(data, tmp_path, capsys):
    config = settings(data, tmp_path, epochs=9, early_stop=2, learning_rate=1e-12, warmup_epochs=0.0)
    assert train.main(config) == 0
    accuracies = [row["val_acc"] for row in read_history(tmp_path / "runs/resnet/001")]
    assert len(accuracies) < 9
    assert len(accuracies) == accuracies.index(max(accuracies)) + 1 + 2, "two epochs after the first of the highest"
    assert read_result(tmp_path / "runs/resnet/001")["status"] == "finished"
    assert "stopping early" in capsys.readouterr().out


def test_early_stop_watches_the_accuracy_alone(data, tmp_path, monkeypatch):
    calls = []

    def accuracy_stands_still_while_the_loss_falls(self, *arguments):
        calls.append(arguments)
        return {"acc": 0.5, "balanced_acc": 0.5, "mean_loss": 1.0 / len(calls)}

    monkeypatch.setattr(TrainingModel, "evaluate", accuracy_stands_still_while_the_loss_falls)
    assert train.main(settings(data, tmp_path, epochs=9, early_stop=2)) == 0
    run = tmp_path / "runs/resnet/001"
    assert len(read_history(run)) == 3
    assert read_result(run)["best"]["epoch"] == 3, "the best epoch is still the one of lowest loss among equals"


def test_label_smoothing_acts_on_training_and_not_on_the_reported_losses(data, tmp_path, monkeypatch):
    criteria = []
    original = TrainingModel.train_batch

    def train_batch(self, *batch):
        loss = original(self, *batch)
        criteria.append((loss, self._metrics[0].accumulate()))
        return loss

    monkeypatch.setattr(TrainingModel, "train_batch", train_batch)
    first = {}
    for smoothing in (0.0, 0.5):
        criteria.clear()
        assert train.main(settings(data, tmp_path, epochs=1, label_smoothing=smoothing)) == 0
        first[smoothing] = criteria[0]
    assert first[0.0][0] == pytest.approx(first[0.0][1], rel=1e-5), "without smoothing the criterion is the reported loss"
    assert first[0.5][1] == pytest.approx(first[0.0][1], rel=1e-5), "the reported loss of the first batch is the same"
    assert abs(first[0.5][0] - first[0.5][1]) > 1e-3


def test_evaluation_shows_and_normalises_photographs_as_the_training_did(data, tmp_path):
    view = {"train_crop": "resize", "eval_crop": "resize", "flip": False, "rotation": 10.0}
    chosen = settings(data, tmp_path, mean=(0.5, 0.25, 0.75), std=(0.5, 0.25, 1.0), schedule="cosine_by_epoch", **view)
    assert train.main(chosen) == 0
    run = tmp_path / "runs/resnet/001"
    assert load_config(run / "config.yaml") == chosen.resolved().resolved_for(42)
    assert run_eval(chosen) == 0
    metrics = json.loads((run / "eval/metrics.json").read_text())
    best = read_result(run)["best"]
    assert metrics["acc"] == best["val_acc"]
    assert metrics["loss"] == pytest.approx(best["val_loss"], rel=1e-6)
    trained = TrainedRun.open(run)
    assert {name: trained.view[name] for name in view} == view
    classifier = trained.classifier()
    assert classifier.mean.flatten().tolist() == [0.5, 0.25, 0.75]
    assert classifier.std.flatten().tolist() == [0.5, 0.25, 1.0]


@pytest.mark.parametrize(("threshold", "saved"), [(0.0, [True, False, True]), (0.5, [False, False, True])])
def test_the_best_epoch_is_saved_above_the_threshold_alone(threshold, saved):
    position, is_best = Position(), []
    for epoch, accuracy in enumerate((0.5, 0.4, 0.6), start=1):
        row = {"epoch": epoch, "val_acc": accuracy, "val_loss": 1.0}
        position = position.after_epoch(row, save_best_above=threshold)
        is_best.append(position.best is row)
    assert is_best == saved


def test_a_run_without_an_epoch_above_the_threshold_says_so_in_training_and_evaluation(data, tmp_path, capsys):
    chosen = settings(data, tmp_path, save_best_above=1.0)
    assert train.main(chosen) == 0
    run = tmp_path / "runs/resnet/001"
    highest = max(row["val_acc"] for row in read_history(run))
    reason = f"no validation accuracy was above save_best_above = 1, the highest was {highest:.4f} in epoch "
    assert f"finished: no best.safetensors, for {reason}" in capsys.readouterr().out
    assert not (run / "best.safetensors").exists()
    assert (run / "last.safetensors").is_file()
    result = read_result(run)
    assert (result["status"], result["best"]) == ("finished", None)
    assert result["best_not_saved"].startswith(reason)
    assert run_eval(chosen) == 2
    error = capsys.readouterr().err
    assert f"eval.py: error: {run} has no best.safetensors: {reason}" in error
    assert "with a lower --save_best_above" in error


def test_cifar10_is_trained_on_and_evaluated_without_being_named_again(tmp_path, capsys):
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", contents(20))
    chosen = settings(tmp_path, tmp_path, dataset="cifar10", train_crop="resize", eval_crop="resize")
    assert train.main(chosen) == 0
    assert "100 photographs to train on, 20 to validate, 10 classes" in capsys.readouterr().out
    run = tmp_path / "runs/resnet/001"
    assert load_config(run / "config.yaml") == dataclasses.replace(chosen.resolved().resolved_for(100), data=str(archive))
    assert read_result(run)["list_sha256"] == digests(DataSource("cifar10", archive)).lists
    assert run_eval(chosen) == 0
    metrics = json.loads((run / "eval/metrics.json").read_text())
    assert metrics["acc"] == read_result(run)["best"]["val_acc"]
    assert metrics["list"] == f"{archive} (test_batch)"
    assert metrics["same_list_as_in_training"] is True
    with open(run / "eval/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"test_batch/{place}" for place in range(20)]

    write_archive(archive, contents(30))
    capsys.readouterr()
    assert run_eval(chosen) == 2
    assert f"{archive} (test_batch) is not the list that {run} was validated on" in capsys.readouterr().err
    assert run_eval(chosen, data=str(tmp_path)) == 0
    archive.unlink()
    assert run_eval(chosen) == 2
    assert f"there is no {archive}" in capsys.readouterr().err


def test_a_best_that_could_not_be_saved_is_not_promised(data, tmp_path, capsys, monkeypatch):
    original = run_recorder.save_checkpoint

    def disk_full_at_the_second_epoch(path, network, header, *arguments):
        if header["epoch"] == 2:
            raise OSError(28, "No space left on device")
        original(path, network, header, *arguments)

    monkeypatch.setattr(run_recorder, "save_checkpoint", disk_full_at_the_second_epoch)
    assert train.main(settings(data, tmp_path, epochs=3)) == 2
    assert "No space left on device" in capsys.readouterr().err
    run = tmp_path / "runs/resnet/001"
    assert read_result(run)["status"] == "failed"
    assert read_result(run)["best"]["epoch"] == 1
    assert run_eval(settings(data, tmp_path), run=str(run)) == 0
    assert json.loads((run / "eval/metrics.json").read_text())["acc"] == read_history(run)[0]["val_acc"]


def test_a_first_best_that_could_not_be_saved_has_no_false_reason_and_is_saved_on_resume(data, tmp_path, capsys, monkeypatch):
    original = run_recorder.save_checkpoint

    def no_room_for_the_best(path, *arguments):
        if path.name == "best.safetensors":
            raise OSError(28, "No space left on device")
        original(path, *arguments)

    run = tmp_path / "runs/resnet/001"
    with monkeypatch.context() as patch:
        patch.setattr(run_recorder, "save_checkpoint", no_room_for_the_best)
        assert train.main(settings(data, tmp_path, epochs=1)) == 2
        assert "failed: no best.safetensors, for it could not be written" in capsys.readouterr().out
        before = (run / "result.json").read_bytes()
        assert train.main(parse_config(["--resume", str(run)], "train")) == 2
        assert (run / "result.json").read_bytes() == before, "it names no best epoch that is not on the disk"
    assert read_result(run)["best"] is None
    assert read_result(run)["best_not_saved"] == "it could not be written (No space left on device)"
    assert train.main(parse_config(["--resume", str(run)], "train")) == 0
    assert read_header(run / "best.safetensors")["epoch"] == read_result(run)["best"]["epoch"] == 1


def test_a_list_that_changed_since_training_is_refused_unless_asked_for(data, tmp_path, capsys):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    config = settings(copy, tmp_path, epochs=1)
    assert train.main(config) == 0
    split_folder(copy, 0.25, seed=5)
    capsys.readouterr()
    assert run_eval(config) == 2
    assert "may hold photographs that the run was trained on" in capsys.readouterr().err
    assert run_eval(config, data=str(copy)) == 0
    assert "is not the list that the run was validated on" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "runs/resnet/001/eval/metrics.json").read_text())
    assert metrics["same_list_as_in_training"] is False


def test_other_classes_are_refused_naming_the_difference(data, tmp_path, capsys):
    config = settings(data, tmp_path, epochs=1)
    assert train.main(config) == 0
    other = tmp_path / "other"
    for label in (0, 1, 9):
        folder = other / f"kind {label}"
        folder.mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (40, 40), (50 * label % 255, 80 * index, 10)).save(folder / f"{index}.png")
    split_folder(other)
    assert run_eval(config, data=str(other)) == 2
    error = capsys.readouterr().err
    assert "was trained on 7 classes" in error
    assert "only in the data: kind 9" in error


def test_missing_lists_and_missing_runs_say_what_to_do(tmp_path, capsys):
    config = settings(tmp_path / "nothing", tmp_path)
    assert train.main(config) == 2
    assert "python train_val_split.py --data" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists(), "no run folder for a training that could not begin"
    assert run_eval(config) == 2
    assert "python train.py --net resnet --runs_dir" in capsys.readouterr().err


def test_summary_needs_no_data(tmp_path, capsys):
    assert train.main(Config(net="sa_resnet50", data=str(tmp_path), summary=True)) == 0
    printed = capsys.readouterr().out
    assert "25,557,740" in printed
    assert "(4.11 G)" in printed


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_training_soon_and_leaves_no_worker(data, tmp_path, sent, code):
    command = [sys.executable, "train.py", "--net", "resnet18", "--data", str(data), "--runs_dir", str(tmp_path / "runs"),
               "--image_size", "32", "--epochs", "500", "--num_workers", "2", "--batch_size", "8"]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True, preexec_fn=heed_interruption)  # fmt: skip
    try:
        for line in process.stdout:
            if line.startswith("epoch 1/"):
                break
        time.sleep(0.5)  # into the middle of the second epoch
        started = time.monotonic()
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)  # as a terminal does: to the workers as well
        else:
            process.send_signal(sent)
        out, err = process.communicate(timeout=60)
        took = time.monotonic() - started
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, err
    assert took < 5
    assert "Traceback" not in err
    assert "interrupted: best validation accuracy" in out
    run = tmp_path / "runs/resnet18/001"
    assert read_result(run)["status"] == "interrupted"
    assert len(read_history(run)) >= 1
    deadline = time.monotonic() + 3
    while processes_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(process.pid) == []

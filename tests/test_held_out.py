"""The test list, for a final figure: evaluated beside the validation list, and what a comparison takes its verdict from."""

import csv
import json
import shutil

import numpy as np
import pytest
from cifar10_archive import contents, write_archive
from listed_pictures import CLASSES, write_pictures, write_test_list
from tiny_network import TinyResNet

import compare
import eval as eval_script
import networks
import train
from comparison import run_plan, side_by_side
from config import Config, parse_config
from data.lists import list_digest, write_lists
from plots import figures
from trained.known_data import note_places

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.python_independent]
NETS = ("resnet", "se_resnet50")


def tiny_se_resnet(num_classes):
    return TinyResNet(num_classes, "se")


def replace_networks(patch):
    """The names stand for tiny networks, and a comparison's scripts run in this process. Returns the list of calls."""
    for name, function in (("resnet", "TinyResNet"), ("se_resnet50", "tiny_se_resnet")):
        patch.setitem(networks.NETWORKS, name, networks.Lazy(__name__, function))
    calls = []

    def run_here(script, arguments, quiet=False):
        calls.append(script)
        module = {"train.py": train, "eval.py": eval_script}[script]
        if module.main(parse_config([str(word) for word in arguments], script.split(".")[0])):
            raise run_plan.ProcessFailed(f"{script}: error: as its last line says")

    patch.setattr(side_by_side, "run_script", run_here)
    return calls


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    return replace_networks(monkeypatch)


def settings(folder, **changes):
    chosen = {
        "nets": NETS, "data": str(folder / "data"), "runs_dir": str(folder / "runs"), "image_size": 32, "epochs": 2,
        "batch_size": 9, "num_workers": 0, "threads": 2, "split": "test",
    }  # fmt: skip
    return Config(**{**chosen, **changes})


def of_runs(folder, runs, **changes):
    return Config(**{"runs": tuple(map(str, runs)), "runs_dir": str(folder / "compared"), "split": "test", **changes})


def evaluate(run, *words):
    return eval_script.main(parse_config(["--run", str(run), "--num_workers", "0", "--threads", "2", *map(str, words)], "eval"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with ``data``, which has a test list, and ``runs`` with a comparison of two networks on it."""
    folder = tmp_path_factory.mktemp("held_out")
    write_pictures(folder / "data", train=(8, 8, 8), val=(4, 4, 4), test=(6, 5, 4))
    with pytest.MonkeyPatch.context() as patch:
        replace_networks(patch)
        assert compare.main(settings(folder)) == 0
    return folder


@pytest.fixture
def place(original, tmp_path):
    """A copy of it whose runs name the copied photographs, as if they had been trained with them."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    note_places([str(tmp_path / "data"), str(tmp_path / "moved")])
    for run in tmp_path.glob("runs/*/001"):
        config = run / "config.yaml"
        if config.is_file():
            config.write_text(config.read_text().replace(str(original / "data"), str(tmp_path / "data")))
    return tmp_path


def runs(folder):
    return [folder / "runs" / net / "001" for net in NETS]


def metrics_of(run, folder="eval_test"):
    return json.loads((run / folder / "metrics.json").read_text())


def table(folder, number="001"):
    return json.loads((folder / "compare" / number / "table.json").read_text())


def last_error(capsys):
    return capsys.readouterr().err.splitlines()[-1]


def test_the_test_list_is_evaluated_beside_the_validation_list(place, capsys):
    run = runs(place)[0]
    assert evaluate(run, "--data", place / "data") == 0
    before = {file.name: file.read_bytes() for file in (run / "eval").iterdir()}
    assert json.loads(before["metrics.json"])["split"] == "val"
    shutil.rmtree(run / "eval_test")
    capsys.readouterr()
    assert evaluate(run, "--data", place / "data", "--split", "test") == 0
    printed = capsys.readouterr().out
    assert "Eval samples: 15\n" in printed
    assert f"predictions: {run / 'eval_test'}\n" in printed
    assert {file.name: file.read_bytes() for file in (run / "eval").iterdir()} == before
    metrics = metrics_of(run)
    assert (metrics["split"], metrics["photographs"], metrics["same_list_as_in_training"]) == ("test", 15, True)
    assert metrics["list"] == str(place / "data" / "test_list.txt")
    assert metrics["list_sha256"] == list_digest(place / "data" / "test_list.txt")
    with open(run / "eval_test" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = (place / "data" / "test_list.txt").read_text().splitlines()
    assert [f"{row['path']} {CLASSES.index(row['label'])}" for row in rows] == listed
    assert metrics["acc"] == pytest.approx(np.mean([row["label"] == row["prediction"] for row in rows]))


def test_without_a_test_list_the_command_that_writes_one_is_named_before_anything_is_trained(place, capsys, calls):
    (place / "data" / "test_list.txt").unlink()
    remedy = f"python train_val_split.py --data {place / 'data'} --test_fraction 0.2 writes it"
    expected = f"error: there is no {place / 'data' / 'test_list.txt'}: {remedy}"
    assert evaluate(runs(place)[0], "--data", place / "data", "--split", "test") == 2
    assert expected in last_error(capsys)
    assert compare.main(settings(place, epochs=3)) == 2
    assert expected in last_error(capsys)
    assert calls == []


@pytest.mark.parametrize("side", ["train", "val"])
def test_a_test_list_that_shares_photographs_is_refused(place, capsys, side):
    shared = f"cat/{side}_0.png"
    write_test_list(place / "data", [("dog/test_0.png", 1), (f"./{shared}", 0)])
    expected = f"1 photographs of {place / 'data' / 'test_list.txt'} are in {place / 'data' / side}_list.txt as well"
    assert evaluate(runs(place)[0], "--data", place / "data", "--split", "test") == 2
    assert expected in last_error(capsys)
    assert compare.main(settings(place, epochs=3)) == 2
    assert expected in last_error(capsys)


def test_a_run_of_other_lists_may_have_trained_on_the_test_list(place, capsys):
    """As after another split: the run's training photographs may be in the test list now."""
    assert train.main(settings(place, net="resnet", epochs=1)) == 0
    run = place / "runs" / "resnet" / "002"
    write_lists(place / "data", CLASSES, [("cat/test_0.png", 0), ("dog/test_0.png", 1)], [("sheep/test_0.png", 2)])
    write_test_list(place / "data", [("cat/train_0.png", 0)])
    assert evaluate(run, "--split", "test") == 2
    error = last_error(capsys)
    assert f"{place / 'data' / 'test_list.txt'} lies beside other lists than {run} was trained and validated on" in error
    assert f"use it anyway with --data {place / 'data'}" in error
    assert evaluate(run, "--split", "test", "--data", place / "data") == 0
    assert "and may hold some that it was trained on" in capsys.readouterr().out
    assert metrics_of(run)["same_list_as_in_training"] is False


def test_cifar10_has_no_third_part(tmp_path, capsys):
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", contents(6))
    chosen = settings(tmp_path, dataset="cifar10", data=str(archive), net="resnet", epochs=1, split="val")
    assert train.main(chosen) == 0
    assert evaluate(tmp_path / "runs" / "resnet" / "001", "--split", "test") == 2
    assert "CIFAR-10 has two parts, which serve as train and val; choose val" in last_error(capsys)


def test_a_comparison_takes_everything_from_the_test_list(original, place, capsys, calls, monkeypatch):
    labels = []
    save = figures.save_figure
    monkeypatch.setattr(
        figures, "save_figure", lambda figure, path: (labels.append(figure.axes[0].get_ylabel()), save(figure, path))
    )
    assert not (runs(original)[0] / "eval").exists(), "the validation list was not evaluated for it"
    assert compare.main(settings(place)) == 0
    assert calls == [], "both runs are there, and evaluated"
    printed = capsys.readouterr().out
    found = table(place / "runs", "002")
    assert found["split"] == "test"
    assert {row["network"]: row["accuracy"] for row in found["networks"]} == {
        run.parent.name: metrics_of(run)["acc"] for run in runs(place)
    }
    assert "Differences in accuracy on 15 test photographs, with" in printed
    listed = metrics_of(runs(place)[0])["list"]
    assert printed.count(listed) == 1
    assert f"best epoch on {listed}, which no training has read." in printed
    assert "too high" not in printed
    assert "validation" not in printed
    page = (place / "runs" / "compare" / "002" / "index.html").read_text()
    assert "on the test photographs; at most" in page
    assert "/test_" in page, "photographs of the test list"
    assert labels[-1] == "test accuracy"


def test_a_comparison_on_the_validation_list_names_the_test_list_where_there_is_one(place, capsys):
    warning = "chosen on the same photographs: all are a little too high"
    assert compare.main(settings(place, split="val", given=frozenset({"split"}))) == 0
    assert f"{warning}; --split test compares on the test list, which chose nothing." in capsys.readouterr().out
    (place / "data" / "test_list.txt").unlink()
    assert compare.main(settings(place, split="val")) == 0
    assert f"{warning}.\n" in capsys.readouterr().out


def test_an_evaluation_on_another_test_list_is_made_anew(place, calls):
    write_test_list(place / "data", [("cat/test_0.png", 0), ("dog/test_0.png", 1), ("sheep/test_0.png", 2)])
    assert compare.main(settings(place)) == 0
    assert calls == ["eval.py", "eval.py"]
    assert all(metrics_of(run)["photographs"] == 3 for run in runs(place))
    calls.clear()
    assert compare.main(of_runs(place, runs(place))) == 0
    assert calls == []


def test_finished_runs_are_compared_on_their_test_list(place, calls, capsys):
    for run in runs(place):
        shutil.rmtree(run / "eval_test")
    assert compare.main(of_runs(place, runs(place))) == 0
    assert calls == ["eval.py", "eval.py"]
    assert table(place / "compared")["split"] == "test"
    shutil.rmtree(place / "data")
    assert compare.main(of_runs(place, runs(place))) == 0, "evaluated before the photographs were deleted"
    assert calls == ["eval.py", "eval.py"]
    shutil.rmtree(runs(place)[1] / "eval_test")
    capsys.readouterr()
    assert compare.main(of_runs(place, runs(place))) == 2
    assert "there is no " in last_error(capsys)


def test_runs_with_other_test_lists_are_not_compared(place, capsys):
    first, other = runs(place)
    shutil.copytree(place / "data", place / "moved")
    write_test_list(place / "moved", [("cat/test_0.png", 0)])
    config = other / "config.yaml"
    config.write_text(config.read_text().replace(str(place / "data"), str(place / "moved")))
    assert compare.main(of_runs(place, (first, other))) == 2
    assert f"{other} and {first} cannot be tested on the same photographs: their test lists differ" in last_error(capsys)
    assert compare.main(of_runs(place, (first, other), split="val")) == 0

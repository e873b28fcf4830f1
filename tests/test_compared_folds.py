"""Comparisons on folds, and the labels that their networks contest."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from test_compare import replace_networks

import compare
import suspects
from comparison import run_plan, side_by_side
from comparison.significance import paired_difference
from comparison.verdict import best_against_others, differences, verdict
from config import Config, load_config, parse_config
from data.data_folder import DataFolder
from data.splitting import split_folder

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.python_independent]
KINDS = ("=cmd", "grün", "red")  # a spreadsheet would run the first


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of eight pictures in three colours, in two folds; one green picture lies among the red ones."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for label, name in enumerate(KINDS):
        (root / name).mkdir()
        for index in range(8):
            color = np.full(3, 30) + 190 * (np.arange(3) == (1 if (name, index) == ("red", 3) else label))
            pixels = rng.normal(color, 15, (24, 26, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
    split_folder(root, folds=2)
    return root


def settings(data, folder, **changes):
    chosen = {
        "nets": ("resnet", "se_resnet50"), "data": str(data), "runs_dir": str(folder / "runs"), "image_size": 24, "epochs": 5,
        "batch_size": 3, "num_workers": 0, "threads": 2, "folds": 2, "device": "cpu", "train_crop": "resize",
        "eval_crop": "resize", "optimizer": "momentum", "learning_rate": 0.05, "label_smoothing": 0.0,
        "zero_init_residual": False, "fused": "off",
    }  # fmt: skip
    return Config(**{**chosen, **changes})


@pytest.fixture
def calls(monkeypatch):
    return replace_networks(monkeypatch)


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):
    """A folder that holds ``runs`` with a finished comparison of two networks on two folds."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        replace_networks(patch)
        assert compare.main(settings(data, folder)) == 0
    return folder


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(folder):
    return json.loads((folder / "table.json").read_text(encoding="utf-8"))


def test_each_network_is_trained_on_each_fold_and_predicts_every_photograph_once(compared, data):
    folder = compared / "runs" / "compare" / "001"
    everything = {f"{name}/{index}.png" for name in KINDS for index in range(8)}
    for row in table(folder)["networks"]:
        runs = table(folder)["runs"][row["network"]]
        assert [load_config(f"{run}/config.yaml").fold for run in runs] == [1, 2]
        predictions = rows_of(folder / f"out_of_fold_{row['network']}.csv")
        assert list(predictions[0]) == ["path", "label", "prediction", "confidence", "fold"]
        assert sorted(own["path"].lstrip("'") for own in predictions) == sorted(everything)
        for own in predictions:
            lists = DataFolder(data, fold=int(own["fold"]))
            assert own["path"].lstrip("'") in {sample.name for sample in lists.read_list("val_list.txt", 3)}
        right = [own["label"] == own["prediction"] for own in predictions]
        assert row["accuracy"] == pytest.approx(np.mean(right))
        of_folds = [np.mean([r for r, own in zip(right, predictions) if own["fold"] == fold]) for fold in "12"]
        assert row["accuracy_of_folds"] == pytest.approx(of_folds)
        assert (row["seeds"], row["folds"]) == (1, 2)
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert (
        "accuracy on out-of-fold predictions of 24 photographs, with 95% interval over other photographs and the trainings"
        in text
    )
    assert "The runs differ in fold" not in text
    assert "out_of_fold_resnet.csv" in text


def test_what_is_there_is_not_trained_again(compared, data, calls, capsys):
    assert compare.main(settings(data, compared)) == 0
    assert calls == []
    assert "resnet, seed 0, fold 2: " in capsys.readouterr().out


def test_finished_runs_on_folds_are_compared_as_they_are(compared, tmp_path, calls, capsys):
    runs = [str(compared / "runs" / net / number) for net in ("resnet", "se_resnet50") for number in ("001", "002")]
    assert compare.main(Config(runs=tuple(runs), runs_dir=str(tmp_path), device="cpu")) == 0
    assert set(table(tmp_path / "compare" / "001")["runs"]) == {"resnet", "se_resnet50"}
    assert compare.main(Config(runs=tuple(runs[:3]), runs_dir=str(tmp_path), device="cpu")) == 2
    assert "se_resnet50, seed 0 has no run on fold 2: runs on folds are compared where" in capsys.readouterr().err


def test_other_folds_than_those_of_the_split_are_refused(compared, data, calls, capsys):
    assert compare.main(settings(data, compared, folds=3)) == 2
    error = capsys.readouterr().err
    assert f"folds = 3: the split of {data} has 2 folds: python train_val_split.py --data {data} --folds 3 divides it" in error
    assert error.count("\n") == 1


def test_a_seed_without_one_of_its_folds_is_left_out(data, compared, tmp_path, calls, monkeypatch):
    shutil.copytree(compared / "runs", tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "se_resnet50" / "002")

    def failed(script, arguments, quiet=False):
        assert script == "train.py"
        raise run_plan.ProcessFailed("train.py: error: as its last line says")

    monkeypatch.setattr(side_by_side, "run_script", failed)
    assert compare.main(settings(data, tmp_path)) == 1
    resnet, other = table(max((tmp_path / "runs" / "compare").iterdir()))["networks"]
    assert (resnet["network"], resnet["seeds"], resnet["folds"]) == ("resnet", 1, 2)
    assert (other["network"], other["seeds"], other["accuracy"]) == ("se_resnet50", 0, None)
    assert "seed 0, fold 2 failed" in other["note"]
    assert "seed 0 has no run on fold 2 and is left out" in other["note"]


def test_differences_on_folds_count_how_much_trainings_scatter():
    """One training a fold: the same mean difference is shown where all folds agree on it, and not where one fold makes it."""
    rng = np.random.default_rng(1)
    folds = np.arange(1000) % 5
    base = rng.random((1, 1000)) < 0.5
    steady, lucky = base.copy(), base.copy()
    for fold in range(5):
        wrong = np.flatnonzero((folds == fold) & ~base[0])
        steady[0, wrong[:16]] = True
    lucky[0, np.flatnonzero((folds == 0) & ~base[0])[:80]] = True
    assert steady.mean() == lucky.mean()
    assert paired_difference(steady, base, folds=folds).low > 0
    assert paired_difference(lucky, base, folds=folds).low < 0
    correct = {"steady": steady, "base": base}
    compared = best_against_others(correct, differences(correct, folds))
    assert verdict(compared, 1000, folds=5).startswith("steady is the best of these networks on this data.")


def test_equal_networks_on_folds_are_rarely_called_different():
    rng = np.random.default_rng(2)
    folds = np.arange(400) % 5
    wrong = 0
    for _ in range(15):
        easy, noise = rng.normal(0.5, 1, 400), rng.normal(0, 0.2, (2, 5))[:, folds]
        one, other = rng.normal(0, 1, (2, 400)) + easy + noise > 0
        wrong += paired_difference(one, other, folds=folds).p < 0.05
    assert wrong <= 3


# Labels that the networks contest


def look(*words):
    return suspects.main(parse_config([*map(str, words), "--device", "cpu", "--num_workers", "0"], "suspects"))


def test_a_photograph_under_a_wrong_label_is_found(compared, data, calls, capsys):
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert look("--net", "resnet", "--runs_dir", compared / "runs") == 0
    out = capsys.readouterr().out
    folder = compared / "runs" / "suspects" / "001"
    rows = rows_of(folder / "suspects.csv")
    assert list(rows[0]) == ["path", "label", "suggested", "probability", "score", "fold", "suspect"]
    assert len(rows) == 24
    worst = [row["path"] for row in rows[:3]]
    assert "red/3.png" in worst
    found = next(row for row in rows if row["path"] == "red/3.png")
    assert (found["label"], found["suggested"], found["suspect"]) == ("red", "grün", "yes")
    assert f"page to look at them: {folder / 'index.html'}" in out
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure") == sum(row["suspect"] == "yes" for row in rows)
    assert "label: red" in page
    references = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert all(reference.startswith("data:") for reference in references)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before, "nothing of the user's changes"
    cells = [row["label"] for row in rows]
    assert "'=cmd" in cells, "a spreadsheet must not run the name of a class"
    ours = {row["path"]: (row["label"], row["prediction"]) for row in rows_of(folder / "out_of_fold.csv")}
    other = rows_of(compared / "runs" / "compare" / "001" / "out_of_fold_resnet.csv")
    assert ours == {row["path"]: (row["label"], row["prediction"]) for row in other}


def test_runs_can_be_named(compared, calls, capsys):
    runs = [compared / "runs" / net / number for net in ("resnet", "se_resnet50") for number in ("002", "001")]
    assert look("--runs", *runs, "--runs_dir", compared / "runs") == 0
    assert look("--runs", runs[0], "--runs_dir", compared / "runs") == 2
    assert f"there is no finished run on fold 1 with the settings of {runs[0]}" in capsys.readouterr().err


def test_missing_folds_are_named_with_the_command_that_trains_them(compared, tmp_path, calls, capsys):
    shutil.copytree(compared / "runs" / "resnet" / "001", tmp_path / "runs" / "resnet" / "001")
    assert look("--net", "resnet", "--runs_dir", tmp_path / "runs") == 2
    error = capsys.readouterr().err
    run = tmp_path / "runs" / "resnet" / "001"
    assert f"python train.py --config {run / 'config.yaml'} --fold 2 trains it" in error
    assert error.count("\n") == 1
    trained = parse_config(["--config", str(run / "config.yaml"), "--fold", "2"], "train")
    assert (trained.fold, trained.epochs, trained.image_size) == (2, 5, 24)


def test_without_a_run_on_a_fold_the_way_there_is_said(tmp_path, capsys):
    assert look("--net", "resnet", "--runs_dir", tmp_path, "--data", "photos") == 2
    error = capsys.readouterr().err
    assert "python train_val_split.py --data photos --folds 5" in error
    assert "python compare.py --nets resnet --folds 5 --data photos trains one on each" in error


def test_photographs_of_a_strangers_run_are_not_read(compared, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another user"))
    assert look("--net", "resnet", "--runs_dir", compared / "runs") == 2
    assert "there is no note that you have trained with it here" in capsys.readouterr().err


def test_another_split_since_the_trainings_is_noticed(compared, data, tmp_path, calls, capsys):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    split_folder(copy, folds=2, seed=5)
    capsys.readouterr()
    assert look("--net", "resnet", "--runs_dir", compared / "runs", "--data", copy) == 2
    assert "and the lists as they are: python train.py --config " in capsys.readouterr().err

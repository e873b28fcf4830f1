"""Unbalanced classes: accuracy hides the small ones, so balanced accuracy is shown beside it wherever accuracy is."""

import csv
import json
import re

import numpy as np
import pytest
from listed_pictures import write_pictures
from tiny_network import TinyResNet

import compare
import eval as eval_script
import networks
import train
from comparison import side_by_side
from comparison.verdict import balance_note, origin_of_accuracies
from config import Config
from plots import figures
from trained import history
from trained.history import read_history, write_history
from trained.result import read_result

pytestmark = pytest.mark.usefixtures("quick_pictures")


def tiny_se_resnet(num_classes):
    return TinyResNet(num_classes, "se")


def register(patch):
    for name, function in (("resnet", "TinyResNet"), ("se_resnet50", "tiny_se_resnet")):
        patch.setitem(networks.NETWORKS, name, networks.Lazy(__name__, function))


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    register(monkeypatch)
    monkeypatch.setattr(side_by_side, "run_script", lambda script, *arguments, **options: pytest.fail(f"{script} was run"))


@pytest.fixture
def drawn(monkeypatch):
    """{name of a picture: (labels of its y axes, all texts of its legends)}, as pictures are drawn."""
    found = {}
    save = figures.save_figure

    def note(figure, path):
        axes = [one for one in figure.axes if one.get_visible()]
        legends = [text.get_text() for one in axes if one.get_legend() for text in one.get_legend().get_texts()]
        found[path.name] = [one.get_ylabel() for one in axes if one.get_ylabel()], legends, figure
        save(figure, path)

    monkeypatch.setattr(figures, "save_figure", note)
    return found


def settings(folder, data, net="resnet"):
    return Config(
        net=net, data=str(data), runs_dir=str(folder / "runs"), image_size=32, epochs=2, batch_size=7, num_workers=0, threads=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ``data``, whose largest class is four times the smallest, and an evaluated run of either network."""
    folder = tmp_path_factory.mktemp("unbalanced")
    write_pictures(folder / "data", train=(12, 3, 4), val=(8, 2, 3))
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        for net in ("resnet", "se_resnet50"):
            assert train.main(settings(folder, folder / "data", net)) == 0
            run = folder / "runs" / net / "001"
            assert eval_script.main(Config(run=str(run), num_workers=0, given=frozenset({"run"}))) == 0
    return folder


def runs(folder):
    return [folder / "runs" / net / "001" for net in ("resnet", "se_resnet50")]


def recalls(run):
    """Recall of each class with photographs, from predictions.csv."""
    with open(run / "eval" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    of_class = {}
    for row in rows:
        of_class.setdefault(row["label"], []).append(row["label"] == row["prediction"])
    return [np.mean(answers) for answers in of_class.values()]


def test_training_and_evaluation_agree_on_the_balanced_accuracy(place):
    for run in runs(place):
        metrics = json.loads((run / "eval" / "metrics.json").read_text())
        assert len(recalls(run)) == 3
        assert metrics["balanced_acc"] == pytest.approx(np.mean(recalls(run)), abs=1e-12)
        assert metrics["macro_f1"] == pytest.approx(np.mean([of["f1"] for of in metrics["per_class"].values()]), abs=1e-12)
        [best] = [row for row in read_history(run) if row["epoch"] == read_result(run)["best"]["epoch"]]
        assert best["val_balanced_acc"] == pytest.approx(metrics["balanced_acc"], abs=1e-12)


def test_lines_and_curves_of_a_training_show_it_where_classes_are_unbalanced(place, tmp_path, capsys, drawn):
    assert train.main(settings(tmp_path, place / "data")) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = read_history(tmp_path / "runs" / "resnet" / "001")
    shown = [line for line in lines if line.startswith("epoch ")]
    for line, row in zip(shown, rows):
        assert f" acc {row['val_acc']:.4f} balanced acc {row['val_balanced_acc']:.4f}  " in line
    best = max(rows, key=lambda row: (row["val_acc"], -row["val_loss"]))
    expected = f"{best['val_acc']:.4f}, balanced accuracy {best['val_balanced_acc']:.4f} in epoch {best['epoch']} of 2"
    assert f"best validation accuracy {expected}" in lines[-1], "the best epoch is still that of the highest accuracy"
    labels, legends, _ = drawn["curves.png"]
    assert labels == ["cross-entropy loss", "accuracy", "balanced accuracy"]
    assert f"best epoch {best['epoch']}: {best['val_balanced_acc']:.4f}" in legends


def test_nothing_changes_where_they_are_balanced(tmp_path, capsys, drawn):
    data = write_pictures(tmp_path / "data", train=(6, 4, 4), val=(6, 2, 4))
    for net in ("resnet", "se_resnet50"):
        assert train.main(settings(tmp_path, data, net)) == 0
        assert "balanced" not in capsys.readouterr().out
        run = str(tmp_path / "runs" / net / "001")
        assert eval_script.main(Config(run=run, num_workers=0, given=frozenset({"run"}))) == 0
        assert re.search(r"^balanced accuracy \(mean recall of the classes\) 0\.\d{4}, macro F1 0\.\d{4}$",
                         capsys.readouterr().out, re.MULTILINE)  # fmt: skip
    assert drawn["curves.png"][0] == ["cross-entropy loss", "accuracy"]
    assert "balanced" not in drawn["confusion_matrix.png"][2].axes[0].get_title()
    assert compare.main(Config(runs=tuple(map(str, runs(tmp_path))), runs_dir=str(tmp_path))) == 0
    assert "balanced" not in capsys.readouterr().out
    assert drawn["comparison.png"][0] == ["validation accuracy", "validation loss"]
    assert drawn["tradeoff.png"][0] == ["validation accuracy"]
    assert "balanced" not in (tmp_path / "compare" / "001" / "index.html").read_text()


def test_a_comparison_shows_it_beside_the_accuracy(place, tmp_path, capsys, drawn):
    assert compare.main(Config(runs=tuple(map(str, runs(place))), runs_dir=str(tmp_path))) == 0
    printed = capsys.readouterr().out
    found = {run.parent.name: np.mean(recalls(run)) for run in runs(place)}
    table = json.loads((tmp_path / "compare" / "001" / "table.json").read_text())
    for row in table["networks"]:
        assert row["balanced_accuracy"] == pytest.approx(found[row["network"]], abs=1e-12)
    assert " balanced accuracy |" in printed.splitlines()[0]
    best = max(found.values())
    first = [name for name, value in found.items() if value == pytest.approx(best)]
    assert "Note: The classes are unbalanced: cat has 8 validation photographs, dog 2." in printed
    assert f"is highest for {' and '.join(first)}: {best:.4f}." in printed
    page = (tmp_path / "compare" / "001" / "index.html").read_text()
    assert f">{best:.4f}</td>" in page
    assert "The classes are unbalanced" in page
    labels, legends, _ = drawn["comparison.png"]
    assert labels == ["validation accuracy", "validation balanced accuracy", "validation loss"]
    assert not any("not recorded" in text for text in legends)
    assert drawn["tradeoff.png"][0] == ["validation accuracy", "validation balanced accuracy"]


def test_names_of_classes_and_lists_bring_nothing_to_the_terminal():
    row = {"network": "resnet", "balanced_accuracy": 0.5}
    assert balance_note([row], {"a\x1b[31m": 9, "b\n": 2}, "val").isprintable()
    assert origin_of_accuracies("test", "data\x1b[2J/test_list.txt").isprintable()


def test_runs_from_before_it_was_measured_are_compared(place, tmp_path, monkeypatch, drawn):
    """Their evaluations have predictions, their histories no balanced accuracy."""
    for run in runs(place):
        copy = tmp_path / "runs" / run.parent.name / "001"
        (copy / "eval").mkdir(parents=True)
        for name in ("config.yaml", "classes.txt", "result.json", "eval/predictions.csv"):
            (copy / name).write_bytes((run / name).read_bytes())
        metrics = json.loads((run / "eval" / "metrics.json").read_text())
        for name in ("balanced_acc", "macro_f1", "split", "list_sha256"):
            metrics.pop(name)
        (copy / "eval" / "metrics.json").write_text(json.dumps(metrics))
        with monkeypatch.context() as patch:
            before = {name: column for name, column in history.COLUMNS.items() if "balanced" not in name}
            patch.setattr(history, "COLUMNS", before)
            write_history(copy, read_history(run))
    assert compare.main(Config(runs=tuple(map(str, runs(tmp_path))), runs_dir=str(tmp_path))) == 0
    table = json.loads((tmp_path / "compare" / "001" / "table.json").read_text())
    found = {run.parent.name: np.mean(recalls(run)) for run in runs(place)}
    assert {row["network"]: row["balanced_accuracy"] for row in table["networks"]} == pytest.approx(found)
    assert sum("not recorded" in text for text in drawn["comparison.png"][1]) == 2


def test_the_band_over_seeds_and_epochs_before_the_measure_are_drawn(tmp_path, quick_pictures, monkeypatch):
    """Histories of several seeds, whose first epochs an older version trained."""
    monkeypatch.setattr(figures, "save_figure", quick_pictures)
    row = {"train_loss": 1.0, "train_acc": 0.5, "val_loss": 1.0, "val_acc": 0.5}
    rows = [{**row, "epoch": n, "train_balanced_acc": v, "val_balanced_acc": v} for n, v in ((1, None), (2, 0.25), (3, 0.5))]
    figures.draw_curves(rows, tmp_path / "curves.png", "title", balanced=True)
    figures.draw_comparison([("a", [rows, rows]), ("b", [rows])], tmp_path / "comparison.png", balanced=True)
    assert figures.mean_history([rows, rows])[0]["val_balanced_acc"] is None
    assert figures.mean_history([rows, rows])[2]["val_balanced_acc"] == 0.5

"""Comparing finished runs."""

import pytest
from PIL import Image

import compare
from config import Config
from training.run_folder import create_run, write_config, write_history, write_result


def make_run(runs_dir, net, accuracies, status="finished", lists=("t", "v"), **changes):
    run = create_run(runs_dir, net)
    rows = [
        {"epoch": i, "learning_rate": 0.1, "train_loss": 2.0 / i, "train_acc": acc, "val_loss": 3.0 / i, "val_acc": acc,
         "seconds": 4.0, "images_per_second": 50.0}
        for i, acc in enumerate(accuracies, start=1)
    ]  # fmt: skip
    write_history(run, rows)
    write_config(run, Config(net=net, **changes).as_dict())
    best = max(rows, key=lambda row: row["val_acc"])
    result = {"net": net, "status": status, "best": best, "epochs": len(rows), "seconds": 9.0, "images_per_second": 50.0}
    write_result(run, {**result, "list_sha256": {"train": lists[0], "val": lists[1]}})
    return run


def test_newest_finished_runs_are_compared_in_a_picture_and_a_table(tmp_path, capsys):
    make_run(tmp_path, "resnet", [0.2, 0.4, 0.3])
    make_run(tmp_path, "sa_resnet", [0.1])
    make_run(tmp_path, "sa_resnet", [0.3, 0.6])
    assert compare.main(Config(nets=("resnet", "sa_resnet"), runs_dir=str(tmp_path))) == 0
    folder = tmp_path / "compare" / "001"
    table = (folder / "table.md").read_text()
    assert "| resnet | 0.4000 | 2 of 3 |" in table
    assert "| sa_resnet | 0.6000 | 2 of 2 |" in table
    assert table in capsys.readouterr().out
    with Image.open(folder / "comparison.png") as picture:
        assert picture.width > 800


def test_two_runs_of_one_network_are_told_apart(tmp_path):
    runs = tuple(str(make_run(tmp_path, "resnet", [acc])) for acc in (0.2, 0.3))
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path))) == 0
    table = (tmp_path / "compare/001/table.md").read_text()
    assert "| resnet 001 | 0.2" in table
    assert "| resnet 002 | 0.3" in table


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"lists": ("t", "w")}, "saw different photographs: their val lists differ"),
        ({"lists": ("s", "v")}, "saw different photographs: their train lists differ"),
        ({"status": "interrupted"}, "is interrupted: only finished runs are compared"),
    ],
)
def test_what_is_not_comparable_is_refused(tmp_path, capsys, other, complaint):
    runs = (str(make_run(tmp_path, "resnet", [0.2])), str(make_run(tmp_path, "sa_resnet", [0.2], **other)))
    assert compare.main(Config(runs=runs, runs_dir=str(tmp_path))) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "compare").exists()


def test_settings_that_differ_are_named(tmp_path, capsys):
    runs = (make_run(tmp_path, "resnet", [0.2], epochs=6), make_run(tmp_path, "sa_resnet", [0.2], sa_groups=32, threads=1))
    assert compare.main(Config(runs=tuple(map(str, runs)), runs_dir=str(tmp_path))) == 0
    printed = capsys.readouterr().out
    assert "Note: the runs differ in epochs: 6, 100." in printed
    assert "sa_groups" not in printed
    assert "threads" not in printed


def test_a_run_is_not_compared_with_itself(tmp_path, capsys):
    make_run(tmp_path, "resnet", [0.2])
    assert compare.main(Config(nets=("resnet", "resnet"), runs_dir=str(tmp_path))) == 2
    assert "a run is there twice" in capsys.readouterr().err


def test_one_run_is_no_comparison(tmp_path, capsys):
    assert compare.main(Config(runs=(str(make_run(tmp_path, "resnet", [0.2])),), runs_dir=str(tmp_path))) == 2
    assert "at least two" in capsys.readouterr().err

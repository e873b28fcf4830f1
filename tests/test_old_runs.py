"""Runs of an earlier version of the toolkit are continued, evaluated, compared and explained: see old_runs/README.md."""

import hashlib
import json
from pathlib import Path

import paddle
import pytest
import yaml
from old_run import (
    FAST,
    FINISHED,
    INTERRUPTED,
    KEPT,
    OF_ANOTHER_NETWORK,
    SETTINGS,
    change_header,
    contents,
    lay_out,
    no_other_process,
    read_table,
    replace_networks,
    run_script,
)
from PIL import Image

pytestmark = [
    pytest.mark.filterwarnings("ignore:Glyph"),  # where no font has Chinese characters
    pytest.mark.usefixtures("quick_pictures"),
]

EXPECTED = json.loads((KEPT / "expected.json").read_text(encoding="utf-8"))
WRITTEN_WITH = json.loads((KEPT / "resnet" / "001" / "best.header.json").read_text(encoding="utf-8"))["versions"]["paddle"]


@pytest.fixture(autouse=True)
def old_runs(tmp_path, monkeypatch):
    """The runs and their photographs in the current folder."""
    replace_networks(monkeypatch)
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)


def change_settings(run, change):
    """Let ``change`` alter the settings, a dict, in config.yaml and in the headers of the checkpoints."""
    file = run / "config.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for file in run.glob("*.safetensors"):
        change_header(file, lambda header: change(header["config"]))


def result_of(run):
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def check_continued(run, before, epochs):
    """Raise unless the run is finished, after so many epochs, and the rows ``before`` are in its history as they were."""
    rows = read_table(run / "history.csv")
    assert [{name: row[name] for name in before[0]} for row in rows[: len(before)]] == before
    assert [row["epoch"] for row in rows] == [str(number + 1) for number in range(epochs)]
    result = result_of(run)
    assert (result["status"], result["epochs"]) == ("finished", epochs)
    assert (run / "best.safetensors").is_file()
    if paddle.__version__ == WRITTEN_WITH:  # others may draw and round differently
        expected = EXPECTED["history"][run.as_posix()]
        for row, figures in zip(rows[len(before) :], expected):
            assert {name: float(row[name]) for name in figures} == pytest.approx(figures, rel=1e-4), row["epoch"]


def test_an_interrupted_run_goes_on_to_its_end(capsys):
    before = read_table(INTERRUPTED / "history.csv")
    assert run_script("train", "--resume", INTERRUPTED, *FAST) == 0
    assert "going on after epoch 1, step 2" in capsys.readouterr().out
    check_continued(INTERRUPTED, before, 3)
    assert "epochs_before" not in result_of(INTERRUPTED)


def test_what_an_interrupted_epoch_had_gathered_counts():
    def gather(header):
        header["so_far"]["seconds"] = 1000.0
        header["so_far"]["metrics"]["mean_loss"][0] = 9000.0

    change_header(INTERRUPTED / "last.safetensors", gather)
    assert run_script("train", "--resume", INTERRUPTED, *FAST) == 0
    row = read_table(INTERRUPTED / "history.csv")[1]
    assert float(row["seconds"]) > 1000
    assert float(row["train_loss"]) == pytest.approx(9000 / 18, rel=0.1), "of 18 photographs"


def test_balanced_accuracy_is_known_of_what_was_counted():
    assert run_script("train", "--resume", INTERRUPTED, *FAST) == 0
    before, begun, after = read_table(INTERRUPTED / "history.csv")
    assert (before["train_balanced_acc"], before["val_balanced_acc"]) == ("", "")
    assert begun["train_balanced_acc"] == "", "the older version has not counted the classes of its first photographs"
    # with as many photographs of each class it is the accuracy
    assert float(begun["val_balanced_acc"]) == pytest.approx(float(begun["val_acc"]))
    assert float(after["train_balanced_acc"]) == pytest.approx(float(after["train_acc"]))


def test_a_finished_run_is_left_alone(capsys):
    before = contents(FINISHED)
    assert run_script("train", "--resume", FINISHED, *FAST) == 0
    assert "is finished" in capsys.readouterr().out
    assert contents(FINISHED) == before


def test_a_finished_run_is_trained_further():
    before = read_table(FINISHED / "history.csv")
    assert run_script("train", "--resume", FINISHED, "--epochs", 3, *FAST) == 0
    check_continued(FINISHED, before, 3)
    assert result_of(FINISHED)["epochs_before"] == [2]


@pytest.mark.parametrize("run", [FINISHED, OF_ANOTHER_NETWORK], ids=lambda run: run.parent.name)
def test_a_finished_run_is_evaluated(run):
    before = json.loads((run / "eval" / "metrics.json").read_text(encoding="utf-8"))
    assert run_script("eval", "--net", run.parent.name, "--num_workers", 0, *FAST) == 0
    metrics = json.loads((run / "eval" / "metrics.json").read_text(encoding="utf-8"))
    assert Path(metrics["list"]) == Path(before["list"])
    for name in ("photographs", "epoch", "same_list_as_in_training"):
        assert metrics[name] == before[name]
    assert {name: metrics[name] for name in ("loss", "acc")} == pytest.approx(EXPECTED["eval"][run.as_posix()], rel=1e-4)


def test_the_interrupted_run_is_evaluated():
    assert run_script("eval", "--run", INTERRUPTED, "--num_workers", 0, *FAST) == 0
    assert json.loads((INTERRUPTED / "eval" / "metrics.json").read_text(encoding="utf-8"))["epoch"] == 1


def table():
    [file] = FINISHED.parent.parent.glob("compare/*/table.json")
    return json.loads(file.read_text(encoding="utf-8"))


def check_compared(before):
    found = table()
    assert found["runs"] == {"resnet": [str(FINISHED)], "sa_resnet": [str(OF_ANOTHER_NETWORK)]}
    for row in found["networks"]:
        metrics = json.loads(before[FINISHED.parent.parent / row["network"] / "001" / "eval" / "metrics.json"])
        assert (row["accuracy"], row["loss"]) == (metrics["acc"], metrics["loss"])
    assert {run: contents(run) for run in (FINISHED, OF_ANOTHER_NETWORK)} == {
        run: {file: content for file, content in before.items() if run in file.parents}
        for run in (FINISHED, OF_ANOTHER_NETWORK)
    }


def test_runs_are_compared(monkeypatch):
    before = contents(FINISHED.parent.parent)
    with no_other_process(monkeypatch):
        assert run_script("compare", "--runs", FINISHED, OF_ANOTHER_NETWORK, *FAST) == 0
    check_compared(before)


def test_runs_count_for_a_comparison_of_networks(monkeypatch, capsys):
    before = contents(FINISHED.parent.parent)
    with no_other_process(monkeypatch):
        assert run_script("compare", "--nets", "resnet", "sa_resnet", *SETTINGS) == 0
    assert capsys.readouterr().out.count("is there already") == 2
    check_compared(before)


def test_another_comparison_trains_anew(monkeypatch, capsys):
    with no_other_process(monkeypatch):
        assert run_script("compare", "--nets", "resnet", "sa_resnet", *SETTINGS, "--label_smoothing", 0.1) == 2
    found = capsys.readouterr()
    assert "is there already" not in found.out
    assert "training 1 of 2: resnet, seed 0" in found.out
    assert "a process was to be begun" in found.err


def test_runs_are_explained():
    words = ("--nets", "resnet", "sa_resnet", "--sample", 2, *FAST)
    assert run_script("gradcam", *words, "--picture", "both.png") == 0
    with Image.open("both.png") as picture:
        picture.load()


def test_a_training_starts_from_the_weights_of_a_run(capsys):
    weights = FINISHED / "best.safetensors"
    assert run_script("train", "--net", "resnet", *SETTINGS, "--epochs", 1, "--init_from", weights) == 0
    run = FINISHED.with_name("003")
    assert result_of(run)["init_from_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


# Runs that are older than a setting

SINCE = ("label_smoothing", "rotation", "save_best_above", "step_gamma", "zero_init_residual", "save_every_steps", "mean")


@pytest.fixture
def with_less():
    """The settings lack some that have a default."""
    for run in (FINISHED, OF_ANOTHER_NETWORK, INTERRUPTED):
        change_settings(run, lambda settings: [settings.pop(name) for name in SINCE])


@pytest.mark.usefixtures("with_less")
def test_a_setting_that_is_not_there_has_its_default(capsys):
    assert run_script("train", "--resume", INTERRUPTED, *FAST) == 0
    assert run_script("eval", "--run", FINISHED, "--num_workers", 0, *FAST) == 0
    assert run_script("gradcam", "--run", FINISHED, "--sample", 1, *FAST) == 0
    assert run_script("compare", "--runs", FINISHED, OF_ANOTHER_NETWORK, *FAST) == 0
    assert "The runs differ" not in capsys.readouterr().out


@pytest.mark.usefixtures("with_less")
def test_runs_without_a_setting_count_for_a_comparison_with_its_default(capsys):
    assert run_script("compare", "--nets", "resnet", "sa_resnet", *SETTINGS) == 0
    assert capsys.readouterr().out.count("is there already") == 2
    [file] = FINISHED.parent.parent.glob("compare/*/table.json")
    assert json.loads(file.read_text(encoding="utf-8"))["runs"]["resnet"] == [str(FINISHED)]


@pytest.mark.usefixtures("with_less")
def test_runs_without_a_setting_do_not_count_for_another_value(capsys, monkeypatch):
    with no_other_process(monkeypatch):
        assert run_script("compare", "--nets", "resnet", "sa_resnet", *SETTINGS, "--label_smoothing", 0.1) == 2
    found = capsys.readouterr()
    assert "is there already" not in found.out
    assert "a process was to be begun" in found.err

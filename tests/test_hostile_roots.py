"""Data folders from strangers: each is handled, or refused in one clear line; no label is ever wrong."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hostile_roots import CLASSES, ESCAPE, HOSTILE_ROOTS, outside, photographs, plain, with_lists

import compare
import eval as eval_script
import gradcam
import networks
import show_photographs
import train
import train_val_split
from animal_dataset import AnimalDataset
from config import parse_config
from data import splitting
from data.data_folder import DataFolder
from data.lists import TRAIN_LIST, VAL_LIST
from sa_resnet import ResNet
from training.model import TrainingModel

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {"train": train, "eval": eval_script, "compare": compare, "gradcam": gradcam, "show_photographs": show_photographs}
TINY = ("--image_size", "32", "--epochs", "1", "--batch_size", "8", "--threads", "2")
pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes, and other rules for names")


def tiny_resnet(num_classes):
    return ResNet((1, 1, 1, 1), num_classes)


@pytest.fixture(autouse=True)
def split_in_threads(monkeypatch):
    """Processes, which take longer to start, run in the tests of the command."""
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    for name in ("resnet", "se_resnet50"):
        monkeypatch.setitem(networks.NETWORKS, name, networks.Lazy(__name__, "tiny_resnet"))


@pytest.fixture
def fit_reads(monkeypatch):
    """Training reads every photograph once, and nothing else."""

    def fit(self, train_loader, val_loader, *rest):
        for loader in (train_loader, val_loader):
            for _ in loader:
                pass

    monkeypatch.setattr(TrainingModel, "fit", fit)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The runs folder of a network trained on cats and dogs that nothing is wrong with."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "resnet", networks.Lazy(__name__, "tiny_resnet"))
        data = with_lists(folder / "data")
        assert train.main(settings("train", data, "--net", "resnet", "--runs_dir", folder / "runs", *TINY)) == 0
    return folder / "runs"


def settings(script, data, *more):
    workers = ("--num_workers", "0") if script in ("train", "eval", "compare") else ()
    return parse_config(["--data", str(data), *map(str, more), *workers], script)


def outcome(capsys, main, config):
    """(exit code, stderr) of a script; whatever it is, nothing raw reaches the terminal, and a refusal is one line."""
    capsys.readouterr()
    code = main(config)
    out, err = capsys.readouterr()
    # a build of Paddle for GPUs says so where there is none
    err = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("running on the processor"))
    assert not set("\x1b\x07\x9b\u202e") & set(out + err)
    if code:
        assert code == 2
        assert err.splitlines()[-1].count(": error: ") == 1
        assert len([line for line in err.splitlines() if not line.startswith(("note: ", "left out: "))]) == 1
        assert len(err) < 4000
    return code, err


def check_labels(data):
    """Every photograph of the lists is in the folder of the class that its label stands for."""
    classes = DataFolder(data).read_classes()
    for name in (TRAIN_LIST, VAL_LIST):
        for sample in AnimalDataset(data / name, 8, train=False).samples:
            assert sample.name.split("/")[0] == classes[sample.label]
            assert not (data / sample.name).resolve().is_relative_to(data.with_name(data.name + " elsewhere"))


@pytest.mark.parametrize("root", HOSTILE_ROOTS, ids=lambda root: root.name)
def test_a_hostile_root_is_handled_or_refused_in_one_line(root, trained, tmp_path, fit_reads, capsys):
    data = root.build(tmp_path / "data") or tmp_path / "data"
    if root.split is not None:
        code, err = outcome(capsys, train_val_split.main, settings("train_val_split", data))
        if root.split is not True:
            assert code == 2
            assert root.split in err
            return
        assert (code, err) == (0, "")
        check_labels(data)
    code, err = outcome(capsys, train.main, settings("train", data, "--net", "resnet", "--runs_dir", tmp_path / "runs", *TINY))
    if root.train is True:
        assert (code, err) == (0, "")
        return
    assert code == 2
    assert root.train in err
    run = ("--run", trained / "resnet" / "001", "--runs_dir", tmp_path / "runs")
    for script, options in (
        ("eval", run), ("gradcam", run), ("show_photographs", ("--picture", tmp_path / "grid.png")),
        ("compare", ("--nets", "resnet", "se_resnet50", "--runs_dir", tmp_path / "none", *TINY)),
    ):  # fmt: skip
        if script not in UNTOUCHED.get(root.name, ()):
            code, err = outcome(capsys, SCRIPTS[script].main, settings(script, data, *options))
            assert code == 2, script


UNTOUCHED = {
    **dict.fromkeys(("a list that is a link out", "an empty list", "a list of blank lines"), ("eval", "gradcam")),
    **dict.fromkeys(
        ("one photograph in both lists", "one photograph in both lists by two names"), ("eval", "gradcam", "show_photographs")
    ),
    "lists of damaged photographs": ("gradcam", "show_photographs", "compare"),
}
"""Scripts that do not read what is wrong: the training list, for instance."""


def test_odd_names_go_through_all_scripts_and_come_out_as_they_were(tmp_path, capsys):
    data = tmp_path / "\x1b[2J\n$x_1$ \udcff"
    for root in HOSTILE_ROOTS:
        if root.name in ("terminal escapes in names", "signs of format and shell", "spaces and dots around"):
            root.build(data)
    runs = ("--runs_dir", tmp_path / "runs")
    steps = (
        ("train_val_split", ()), ("show_photographs", ("--picture", tmp_path / "grid.png")),
        ("train", ("--net", "resnet", *runs, *TINY)), ("eval", ("--net", "resnet", *runs)),
        ("gradcam", ("--net", "resnet", *runs)),
    )  # fmt: skip
    for script, options in steps:
        main = train_val_split.main if script == "train_val_split" else SCRIPTS[script].main
        code, err = outcome(capsys, main, settings(script, data, *options))
        assert code == 0, err
    run = tmp_path / "runs" / "resnet" / "001"
    names = sorted(entry.name for entry in data.iterdir() if entry.is_dir())
    assert sorted((run / "classes.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")) == names


@pytest.mark.parametrize("workers", [0, 2])
def test_a_listed_photograph_that_is_damaged_stops_a_script_and_gradcam_leaves_it_out(trained, tmp_path, capsys, workers):
    data = tmp_path / "data"
    next(root for root in HOSTILE_ROOTS if root.name == "lists of damaged photographs").build(data)
    run = ("--run", trained / "resnet" / "001")
    for script, options in (
        ("train", ("--net", "resnet", "--runs_dir", tmp_path / "runs", *TINY)), ("eval", run),
    ):  # fmt: skip
        config = parse_config(["--data", str(data), *map(str, options), "--num_workers", str(workers)], script)
        code, err = outcome(capsys, SCRIPTS[script].main, config)
        name, line = (TRAIN_LIST, 7) if script == "train" else (VAL_LIST, 3)
        assert code == 2
        assert f"{script}.py: error: {data / name} line {line}: {data}/cat/{name} damaged.png: " in err
    code, err = outcome(capsys, gradcam.main, settings("gradcam", data, *run, "--picture", tmp_path / "gradcam.png"))
    assert code == 0
    assert err.startswith(f"left out: {data / VAL_LIST} line 3: ")


# Links


def test_follow_links_takes_what_lies_outside_and_is_asked_for_each_time(tmp_path, capsys):
    data = plain(tmp_path / "data")
    (data / "secret").symlink_to(outside(data))
    (data / "cat" / "more").symlink_to("..")  # a loop all the same
    assert train_val_split.main(settings("train_val_split", data)) == 2
    assert train_val_split.main(settings("train_val_split", data, "--follow_links")) == 0
    assert DataFolder(data).read_classes() == [*CLASSES, "secret"]
    runs = ("--net", "resnet", "--runs_dir", tmp_path / "runs")
    code, err = outcome(capsys, train.main, settings("train", data, *runs, *TINY))
    assert (code, "--follow_links" in err) == (2, True)
    assert train.main(settings("train", data, *runs, *TINY, "--follow_links")) == 0
    for script, main in (("eval", eval_script.main), ("gradcam", gradcam.main)):
        code, err = outcome(capsys, main, settings(script, data, *runs))
        assert (code, "--follow_links" in err) == (2, True), "what a run was trained with permits nothing"
        assert main(settings(script, data, *runs, "--follow_links")) == 0


def test_no_escape_of_a_name_reaches_the_terminal_from_a_report(tmp_path, capsys):
    photographs(tmp_path / "data", f"cat{ESCAPE}", 1)
    photographs(tmp_path / "data", "dog")
    code, err = outcome(capsys, train_val_split.main, settings("train_val_split", tmp_path / "data"))
    assert code == 2
    assert "class cat\\x1b[2J\\x1b]0;owned\\x07 has 1 different readable photograph" in err

"""Lists in a folder of their own, for photographs where nothing can be written: --lists_dir."""

import errno
import os
import shlex
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from conftest import CLASSES

import compare
import eval as eval_script
import gradcam
import networks
import show_photographs
import train
import train_val_split
from comparison import side_by_side
from config import parse_config
from data import splitting
from data.data_folder import DataFolder
from data.splitting import split_folder

SCRIPTS = {
    "train": train,
    "eval": eval_script,
    "compare": compare,
    "gradcam": gradcam,
    "show_photographs": show_photographs,
    "train_val_split": train_val_split,
}
LISTS = {"train_list.txt", "val_list.txt", "labels.txt", "split_report.csv", "split.json", "photographs.sha256"}
TINY = ("--image_size", 32, "--epochs", 1, "--batch_size", 4, "--num_workers", 0)


@pytest.fixture(autouse=True)
def threads_for_processes(monkeypatch):
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))


def run(script, *arguments):
    return SCRIPTS[script].main(parse_config([*map(str, arguments)], script))


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def refusal(capsys, *arguments):
    """The line that a split stops with, before it reads a photograph."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "_digests", lambda path: pytest.fail(f"{path} was read"))
        assert run("train_val_split", *arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.fixture
def read_only(photo_folder, monkeypatch):
    """photo_folder, in which no file can be made: rights do not bind root, who may run the tests."""
    from machine import whole_file

    make = whole_file.tempfile.mkstemp

    def refuse(*args, dir=None, **options):
        if Path(dir).resolve().is_relative_to(photo_folder.resolve()):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))
        return make(*args, dir=dir, **options)

    monkeypatch.setattr(whole_file.tempfile, "mkstemp", refuse)
    return photo_folder


def test_a_folder_that_cannot_be_written_to_is_told_before_a_photograph_is_read_with_the_option(read_only, capsys):
    assert refusal(capsys, "--data", read_only) == (
        f"train_val_split.py: error: {read_only} cannot be written to (Read-only file system): put the lists elsewhere with "
        f"--lists_dir FOLDER, which train.py, eval.py and the others take too\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="nobody can make files in /proc")
def test_so_is_a_folder_for_lists_that_cannot_be_written_to(photo_folder, capsys):
    line = refusal(capsys, "--data", photo_folder, "--lists_dir", "/proc/lists")
    assert line.startswith("train_val_split.py: error: --lists_dir /proc/lists: /proc cannot be written to (")
    assert "--lists_dir FOLDER" not in line


def test_a_file_in_place_of_the_folder_for_lists_is_told_by_every_script(photo_folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    data = "--data", photo_folder, "--lists_dir", tmp_path / "file"
    expected = f"error: --lists_dir {tmp_path / 'file'} is not a folder: give it the folder that the lists lie in\n"
    assert refusal(capsys, *data).endswith(expected)
    for script in ("show_photographs", "train"):
        assert run(script, *data) == 2
        assert capsys.readouterr().err.endswith(expected)
    line = refusal(capsys, "--data", photo_folder, "--lists_dir", tmp_path / "file" / "lists")
    assert f"{tmp_path / 'file'} cannot be written to (it is not a folder)" in line
    assert run("show_photographs", "--data", photo_folder, "--lists_dir", tmp_path / "file" / "lists") == 2
    assert f"there is no {tmp_path / 'file' / 'lists' / 'labels.txt'}: python train_val_split.py" in capsys.readouterr().err


def test_the_split_makes_the_folder_and_writes_there_alone(read_only, tmp_path, capsys):
    before, lists = names(read_only), tmp_path / "new" / "my lists"
    assert run("train_val_split", "--data", read_only, "--lists_dir", lists) == 0
    assert names(read_only) == before
    assert names(lists) == LISTS
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"the lists of {read_only} are in {lists}: give --lists_dir {lists} to the other scripts as well"
    )
    folder = DataFolder(read_only, lists_dir=lists)
    assert len(folder.class_of_paths()) == 18
    elsewhere = read_only.with_name("beside")
    shutil.copytree(read_only, elsewhere)
    split_folder(elsewhere)
    for name in LISTS - {"photographs.sha256"}:  # it has the times of the files
        assert (lists / name).read_bytes() == (elsewhere / name).read_bytes()


def test_its_labels_are_used_where_the_data_folder_has_others(read_only, tmp_path):
    (read_only / "labels.txt").write_text("one\ntwo\n")
    (read_only / "train_list.txt").write_text("gone.jpg 1\n")
    split_folder(read_only, lists_dir=tmp_path / "lists")
    folder = DataFolder(read_only, lists_dir=tmp_path / "lists")
    assert folder.read_classes() == list(CLASSES)
    assert len(folder.read_list("train_list.txt", 3)) == 15


def test_a_folder_for_lists_among_the_class_folders_is_no_class(photo_folder, monkeypatch):
    monkeypatch.chdir(photo_folder)
    for _ in range(2):
        assert run("train_val_split", "--data", photo_folder, "--lists_dir", "lists", "--list_format", "paddlex3") == 0
        folder = DataFolder(photo_folder, lists_dir="lists")
        assert folder.read_classes() == list(CLASSES)
        assert (photo_folder / "lists" / "split_report.csv").read_text().splitlines() == ["path,problem"]
    (photo_folder / "cat" / "labels.txt").touch()  # elsewhere it is a file like any other
    split_folder(photo_folder, lists_dir="lists")
    assert "cat/labels.txt" in (photo_folder / "lists" / "split_report.csv").read_text()


def test_an_archive_takes_one_as_well(photo_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in photo_folder.rglob("*.jpg"):
            archive.write(path, path.relative_to(photo_folder))
    assert run("train_val_split", "--data", tmp_path / "a.zip", "--lists_dir", tmp_path / "lists") == 0
    assert names(tmp_path / "lists") == LISTS
    folder = DataFolder.open(tmp_path / "a.zip", lists_dir=tmp_path / "lists")
    assert len(folder.class_of_paths()) == 18
    assert not LISTS & names(folder.root)


def test_every_script_takes_it_and_a_run_remembers_it(read_only, tmp_path, monkeypatch, capsys, quick_pictures):
    for net in ("resnet", "resnet18"):
        monkeypatch.setitem(networks.NETWORKS, net, networks.Lazy("tiny_network", "TinyNetwork"))
    monkeypatch.setattr(side_by_side, "run_script", lambda script, *arguments, **options: pytest.fail(f"{script} was run"))
    monkeypatch.chdir(tmp_path)
    before, data, runs = names(read_only), ("--data", read_only, "--lists_dir", "lists"), ("--runs_dir", "runs")
    assert run("train_val_split", *data) == 0
    assert run("show_photographs", *data, "--picture", "grid.png") == 0
    for net in ("resnet", "resnet18"):
        assert run("train", *data, *runs, *TINY, "--net", net) == 0
        config = yaml.safe_load((tmp_path / "runs" / net / "001" / "config.yaml").read_text())
        assert (config["data"], config["lists_dir"]) == (str(read_only), "lists")
        assert run("eval", *runs, "--net", net, "--num_workers", 0) == 0
    assert run("train", "--resume", "runs/resnet/001", "--epochs", 2) == 0
    assert run("eval", *runs, "--net", "resnet", "--num_workers", 0) == 0
    assert run("gradcam", *runs, "--nets", "resnet", "resnet18", "--sample", 2) == 0
    assert "2 of 3 photographs of lists/val_list.txt" in capsys.readouterr().out
    assert run("train", *data, *runs, *TINY, "--net", "resnet") == 0
    assert run("eval", *runs, "--run", "runs/resnet/002", "--num_workers", 0) == 0
    assert run("compare", *data, *runs, *TINY, "--nets", "resnet", "resnet18") == 0
    assert capsys.readouterr().out.count("is there already") == 2
    assert names(read_only) == before


@pytest.fixture
def trained(photo_folder, tmp_path, monkeypatch, register_tiny_network):
    """A run of a tiny network on photo_folder with the lists in ``my lists``, a test list too; the current folder has both."""
    monkeypatch.chdir(tmp_path)
    assert run("train_val_split", "--data", "photographs", "--lists_dir", "my lists", "--test_fraction", 0.2) == 0
    data = "--data", "photographs", "--lists_dir", "my lists"
    assert run("train", *data, "--runs_dir", "runs", *TINY, "--net", "resnet") == 0
    return "--run", "runs/resnet/001"


def test_a_place_given_on_resume_is_that_of_eval_and_gradcam(trained, tmp_path, capsys, quick_pictures):
    best = tmp_path / "runs" / "resnet" / "001" / "best.safetensors"
    content = best.read_bytes()
    (tmp_path / "my lists").rename(tmp_path / "lists")
    (tmp_path / "photographs").rename(tmp_path / "moved")
    assert run("train", "--resume", trained[1], "--epochs", 2, "--data", "moved", "--lists_dir", "lists") == 0
    best.write_bytes(content)  # as where the first epoch stays the best
    assert run("eval", *trained, "--num_workers", 0) == 0
    assert run("eval", *trained, "--num_workers", 0, "--split", "test") == 0
    capsys.readouterr()
    assert run("gradcam", *trained, "--sample", 2) == 0
    assert "2 of 3 photographs of lists/val_list.txt" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("eval", "--num_workers", 0), ("eval", "--num_workers", 0, "--split", "test"),
                                       ("gradcam", "--sample", 2)])  # fmt: skip
def test_other_lists_are_refused_with_options_that_use_them(trained, capsys, quick_pictures, arguments):
    assert run("train_val_split", "--data", "photographs", "--lists_dir", "my lists", "--test_fraction", 0.2, "--seed", 5) == 0
    capsys.readouterr()
    script, *options = arguments
    assert run(script, *trained, *options) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    remedy = line.split("Train again, or use it anyway with ")[1]
    assert remedy == "--data photographs --lists_dir 'my lists'"
    assert run(script, *trained, *options, *shlex.split(remedy)) == 0
    assert run(script, *trained, *options, "--lists_dir", "my lists") == 0, "who names the lists asks for them"
    assert run(script, *trained, *options, "--data", "photographs") == 2, "--data alone: the lists lie in it"

"""Folders as they are out there: split already, wrapped in other folders, with runs and system folders among the classes."""

import csv
import os
import shutil
from pathlib import Path

import pytest
from conftest import CLASSES, fill

from config import Config, ConfigError
from data.data_folder import DataFolder
from data.folder_layout import side_of
from data.found_photographs import SplitError
from data.lists import LABELS, SIDES
from data.splitting import _divide, split_folder
from train_val_split import main

ANIMALS = ("cat", "dog")


def parts(root, first_seed=0, classes=ANIMALS, **counts):
    """Fill ``root/PART/CLASS`` with so many photographs for each part."""
    names = [f"{part}/{name}/{number}.png" for part, count in counts.items() for name in classes for number in range(count)]
    return fill(root, names, first_seed)


def paths(folder, side):
    lists = DataFolder(folder)
    return [sample.name for sample in lists.read_list(SIDES[side], len(lists.read_classes()))]


def refusal(folder, capsys, **settings):
    """The line that a refused split prints; no list may have been written."""
    assert main(Config(data=str(folder), **settings)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert not any((folder / name).exists() for name in (LABELS, *SIDES.values()))
    return err


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("train", "valid", "test"),
        ("Training", "Validation", "Testing"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
        ("imagenet-train", "imagenet-val", "imagenet-test"),
    ],
)
def test_a_split_of_the_user_s_own_is_kept(tmp_path, capsys, names):
    parts(tmp_path, **dict(zip(names, (4, 2, 1))))
    assert split_folder(tmp_path) == dict.fromkeys(ANIMALS, (4, 2, 1))
    for side, name in zip(SIDES, names):
        assert {path.rpartition("/")[0] for path in paths(tmp_path, side)} == {f"{name}/cat", f"{name}/dog"}
    assert DataFolder(tmp_path).read_classes() == ["cat", "dog"]
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "split already into train, val and test: 8 for train, 4 for val, 2 for test; --resplit draws a new split"
    assert out[1].split() == ["class", "train", "val", "test"]


def test_without_a_test_part_there_is_no_test_list(tmp_path):
    parts(tmp_path, train=3, val=1)
    assert split_folder(tmp_path) == dict.fromkeys(ANIMALS, (3, 1))
    assert not (tmp_path / SIDES["test"]).exists()


def test_a_missing_part_is_drawn_from_train(tmp_path, capsys):
    parts(tmp_path, train=10, test=3)
    assert split_folder(tmp_path, 0.3) == dict.fromkeys(ANIMALS, (7, 3, 3))
    assert all(path.startswith("train/") for path in paths(tmp_path, "train") + paths(tmp_path, "val"))
    assert all(path.startswith("test/") for path in paths(tmp_path, "test"))
    assert capsys.readouterr().out.splitlines()[1] == "val_list.txt drawn from the part to train on"


def test_resplit_draws_all_anew(tmp_path):
    parts(tmp_path, train=6, val=2, test=2)
    assert split_folder(tmp_path, 0.5, resplit=True) == dict.fromkeys(ANIMALS, (5, 5))
    assert {path.split("/")[0] for path in paths(tmp_path, "train")} > {"train"}


def test_duplicates_across_the_user_s_split_are_reported_and_stay(tmp_path, capsys):
    parts(tmp_path, train=3, val=2)
    shutil.copy(tmp_path / "train/cat/0.png", tmp_path / "val/cat/again.png")
    shutil.copy(tmp_path / "train/dog/0.png", tmp_path / "train/dog/again.png")
    assert split_folder(tmp_path) == {"cat": (3, 3), "dog": (4, 2)}
    summary = "0 files left out, 2 duplicates kept together, 2 duplicates across your split, which make its figures too good"
    assert f"{summary}: {tmp_path / 'split_report.csv'}" in capsys.readouterr().out.splitlines()
    with open(tmp_path / "split_report.csv", encoding="utf-8", newline="") as file:
        reported = dict(list(csv.reader(file))[1:])
    assert reported["val/cat/again.png"] == "duplicate of a photograph in another part of your split, kept: train/cat/0.png"
    assert reported["train/dog/again.png"] == "duplicate, kept on one side of the split: train/dog/0.png"


def test_a_limit_counts_in_each_part_of_the_user_s_split(tmp_path):
    parts(tmp_path, train=6, val=3)
    assert split_folder(tmp_path, max_per_class=2) == dict.fromkeys(ANIMALS, (2, 2))


def test_a_class_that_only_the_validation_part_has_is_refused(tmp_path, capsys):
    parts(tmp_path, train=3, val=2)
    fill(tmp_path, ["val/horse/1.png", "val/horse/2.png"], 50)
    line = refusal(tmp_path, capsys)
    assert f"class horse is in {tmp_path / 'val'} but not in {tmp_path / 'train'}" in line
    assert "--resplit" in line
    assert split_folder(tmp_path, resplit=True)["horse"] == (1, 1)


def test_parts_without_common_classes_are_no_classes(tmp_path, capsys):
    fill(tmp_path, [f"{part}/{number}.png" for part in ("train", "test") for number in range(3)])
    (tmp_path / "train.csv").write_text("id,label\n")
    line = refusal(tmp_path, capsys)
    assert "test and train in" in line
    assert "are the parts of a split, not classes" in line
    assert f"--labels {tmp_path / 'train.csv'}" in line


def test_a_part_without_class_folders_is_left_out_and_named(tmp_path, capsys):
    parts(tmp_path, train=3, val=1)
    fill(tmp_path, ["test/1.png", "test/2.png", "seg_pred/3.png"], 50)
    assert split_folder(tmp_path) == dict.fromkeys(ANIMALS, (3, 1))
    out = capsys.readouterr().out.splitlines()
    assert "left out: 2 photographs of test, which is no part of the split" in out
    assert "left out: 1 photograph of seg_pred, which is no part of the split" in out


def test_two_folders_for_one_part_are_refused(tmp_path, capsys):
    parts(tmp_path, train_a=2, train_b=2, val=2)
    assert "2 folders that could be the train part of a split: train_a, train_b" in refusal(tmp_path, capsys)


@pytest.mark.parametrize(("name", "side"), [("Train", "train"), ("val2017", "val"), ("trains", None), ("train_val", None)])
def test_the_words_of_a_name_say_which_part_it_is(name, side):
    assert side_of(name) == side


def test_a_class_called_train_among_others_is_a_class(tmp_path):
    fill(tmp_path, [f"{name}/{number}.png" for name in ("bus", "test", "train") for number in range(2)])
    assert list(split_folder(tmp_path)) == ["bus", "test", "train"]


@pytest.mark.parametrize("wrapper", ["photographs", "archive/photographs", "archive/train"])
def test_a_single_folder_around_the_class_folders_is_passed_over(tmp_path, capsys, wrapper):
    fill(tmp_path / wrapper, [f"{name}/{number}.png" for name in ANIMALS for number in range(4)])
    assert split_folder(tmp_path) == dict.fromkeys(ANIMALS, (3, 1))
    assert capsys.readouterr().out.splitlines()[0] == f"the class folders are in {wrapper}"
    assert all(path.startswith(f"{wrapper}/") for path in paths(tmp_path, "train"))


def test_a_test_list_is_drawn_and_shares_nothing_with_the_others(tmp_path):
    fill(tmp_path, [f"{name}/{number}.png" for name in ANIMALS for number in range(10)])
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "cat" / "copy.png")
    counts = split_folder(tmp_path, 0.2, test_fraction=0.3)
    assert counts["dog"] == (5, 2, 3)
    sides = {side: set(paths(tmp_path, side)) for side in SIDES}
    assert sum(map(len, sides.values())) == len(set.union(*sides.values())) == 21
    assert any({"cat/0.png", "cat/copy.png"} <= side for side in sides.values())
    assert split_folder(tmp_path, 0.4, test_fraction=0.3)["dog"] == (3, 4, 3)
    assert set(paths(tmp_path, "test")) == sides["test"]


def test_a_test_list_needs_a_third_photograph(tmp_path, capsys):
    fill(tmp_path, [f"{name}/{number}.png" for name in ANIMALS for number in range(2)])
    assert "each class needs at least 3, one for each list" in refusal(tmp_path, capsys, test_fraction=0.2)
    fill(tmp_path, [f"{name}/2.png" for name in ANIMALS], 50)
    assert split_folder(tmp_path, test_fraction=0.2) == dict.fromkeys(ANIMALS, (1, 1, 1))


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ConfigError, match="together at most"):
        Config(val_fraction=0.5, test_fraction=0.5)


SYSTEM = ("$RECYCLE.BIN", "lost+found", "System Volume Information", "@eaDir", ".Trash-1000", "__MACOSX", "#recycle")


@pytest.mark.parametrize("place", ["", "cat/"])
def test_folders_of_the_system_are_no_classes(photo_folder, place):
    fill(photo_folder, [f"{place}{name}/{number}.png" for name in SYSTEM for number in range(2)], 50)
    assert split_folder(photo_folder) == dict.fromkeys(CLASSES, (5, 1))


def test_a_system_folder_that_may_not_be_read_is_passed_over(photo_folder, monkeypatch):
    (photo_folder / "lost+found").mkdir()
    scandir = os.scandir

    def refuse(path="."):
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert split_folder(photo_folder) == dict.fromkeys(CLASSES, (5, 1))


def test_runs_among_the_photographs_are_no_class(photo_folder):
    for file in ("sa_resnet/001/config.yaml", "compare/001/table.json", "gradcam/012/gradcam.png"):
        (photo_folder / "runs" / file).parent.mkdir(parents=True)
        (photo_folder / "runs" / file).touch()
        fill((photo_folder / "runs" / file).parent, ["curves.png", "eval/confusion_matrix.png"], 50)
    assert split_folder(photo_folder) == dict.fromkeys(CLASSES, (5, 1))


def test_a_class_of_numbered_folders_is_one(tmp_path):
    fill(tmp_path, [f"{name}/{folder}/{number}.png" for name in ANIMALS for folder in ("001", "002") for number in range(2)])
    assert split_folder(tmp_path) == dict.fromkeys(ANIMALS, (3, 1))


def test_unbalanced_classes_are_marked(tmp_path, capsys):
    fill(tmp_path, [f"cat/{number}.png" for number in range(13)] + [f"dog/{number}.png" for number in range(4)])
    fill(tmp_path, [f"pig/{number}.png" for number in range(5)], 50)
    split_folder(tmp_path)
    out = capsys.readouterr().out.splitlines()
    assert [line.split() for line in out[1:4]] == [["cat", "10", "3"], ["dog", "3", "1", "few"], ["pig", "4", "1"]]
    assert any(line.startswith("unbalanced: 13 photographs of cat, 4 of dog: ") for line in out)


def test_balanced_classes_are_not_marked(photo_folder, capsys):
    split_folder(photo_folder)
    assert not {"few", "unbalanced:"} & set(capsys.readouterr().out.split())


def test_callers_get_an_error_of_the_split(tmp_path):
    with pytest.raises(SplitError, match="there is no folder"):
        split_folder(tmp_path / "nowhere")


def test_a_train_folder_of_classes_beside_a_flat_test_folder_is_split(tmp_path, capsys):
    parts(tmp_path, train=5)
    fill(tmp_path, ["test/1.png", "test/2.png"], 50)
    assert split_folder(tmp_path) == dict.fromkeys(ANIMALS, (4, 1))
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["left out: 2 photographs of test, which is no part of the split", "the class folders are in train"]


def test_classes_with_train_and_test_in_their_names_are_classes(tmp_path):
    names = ("bus", "freight train", "passenger train", "test car")
    fill(tmp_path, [f"{name}/{number}.png" for name in names for number in range(2)])
    assert tuple(split_folder(tmp_path)) == names


def test_of_two_folders_for_one_part_the_one_with_the_classes_is_meant(tmp_path):
    parts(tmp_path, my_train=3, my_val=2)
    fill(tmp_path, ["train_masks/1.png", "train_masks/2.png"], 50)
    assert split_folder(tmp_path) == dict.fromkeys(ANIMALS, (3, 2))


def test_what_lies_beside_a_single_folder_does_not_hide_it(tmp_path):
    fill(tmp_path / "Animals", [f"{name}/{number}.png" for name in ANIMALS for number in range(4)])
    (tmp_path / "empty").mkdir()
    fill(tmp_path, ["runs/sa_resnet/001/curves.png"], 50)
    (tmp_path / "runs/sa_resnet/001/config.yaml").touch()
    for _ in range(2):  # the second time beside its own lists
        assert split_folder(tmp_path, lists_dir=tmp_path / "lists") == dict.fromkeys(ANIMALS, (3, 1))


def test_under_a_limit_the_report_tells_what_is_in_the_lists(tmp_path):
    parts(tmp_path, train=3, val=2)
    shutil.copy(tmp_path / "train/cat/0.png", tmp_path / "val/cat/0again.png")
    for name in ("train/dog/1.png", "train/dog/2.png"):
        shutil.copy(tmp_path / "train/dog/0.png", tmp_path / name)
    split_folder(tmp_path, max_per_class=2)
    listed = {*paths(tmp_path, "train"), *paths(tmp_path, "val")}
    with open(tmp_path / "split_report.csv", encoding="utf-8", newline="") as file:
        reported = dict(list(csv.reader(file))[1:])
    assert {path for path, problem in reported.items() if ", kept" in problem} <= listed
    assert not {path for path, problem in reported.items() if "left out" in problem} & listed
    assert sum(path.startswith("train/dog/") for path in listed) == 1
    assert sum(path.startswith("train/dog/") and "left out" in problem for path, problem in reported.items()) == 2


def test_a_share_for_a_part_that_is_there_has_no_effect_and_says_so(tmp_path, capsys):
    parts(tmp_path, train=3, val=1, test=2)
    assert split_folder(tmp_path, test_fraction=0.3) == dict.fromkeys(ANIMALS, (3, 1, 2))
    assert "--test_fraction has no effect: your split has a part to test on" in capsys.readouterr().out


def test_drawing_takes_time_in_proportion_to_the_photographs():
    def calls(count):
        groups = [Counted([str(number)]) for number in range(count)]
        Counted.calls = 0
        _divide(groups, {}, {"test": 0.2, "val": 0.2})
        return Counted.calls

    assert calls(2000) < 3 * calls(1000)


class Counted(list):
    """A group that counts how often its length is asked for or it is compared."""

    calls = 0

    def __len__(self):
        Counted.calls += 1
        return super().__len__()

    def __eq__(self, other):
        Counted.calls += 1
        return super().__eq__(other)

    __hash__ = None

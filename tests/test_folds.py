"""Folds: lists for k-fold cross-validation, and trainings on them."""

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import fill, random_photograph

import eval as eval_script
import train
from config import Config, ConfigError, load_config, parse_config
from data import splitting
from data.data_folder import DataFolder
from data.data_sets import digests
from data.data_source import DataSource
from data.folds import divide_into_folds
from data.splitting import split_folder
from evaluation.report import read_metrics, read_predictions
from train_val_split import main


@pytest.fixture(autouse=True)
def threads_for_processes(monkeypatch):
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))


def names(kind, count):
    return [f"{kind}/{number}.png" for number in range(count)]


@pytest.fixture
def folder(tmp_path):
    """Three classes of 11, 8 and 7 photographs."""
    return fill(tmp_path / "data", [*names("cat", 11), *names("dog", 8), *names("sheep", 7)])


def listed(folder, side, fold=0, lists_dir=None):
    """[(path, class), ...] of a list."""
    lists = DataFolder(folder, lists_dir=lists_dir, fold=fold)
    classes = lists.read_classes()
    return [(sample.name, classes[sample.label]) for sample in lists.read_list(f"{side}_list.txt", len(classes))]


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"}


def test_each_photograph_is_validated_in_exactly_one_fold_and_trained_on_in_the_others(folder):
    split_folder(folder, folds=5, test_fraction=0.2)
    tested = set(listed(folder, "test"))
    whole = {*listed(folder, "train"), *listed(folder, "val")}
    validated = Counter()
    for fold in range(1, 6):
        val, trained_on = listed(folder, "val", fold), listed(folder, "train", fold)
        assert {*val, *trained_on} == whole, "all but the photographs to test on, under their own label"
        assert not set(val) & set(trained_on)
        assert set(listed(folder, "test", fold)) == tested
        validated.update(val)
    assert tested
    assert set(validated) == whole
    assert set(validated.values()) == {1}


def test_each_class_and_all_photographs_are_spread_evenly(folder):
    split_folder(folder, folds=4)
    of_folds = [Counter(name for _, name in listed(folder, "val", fold)) for fold in range(1, 5)]
    for name in ("cat", "dog", "sheep"):
        counts = [of_fold[name] for of_fold in of_folds]
        assert max(counts) - min(counts) <= 1
    sizes = [sum(of_fold.values()) for of_fold in of_folds]
    assert max(sizes) - min(sizes) <= 1, "what is left of each class does not always go to the same fold"


def test_duplicates_stay_in_one_fold(folder):
    for number in range(5):
        shutil.copy(folder / "cat" / "0.png", folder / "cat" / f"copy_{number}.png")
    split_folder(folder, folds=3)
    places = {fold for fold in (1, 2, 3) for path, _ in listed(folder, "val", fold) if path == "cat/0.png" or "copy" in path}
    assert len(places) == 1


def test_folds_depend_only_on_names_and_seed(folder, tmp_path):
    copy = fill(tmp_path / "elsewhere", reversed([*names("cat", 11), *names("dog", 8), *names("sheep", 7)]), first_seed=900)
    for place, seed in ((folder, 3), (copy, 3)):
        split_folder(place, folds=3, seed=seed)
    lists = [listed(place, "val", 2) for place in (folder, copy)]
    assert lists[0] == lists[1]
    split_folder(copy, folds=3, seed=4)
    assert listed(copy, "val", 2) != lists[0]


def test_the_plain_lists_are_the_same_with_and_without_folds(folder):
    split_folder(folder, test_fraction=0.2)
    before = [(folder / f"{side}_list.txt").read_bytes() for side in ("train", "val", "test")]
    split_folder(folder, test_fraction=0.2, folds=3)
    assert [(folder / f"{side}_list.txt").read_bytes() for side in ("train", "val", "test")] == before


def test_the_part_to_test_on_of_a_users_own_split_is_in_no_fold(tmp_path):
    parts = {"train": 6, "val": 3, "test": 4}
    paths = [f"{part}/{kind}/{number}.png" for part, count in parts.items() for kind in ("a", "b") for number in range(count)]
    folder = fill(tmp_path / "data", paths)
    split_folder(folder, folds=3)
    validated = {path for fold in (1, 2, 3) for path, _ in listed(folder, "val", fold)}
    assert validated == {path for path in paths if not path.startswith("test/")}


def test_another_split_replaces_folds_and_one_without_removes_them(folder, capsys):
    split_folder(folder, folds=5)
    assert "folds/5/val_list.txt" in files(folder)
    split_folder(folder, folds=3)
    assert {name.split("/")[1] for name in files(folder) if name.startswith("folds/")} == {"1", "2", "3"}
    split_folder(folder)
    assert not (folder / "folds").exists(), "a fold of other lists would be taken for one of these"


def test_a_changed_list_of_a_fold_is_the_users(folder, capsys):
    split_folder(folder, folds=3)
    place = folder / "folds" / "2" / "val_list.txt"
    place.write_text("cat/0.png 0\n")
    assert main(Config(data=str(folder), folds=3)) == 2
    assert f"{folder / 'folds' / '2'} holds val_list.txt, not as this toolkit wrote it" in capsys.readouterr().err
    assert main(Config(data=str(folder), folds=3, overwrite=True)) == 0
    assert place.with_name("val_list.txt.old").read_text() == "cat/0.png 0\n"
    place.write_text("cat/1.png 0\n")
    split_folder(folder)
    assert place.read_text() == "cat/1.png 0\n"
    assert f"{place.parent} keeps val_list.txt" in capsys.readouterr().out


def test_a_class_may_be_called_folds(folder):
    fill(folder, names("folds", 6), first_seed=500)
    for _ in range(2):  # the lists that lie in it are no files of the class
        counts = split_folder(folder, folds=3)
        assert counts["folds"] == (5, 1)
        assert (folder / "split_report.csv").read_text().count("\n") == 1
    assert {path for fold in (1, 2, 3) for path, name in listed(folder, "val", fold) if name == "folds"} == set(
        names("folds", 6)
    )


def test_the_lists_of_folds_lie_beside_the_others(folder, tmp_path):
    split_folder(folder, folds=2, lists_dir=tmp_path / "lists")
    assert not (folder / "folds").exists()
    assert len(listed(folder, "val", 1, tmp_path / "lists")) == 13


def test_a_class_of_too_few_photographs_is_said_in_one_line(folder, capsys):
    split_folder(folder, folds=8)
    out = capsys.readouterr().out
    assert "8 folds of 3 to 4 photographs in " in out
    assert "fewer different photographs than 8 folds, so that some folds validate none: sheep (7)\n" in out


def test_more_folds_than_photographs_are_refused():
    with pytest.raises(ValueError, match="folds = 5: there are 4 different photographs to divide, give at most 4"):
        divide_into_folds({"cat": [["a"], ["b", "c"]], "dog": [["d"], ["e"]]}, 5)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"folds": 1}, "folds = 1: one fold leaves no photographs to train on; give 2 to 20, or 0 for no folds"),
        ({"fold": 2, "dataset": "cifar10"}, "fold = 2: only a folder is divided into folds, not cifar10"),
        ({"folds": 21}, "folds = 21: out of range"),
    ],
)
def test_settings_that_make_no_folds_are_refused(settings, line):
    with pytest.raises(ConfigError, match=line):
        Config(**settings)


# Trainings on folds


def settings(folder, tmp_path, **changes):
    chosen = {
        "net": "resnet", "data": str(folder), "runs_dir": str(tmp_path / "runs"), "image_size": 32, "epochs": 1,
        "batch_size": 8, "num_workers": 0, "threads": 2, "device": "cpu",
    }  # fmt: skip
    return Config(**{**chosen, **changes})


@pytest.fixture
def trained(folder, tmp_path, register_tiny_network, quick_pictures, capsys):
    """The run of a training on the second of three folds."""
    split_folder(folder, folds=3, test_fraction=0.2)
    assert train.main(settings(folder, tmp_path, fold=2)) == 0
    capsys.readouterr()
    return tmp_path / "runs" / "resnet" / "001"


def options(*words):
    return parse_config([str(word) for word in (*words, "--device", "cpu", "--num_workers", 0)], "eval")


def test_a_run_remembers_its_fold_and_is_evaluated_on_it(trained, folder):
    assert load_config(trained / "config.yaml").fold == 2
    assert eval_script.main(options("--run", trained)) == 0
    assert set(read_predictions(trained).paths) == {path for path, _ in listed(folder, "val", 2)}
    assert read_metrics(trained)["same_list_as_in_training"]
    assert eval_script.main(options("--run", trained, "--split", "test", "--data", folder)) == 0
    assert set(read_predictions(trained, "test").paths) == {path for path, _ in listed(folder, "test")}
    assert read_metrics(trained, "test")["same_list_as_in_training"]


def test_another_fold_is_not_evaluated_on_by_mistake(trained, capsys):
    assert eval_script.main(options("--run", trained, "--fold", 1)) == 2
    error = capsys.readouterr().err
    assert "val_list.txt is not the list that " in error
    assert "it may hold photographs that the run was trained on" in error


def test_a_resumed_training_stays_on_its_fold(trained, folder, tmp_path, capsys):
    words = ["--resume", str(trained), "--epochs", "2", "--device", "cpu", "--num_workers", "0"]
    assert train.main(parse_config([*words, "--fold", "3"], "train")) == 2
    assert "fold = 3: " in capsys.readouterr().err
    assert train.main(parse_config(words, "train")) == 0
    assert f"{len(listed(folder, 'train', 2))} photographs to train on" in capsys.readouterr().out


def test_photographs_of_a_fold_are_compared_with_those_that_the_split_saw(trained, folder):
    source = DataSource("folder", str(folder), fold=2)
    assert digests(source).photographs is not None
    path = listed(folder, "val", 2)[0][0]
    random_photograph(12345).save(folder / path)
    with pytest.raises(ValueError, match=r"are not those that the split saw.*--folds 3 makes a new split"):
        digests(source)


def test_missing_folds_are_named_with_the_command_that_writes_them(folder, tmp_path, capsys):
    split_folder(folder)
    assert train.main(settings(folder, tmp_path, fold=2)) == 2
    line = f"python train_val_split.py --data {folder} --folds 5 writes it"
    assert line in capsys.readouterr().err
    split_folder(folder, folds=3)
    capsys.readouterr()
    assert train.main(settings(folder, tmp_path, fold=7)) == 2
    error = capsys.readouterr().err
    assert "the split has 3 folds: choose --fold 1 to 3, or " in error
    assert "--folds 7 divides it anew" in error


def test_folds_of_large_classes_differ_by_one_at_most():
    rng = np.random.default_rng(0)
    groups = {str(kind): [[f"{kind}/{i}"] for i in range(rng.integers(5, 60))] for kind in range(30)}
    folds = divide_into_folds(groups, 7)
    for kind in groups:
        counts = [len(fold[kind]) for fold in folds]
        assert max(counts) - min(counts) <= 1
    sizes = [sum(map(len, fold.values())) for fold in folds]
    assert max(sizes) - min(sizes) <= 1

"""Photographs that changed under the same lists: the split records what it saw, and everything that uses the lists notices."""

import json
import os
import shutil
import time

import pytest
from conftest import CLASSES

import compare
import eval as eval_script
import train
from animal_dataset import AnimalDataset
from comparison import side_by_side
from config import Config, parse_config
from data import photograph_record
from data.data_folder import DataFolder
from data.data_sets import digests
from data.data_source import DataSource
from data.lists import DataError
from data.photograph_record import digest_of_photographs, same_as_far_as_known
from data.split_record import PHOTOGRAPHS
from data.splitting import split_folder
from settings.format_number import FormatError
from trained.checkpoint import read_header
from trained.result import read_result, write_result

pytestmark = pytest.mark.usefixtures("quick_pictures", "register_tiny_network")
ONE, OTHER = f"{CLASSES[0]}/{CLASSES[0]}_0.jpg", f"{CLASSES[1]}/{CLASSES[1]}_1.jpg"


@pytest.fixture
def split(photo_folder):
    """photo_folder as train_val_split.py splits it: the lists, and photographs.sha256."""
    split_folder(photo_folder, 0.34)
    return photo_folder


def exchange(folder):
    """Exchange the pixels of two classes, under the old names."""
    one, other = folder / CLASSES[0], folder / CLASSES[1]
    for number in range(6):
        first, second = one / f"{CLASSES[0]}_{number}.jpg", other / f"{CLASSES[1]}_{number}.jpg"
        kept = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(kept)


def digest(folder, side="train"):
    return AnimalDataset.open_side(DataSource("folder", str(folder)), side, 32).photographs_digest()


def reads(monkeypatch):
    """The files that are read to compute their digest, from now on."""
    found, real = [], photograph_record.sha256_of
    monkeypatch.setattr(photograph_record, "sha256_of", lambda path: found.append(os.path.basename(path)) or real(path))
    return found


def test_the_record_is_of_the_photographs_in_the_lists_and_no_other_program_needs_it(split):
    lines = (split / PHOTOGRAPHS).read_text().splitlines()
    listed = [
        line.rsplit(" ", 1)[0] for name in ("train", "val") for line in (split / f"{name}_list.txt").read_text().splitlines()
    ]
    assert [line.split(" ", 2)[2] for line in lines[1:]] == listed
    assert lines[0].startswith("format 1: ")
    before = {side: digest(split, side) for side in ("train", "val")}
    assert len({*before.values(), None}) == 3
    split_folder(split, 0.34)
    assert {side: digest(split, side) for side in ("train", "val")} == before, "a new split of the same photographs"


def test_nothing_is_read_while_size_and_times_are_those_of_the_record(split, monkeypatch):
    found = reads(monkeypatch)
    assert digest(split) is not None
    assert found == []


def test_a_copy_with_other_times_is_the_same_set_and_is_read_once(split, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(split, copy, copy_function=shutil.copyfile)
    found = reads(monkeypatch)
    assert digest(copy) == digest(split)
    assert len(found) == len(set(found)) == len((copy / "train_list.txt").read_text().splitlines())
    found.clear()
    assert digest(copy) == digest(split)
    assert found == [], "the record has the new times"


@pytest.mark.skipif(os.name != "posix", reason="the inode and the time of change tell")
def test_an_exchange_that_keeps_size_and_time_is_noticed(split):
    one, other = split / ONE, split / OTHER
    status = one.stat()
    pixels = other.read_bytes()[: status.st_size]
    one.write_bytes(pixels.ljust(status.st_size, b"\0"))
    os.utime(one, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (one.stat().st_size, one.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    with pytest.raises(DataError, match="not those that the split saw"):
        digests(DataSource("folder", str(split)))


def test_a_list_whose_photographs_are_not_all_recorded_has_no_digest_but_the_others_are_checked(split):
    lines = (split / PHOTOGRAPHS).read_text().splitlines(keepends=True)
    name = lines.pop(1).rstrip("\n").split(" ", 2)[2]
    (split / PHOTOGRAPHS).write_text("".join(lines))
    assert digest(split) is None
    changed = lines[1].rstrip("\n").split(" ", 2)[2]
    (split / changed).write_bytes((split / name).read_bytes())
    with pytest.raises(DataError, match=f"1 of [0-9]+ photographs of .*train_list.txt are not .* the first {changed}: "):
        digest(split)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"format 1:\n", b"format 1: x\nabc\n", b"format 1: x\n" + b"0" * 64 + b" 1:2:3:4 \n", b"[" * 5000,
     b"format 1: x\n" + b"0" * 64 + b" 1:2:3:4 a", b"format 99999999999: x\n"],
)  # fmt: skip
def test_a_damaged_record_is_named_in_one_line(split, content):
    (split / PHOTOGRAPHS).write_bytes(content)
    with pytest.raises(DataError) as error:
        digest(split)
    assert str(error.value).startswith(f"{split / PHOTOGRAPHS} is damaged")
    assert "\n" not in str(error.value)


def test_a_record_of_a_newer_version_is_refused(split):
    (split / PHOTOGRAPHS).write_text("format 2: x\n")
    with pytest.raises(FormatError):
        digest(split)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_record_that_is_a_pipe_or_a_link_out_of_the_folder_is_refused(split, tmp_path):
    place = split / PHOTOGRAPHS
    shutil.move(place, tmp_path / "elsewhere")
    os.mkfifo(place)
    with pytest.raises(DataError, match="a named pipe"):
        digest(split)
    place.unlink()
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="a link that leads out of its folder"):
        digest(split)
    followed = DataSource("folder", str(split), follow_links=True)
    assert AnimalDataset.open_side(followed, "train", 32).photographs_digest()


def test_a_record_that_a_split_has_replaced_meanwhile_is_not_overwritten(split, monkeypatch):
    (split / ONE).touch()
    (split / OTHER).touch()
    real = photograph_record.recorded

    def slowly(path, status):
        photograph_record.write_record(split, {"new": f"{'0' * 64} 1:2:3:4"})
        return real(path, status)

    monkeypatch.setattr(photograph_record, "recorded", slowly)
    folder = DataFolder(split)
    digest_of_photographs(folder, folder.read_list("train_list.txt", 3), "train_list.txt")
    assert (split / PHOTOGRAPHS).read_text().splitlines()[1] == f"{'0' * 64} 1:2:3:4 new"


def test_what_is_not_known_counts_as_the_same():
    assert same_as_far_as_known(None, "a")
    assert same_as_far_as_known({"train": "a"}, None)
    assert same_as_far_as_known("a", "a")
    assert not same_as_far_as_known("a", "b")


def settings(data, tmp_path, **changes):
    chosen = {
        "net": "resnet", "data": str(data), "runs_dir": str(tmp_path / "runs"), "image_size": 32, "epochs": 1, "batch_size": 9,
        "num_workers": 0, "threads": 2,
    }  # fmt: skip
    return Config(**{**chosen, **changes})


def words(*arguments):
    return [str(word) for word in arguments]


def test_training_evaluation_resume_and_comparison_notice_what_changed(split, tmp_path, capsys, monkeypatch):
    assert train.main(settings(split, tmp_path)) == 0
    run = tmp_path / "runs" / "resnet" / "001"
    seen = digests(DataSource("folder", str(split))).photographs
    assert read_result(run)["photographs_sha256"] == seen
    assert all(read_header(run / f"{name}.safetensors")["photographs_sha256"] == seen for name in ("best", "last"))
    evaluate = parse_config(words("--run", run, "--num_workers", 0), "eval")
    more = parse_config(words("--resume", run, "--epochs", 2), "train")
    both = settings(split, tmp_path, nets=("resnet", "resnet18"))
    assert eval_script.main(evaluate) == 0
    assert json.loads((run / "eval" / "metrics.json").read_text())["photographs_sha256"] == seen["val"]

    exchange(split)
    capsys.readouterr()
    for script, config in ((train, settings(split, tmp_path)), (train, more), (eval_script, evaluate), (compare, both)):
        assert script.main(config) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "photographs of " in said
        assert " are not those that the split saw, the first " in said
        assert f"restore them, or python train_val_split.py --data {split} makes a new split" in said
    assert sorted(path.name for path in run.parent.iterdir()) == ["001"], "no run was begun"

    # After a new split the lists are the same, but the run has seen other photographs
    split_folder(split, 0.34)
    capsys.readouterr()
    assert train.main(more) == 2
    assert "photographs of its training list have changed since; restore them, or train anew" in capsys.readouterr().err
    assert eval_script.main(evaluate) == 2
    assert f"have changed since {run} was trained: restore them, train again, or use them anyway" in capsys.readouterr().err
    assert eval_script.main(parse_config(words("--run", run, "--num_workers", 0, "--data", split), "eval")) == 0
    asked = []
    monkeypatch.setattr(side_by_side, "run_script", lambda script, arguments, **_: asked.append(script))
    assert compare.main(both) == 2, "no training can be compared"
    assert f"resnet, seed 0: {run} is there already" not in capsys.readouterr().out
    assert asked == ["train.py", "train.py"]

    exchange(split)  # back again, at other times
    split_folder(split, 0.34)
    assert digests(DataSource("folder", str(split))).photographs == seen
    assert train.main(more) == 0


def test_finished_runs_on_other_photographs_are_not_compared(split, tmp_path, capsys):
    assert train.main(settings(split, tmp_path)) == 0
    run = tmp_path / "runs" / "resnet" / "001"
    shutil.copytree(run, run.parent / "002")
    write_result(run.parent / "002", {**read_result(run), "photographs_sha256": {"train": "0" * 64, "val": "0" * 64}})
    assert compare.main(Config(runs=(str(run), str(run.parent / "002")), runs_dir=str(tmp_path))) == 2
    assert "saw different photographs" in capsys.readouterr().err


def test_runs_and_splits_of_older_versions_go_on_and_nothing_is_said(split, tmp_path, capsys):
    (split / PHOTOGRAPHS).unlink()
    assert train.main(settings(split, tmp_path)) == 0
    run = tmp_path / "runs" / "resnet" / "001"
    assert "photographs_sha256" not in read_result(run)
    split_folder(split, 0.34)  # now they are recorded
    capsys.readouterr()
    assert train.main(parse_config(words("--resume", run, "--epochs", 2), "train")) == 0
    assert eval_script.main(parse_config(words("--run", run, "--num_workers", 0), "eval")) == 0
    assert "note" not in capsys.readouterr().err
    assert read_result(run)["photographs_sha256"] == digests(DataSource("folder", str(split))).photographs


def test_another_evaluation_of_the_test_list_is_made_when_its_photographs_change(split, tmp_path):
    from evaluation.report import is_evaluated

    split_folder(split, 0.2, test_fraction=0.2)
    assert train.main(settings(split, tmp_path)) == 0
    run = tmp_path / "runs" / "resnet" / "001"
    assert eval_script.main(parse_config(words("--run", run, "--split", "test", "--num_workers", 0), "eval")) == 0
    list_sha256 = json.loads((run / "eval_test" / "metrics.json").read_text())["list_sha256"]
    now = digest(split, "test")
    assert is_evaluated(run, "test", list_sha256, now)
    assert not is_evaluated(run, "test", list_sha256, "0" * 64)
    assert is_evaluated(run, "test", list_sha256, None)


def test_a_photograph_that_is_touched_is_read_again_and_the_same(split, monkeypatch):
    before = digest(split)
    name = (split / "train_list.txt").read_text().splitlines()[0].rsplit(" ", 1)[0]
    os.utime(split / name, (time.time() + 5, time.time() + 5))
    found = reads(monkeypatch)
    assert digest(split) == before
    assert found == [os.path.basename(name)]

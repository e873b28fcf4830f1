import contextlib
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, fill, random_photograph
from PIL import Image

from config import Config
from data import folder_walk, photographs, splitting
from data.class_folders import SplitError
from data.data_folder import DataFolder
from data.lists import DataError
from data.splitting import split_folder
from train_val_split import main

ROOT = Path(__file__).resolve().parent.parent
REAL_PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "animals10_mini.zip"
WRITTEN = ("train_list.txt", "val_list.txt", "labels.txt", "split_report.csv", "photographs.sha256")


@pytest.fixture(autouse=True)
def threads_for_processes(monkeypatch):
    """Read in threads, which see what a test patches, and start faster. Processes run in the tests of the command."""
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))


def numbered(name, count, suffix=".png"):
    return [f"{name}/{number}{suffix}" for number in range(count)]


def entries(folder, side):
    """[(relative path, class name), ...] of the list of a side, "train" or "val"."""
    lists = DataFolder(folder)
    classes = lists.read_classes()
    return [(sample.name, classes[sample.label]) for sample in lists.read_list(f"{side}_list.txt", len(classes))]


def paths(folder, side):
    return [path for path, _ in entries(folder, side)]


def report(folder):
    """{path: problem} of split_report.csv."""
    with open(folder / "split_report.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: row["problem"] for row in csv.DictReader(file)}


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(folder, capsys, **settings):
    """The line that a refused split prints; nothing may have been written."""
    before = content(folder) if folder.is_dir() else None
    capsys.readouterr()
    assert main(Config(data=str(folder), **settings)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("train_val_split.py: error: ")
    assert (content(folder) if folder.is_dir() else None) == before
    return err


# What is written and printed


def test_the_command_writes_the_lists_and_prints_a_table(photo_folder):
    before = content(photo_folder)
    command = [sys.executable, ROOT / "train_val_split.py", "--data", photo_folder]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["class", "train", "val"],
        ["cat", "5", "1"],
        ["dog", "5", "1"],
        ["sheep", "5", "1"],
        ["total", "15", "3"],
        ["finished", "train", "val", "split!"],
    ]
    after = content(photo_folder)
    assert after.pop("split.json")
    assert {name: after.pop(name) for name in WRITTEN if name in after}.keys() == set(WRITTEN)
    assert after == before
    assert DataFolder(photo_folder).read_classes() == list(CLASSES)
    assert sorted(entries(photo_folder, "train") + entries(photo_folder, "val")) == [
        (path, path.split("/")[0]) for path in sorted(before)
    ]


def test_names_that_the_terminal_cannot_show_do_not_stop_the_split(tmp_path):
    fill(tmp_path, numbered("猫", 2) + numbered("dog", 2))
    command = [sys.executable, ROOT / "train_val_split.py", "--data", tmp_path]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("finished train val split!\n")


@pytest.mark.parametrize(
    ("val_fraction", "expected"),
    [
        (0.2, {"cat": (8, 2), "dog": (16, 4), "sheep": (2, 1)}),
        (0.5, {"cat": (5, 5), "dog": (10, 10), "sheep": (1, 2)}),
        (0.001, {"cat": (9, 1), "dog": (19, 1), "sheep": (2, 1)}),
        (0.9, {"cat": (1, 9), "dog": (2, 18), "sheep": (1, 2)}),
    ],
)
def test_every_class_is_split_by_the_fraction_and_on_both_sides(tmp_path, val_fraction, expected):
    fill(tmp_path, numbered("cat", 10) + numbered("dog", 20) + numbered("sheep", 3))
    assert split_folder(tmp_path, val_fraction) == expected
    for side, count in (("train", 0), ("val", 1)):
        classes = [name for _, name in entries(tmp_path, side)]
        assert {name: classes.count(name) for name in expected} == {name: pair[count] for name, pair in expected.items()}


def test_a_fifth_is_the_default(photo_folder):
    assert Config().val_fraction == 0.2
    assert split_folder(photo_folder) == split_folder(photo_folder, 0.2)


@pytest.mark.parametrize("limit", [2, 3, 100])
def test_max_per_class_keeps_every_class(tmp_path, limit):
    fill(tmp_path, numbered("cat", 10) + numbered("dog", 4))
    counts = split_folder(tmp_path, max_per_class=limit)
    assert {name: sum(pair) for name, pair in counts.items()} == {"cat": min(limit, 10), "dog": min(limit, 4)}
    assert all(min(pair) >= 1 for pair in counts.values())


def test_a_larger_limit_keeps_the_photographs_of_a_smaller_one(tmp_path):
    fill(tmp_path, numbered("cat", 10) + numbered("dog", 4))
    chosen = []
    for limit in (3, 6):
        split_folder(tmp_path, max_per_class=limit)
        chosen.append({*paths(tmp_path, "train"), *paths(tmp_path, "val")})
    assert chosen[0] < chosen[1]


# The same everywhere


def test_seed_0_gives_this_split_on_every_machine(photo_folder):
    split_folder(photo_folder, 0.34, seed=0)
    assert paths(photo_folder, "val") == [
        "cat/cat_1.jpg", "cat/cat_5.jpg", "dog/dog_4.jpg", "dog/dog_5.jpg", "sheep/sheep_0.jpg", "sheep/sheep_1.jpg",
    ]  # fmt: skip


def test_the_seed_decides(photo_folder):
    splits = []
    for seed in (*range(8), *range(8)):
        split_folder(photo_folder, seed=seed)
        splits.append(tuple(paths(photo_folder, "val")))
    assert splits[:8] == splits[8:]
    assert len(set(splits)) > 4


def test_the_order_in_which_the_file_system_lists_names_changes_nothing(photo_folder, monkeypatch):
    fill(photo_folder, [f"cat/{inner}/{number}.png" for inner in "zab" for number in range(3)])
    twins = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]  # two names, where the file system tells them apart
    fill(photo_folder, [f"cat/{folder}/{name}{number}.png" for folder in twins for name in twins for number in range(3)], 100)
    split_folder(photo_folder)
    expected = content(photo_folder)

    scandir, iterdir = os.scandir, Path.iterdir

    def backwards(top):
        with scandir(top) as entries:
            return contextlib.nullcontext(sorted(entries, key=lambda entry: entry.name, reverse=True))

    with monkeypatch.context() as patch:
        patch.setattr(folder_walk.os, "scandir", backwards)
        patch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
        split_folder(photo_folder)
    assert content(photo_folder) == expected


def test_composed_and_decomposed_letters_give_the_same_split(tmp_path):
    names = [f"{name}/{letter}{number}.png" for name in ("zèbre", "zfbre", "âne") for letter in "éfà" for number in range(3)]
    lists = []
    for form in ("NFC", "NFD"):
        folder = fill(tmp_path / form, [unicodedata.normalize(form, name) for name in names])
        split_folder(folder)
        lists.append([(folder / name).read_text(encoding="utf-8") for name in WRITTEN[:-1]])
    assert lists[0] != lists[1]
    assert lists[0] == [unicodedata.normalize("NFC", text) for text in lists[1]]


def test_where_the_data_lie_changes_nothing(photo_folder, tmp_path):
    split_folder(photo_folder)
    moved = tmp_path / "elsewhere" / "my photographs"
    shutil.copytree(photo_folder, moved, ignore=shutil.ignore_patterns(*WRITTEN))
    split_folder(moved)
    one, other = content(moved), content(photo_folder)
    assert one.pop("photographs.sha256") != other.pop("photographs.sha256"), "it has the times of the files"
    assert one == other


# Which files are photographs


def test_every_photograph_is_opened_once(photo_folder, monkeypatch):
    opened = []
    original = photographs.open_regular
    monkeypatch.setattr(photographs, "open_regular", lambda path, most: opened.append(Path(path)) or original(path, most))
    split_folder(photo_folder)
    assert sorted(opened) == sorted(photo_folder.rglob("*.jpg"))


def test_unreadable_photographs_are_left_out_and_reported(photo_folder):
    whole = (photo_folder / "cat" / "cat_0.jpg").read_bytes()
    (photo_folder / "cat" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (photo_folder / "cat" / "empty.jpg").touch()
    (photo_folder / "dog" / "page.png").write_text("<html>404</html>")
    (photo_folder / "dog" / "notes.txt").write_text("notes")
    (photo_folder / "dog" / "README").write_text("notes")
    split_folder(photo_folder)
    problems = report(photo_folder)
    assert problems.keys() == {"cat/truncated.jpg", "cat/empty.jpg", "dog/page.png", "dog/notes.txt", "dog/README"}
    assert problems["cat/truncated.jpg"] == "damaged: the file ends too early"
    assert problems["cat/empty.jpg"] == "not an image: an empty file"
    assert problems["dog/page.png"] == "not an image: a web page"
    assert problems["dog/notes.txt"] == "not an image file (extension .txt)"
    assert problems["dog/README"] == "not an image file (extension missing)"
    listed = paths(photo_folder, "train") + paths(photo_folder, "val")
    assert not problems.keys() & set(listed)
    assert len(listed) == 18


def test_a_link_to_nowhere_is_reported(photo_folder):
    try:
        (photo_folder / "cat" / "link.jpg").symlink_to(photo_folder / "gone.jpg")
    except OSError:
        pytest.skip("no symbolic links here")
    split_folder(photo_folder)
    assert report(photo_folder) == {"cat/link.jpg": "there is no such file"}


def test_hidden_system_and_empty_folders_and_files_are_passed_over(photo_folder):
    photo = photo_folder / "cat" / "cat_0.jpg"
    for name in (
        ".ipynb_checkpoints/a.jpg",
        "__MACOSX/cat/a.jpg",
        "cat/.ipynb_checkpoints/cat_0-checkpoint.jpg",
        "cat/._cat_1.jpg",
    ):
        (photo_folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, photo_folder / name)
    for name in ("Thumbs.db", "dog/Thumbs.db", "dog/desktop.ini", "dog/.DS_Store", "loose.jpg"):
        (photo_folder / name).write_bytes(b"system")
    (photo_folder / "empty" / "inner").mkdir(parents=True)
    (photo_folder / "notes").mkdir()
    (photo_folder / "notes" / "notes.txt").touch()
    assert split_folder(photo_folder) == dict.fromkeys(CLASSES, (5, 1))
    assert DataFolder(photo_folder).read_classes() == list(CLASSES)
    assert report(photo_folder) == {"notes/notes.txt": "not an image file (extension .txt)"}


def test_every_format_with_extensions_in_any_case_is_taken(tmp_path):
    suffixes = [".jpg", ".JPG", ".Jpeg", ".PNG", ".png", ".WebP", ".bmp", ".GIF", ".tif", ".TIFF", ".JFIF"]
    names = [f"{name}/{number}{suffix}" for name in ("cat", "dog") for number, suffix in enumerate(suffixes)]
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        kind = "JPEG" if name.lower().endswith(".jfif") else None
        random_photograph(seed).save(tmp_path / name, format=kind)
    split_folder(tmp_path)
    assert sorted(paths(tmp_path, "train") + paths(tmp_path, "val")) == sorted(names)


def test_names_with_spaces_and_other_letters_work(tmp_path):
    names = [
        "black cat/a b  c.jpg",
        "black cat/été 0.jpg",
        "黑猫/照片 1.jpg",
        "黑猫/照片\u2028.jpg",
        'кот/1,"2".jpg',
        "кот/a/b 1.jpg",
    ]
    fill(tmp_path, names)
    split_folder(tmp_path)
    assert DataFolder(tmp_path).read_classes() == ["black cat", "кот", "黑猫"]
    assert sorted(paths(tmp_path, "train") + paths(tmp_path, "val")) == sorted(names)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="this file system refuses such names")
def test_names_that_a_list_cannot_hold_are_reported(photo_folder):
    photo = photo_folder / "cat" / "cat_0.jpg"
    shutil.copy(photo, photo_folder / "cat" / "two\nlines.jpg")
    shutil.copy(photo, os.fsencode(photo_folder / "cat") + b"/\xff.jpg")
    split_folder(photo_folder)
    assert sorted(report(photo_folder).values()) == [
        "its name is not valid UTF-8",
        "line break in its name, which a list cannot hold",
    ]
    assert len(paths(photo_folder, "train") + paths(photo_folder, "val")) == 18


# Duplicates


def test_duplicates_never_fall_on_both_sides(tmp_path):
    fill(tmp_path, numbered("cat", 6) + numbered("dog", 6))
    original = np.asarray(Image.open(tmp_path / "cat" / "0.png"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(original).copy()).save(tmp_path / "cat" / "rotated.png", exif=exif)
    Image.fromarray(original).save(tmp_path / "cat" / "same.bmp")
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "cat" / "copy.png")
    same = {"cat/0.png", "cat/rotated.png", "cat/same.bmp", "cat/copy.png"}
    sides = set()
    for seed in range(12):
        assert sum(split_folder(tmp_path, 0.5, seed)["cat"]) == 9
        train, val = (same & set(paths(tmp_path, side)) for side in ("train", "val"))
        assert (train, val) in ((same, set()), (set(), same))
        sides.add(bool(val))
        assert report(tmp_path).keys() == same
        assert report(tmp_path)["cat/copy.png"] == (
            "duplicate, kept on one side of the split: cat/0.png, cat/rotated.png, cat/same.bmp"
        )
    assert sides == {True, False}


def test_a_class_of_two_photographs_and_many_copies_is_still_split(tmp_path):
    fill(tmp_path, numbered("cat", 2) + numbered("dog", 2))
    for number in range(8):
        shutil.copy(tmp_path / "cat" / f"{number % 2}.png", tmp_path / "cat" / f"copy {number}.png")
    for seed in range(4):
        assert split_folder(tmp_path, seed=seed)["cat"] == (5, 5)
        assert {Path(path).stem[-1] in "02468" for path in paths(tmp_path, "val") if "cat" in path} in ({True}, {False})


def test_copies_do_not_swell_the_validation_list(tmp_path):
    fill(tmp_path, numbered("cat", 10) + numbered("dog", 2))
    for number in range(5):
        shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "cat" / f"copy {number}.png")
    for seed in range(8):
        assert split_folder(tmp_path, 0.2, seed)["cat"] == (12, 3)


def test_under_a_limit_copies_take_no_other_photograph_s_place(tmp_path):
    fill(tmp_path, numbered("cat", 4) + numbered("dog", 4))
    for number in range(4):
        shutil.copy(tmp_path / "cat" / f"{number}.png", tmp_path / "cat" / f"{number} copy.png")
    for seed in range(4):
        split_folder(tmp_path, 0.5, seed, max_per_class=4)
        chosen = [path for path in paths(tmp_path, "train") + paths(tmp_path, "val") if path.startswith("cat")]
        assert sorted(Path(path).stem[0] for path in chosen) == list("0123")


def test_one_photograph_under_two_labels_is_left_out_and_reported(photo_folder, capsys):
    shutil.copy(photo_folder / "cat" / "cat_0.jpg", photo_folder / "dog" / "kept.jpg")
    shutil.copy(photo_folder / "dog" / "dog_0.jpg", photo_folder / "dog" / "again.jpg")
    split_folder(photo_folder)
    assert report(photo_folder) == {
        "cat/cat_0.jpg": "the same photograph under another label, left out: dog/kept.jpg",
        "dog/kept.jpg": "the same photograph under another label, left out: cat/cat_0.jpg",
        "dog/again.jpg": "duplicate, kept on one side of the split: dog/dog_0.jpg",
        "dog/dog_0.jpg": "duplicate, kept on one side of the split: dog/again.jpg",
    }
    listed = paths(photo_folder, "train") + paths(photo_folder, "val")
    assert len(listed) == 18
    assert not {"cat/cat_0.jpg", "dog/kept.jpg"} & set(listed)
    summary = f"2 files left out, 2 duplicates kept together: {photo_folder / 'split_report.csv'}"
    assert summary in capsys.readouterr().out.splitlines()


def test_photographs_that_differ_in_one_pixel_are_no_duplicates(tmp_path):
    fill(tmp_path, numbered("cat", 2) + numbered("dog", 2))
    image = Image.open(tmp_path / "cat" / "0.png")
    image.putpixel((3, 3), (1, 2, 3))
    image.save(tmp_path / "cat" / "other.png")
    flat = np.zeros((4, 9, 3), np.uint8)
    Image.fromarray(flat).save(tmp_path / "dog" / "wide.png")
    Image.fromarray(flat.reshape(9, 4, 3)).save(tmp_path / "dog" / "high.png")
    split_folder(tmp_path)
    assert report(tmp_path) == {}


# What cannot be split


def test_a_missing_folder_is_refused_with_the_way_to_data(tmp_path, capsys):
    line = refusal(tmp_path / "nowhere", capsys)
    assert f"there is no folder {tmp_path / 'nowhere'}" in line
    assert f"python sample_animals.py --data {tmp_path / 'nowhere'}" in line
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is neither a folder nor a known archive" in refusal(tmp_path / "file", capsys)


def test_a_folder_without_class_folders_is_refused(tmp_path, capsys):
    random_photograph(1).save(tmp_path / "loose.jpg")
    (tmp_path / "empty").mkdir()
    line = refusal(tmp_path, capsys)
    assert "holds no class folders with photographs" in line
    assert "python sample_animals.py" in line


def test_a_single_class_is_refused(tmp_path, capsys):
    fill(tmp_path, numbered("cat", 4))
    line = refusal(tmp_path, capsys)
    assert "holds one class only (cat): a classifier needs at least two class folders" in line


def test_a_class_with_fewer_than_two_different_readable_photographs_is_refused(photo_folder, capsys):
    for number in range(1, 6):
        (photo_folder / "dog" / f"dog_{number}.jpg").unlink()
    shutil.copy(photo_folder / "dog" / "dog_0.jpg", photo_folder / "dog" / "copy.jpg")
    (photo_folder / "dog" / "damaged.jpg").write_bytes(b"damaged")
    line = refusal(photo_folder, capsys)
    assert "class dog has 1 different readable photograph (3 files in" in line
    assert "at least 2" in line
    assert "; dog/damaged.jpg: not an image" in line

    (photo_folder / "dog" / "dog_0.jpg").unlink()
    (photo_folder / "dog" / "copy.jpg").unlink()
    assert "class dog has 0 different readable photographs (1 files" in refusal(photo_folder, capsys)


def test_earlier_lists_survive_a_refusal(photo_folder, capsys):
    split_folder(photo_folder)
    shutil.rmtree(photo_folder / "dog")
    shutil.rmtree(photo_folder / "cat")
    refusal(photo_folder, capsys)  # compares the lists before and after


def test_a_reading_process_that_dies_is_reported(photo_folder, capsys, monkeypatch):
    def die(path):
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr(splitting, "_digests", die)
    assert "a process that reads photographs died" in refusal(photo_folder, capsys)


def test_a_folder_that_cannot_be_written_to_is_refused(photo_folder, capsys, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied", str(photo_folder))

    monkeypatch.setattr("machine.whole_file.tempfile.mkstemp", refuse)
    assert "Permission denied" in refusal(photo_folder, capsys)


def outcome_as_nobody(folder):
    """What a user without rights gets of a split: "done", or the reason why not. Permissions do not bind root."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            split_folder(folder)
            os.write(writer, b"done")
        except SplitError as error:
            os.write(writer, os.fsencode(str(error)))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        os.waitpid(child, 0)
        return os.fsdecode(answer.read())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="another user's rights are tried in a forked process")
def test_what_may_not_be_read_is_said():
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to other users
        os.chmod(place, 0o755)
        folder = fill(Path(place) / "data", numbered("cat", 5) + numbered("dog", 5))
        os.chmod(folder, 0o777)
        (folder / "cat" / "0.png").chmod(0)
        assert outcome_as_nobody(folder) == "done"
        assert report(folder) == {"cat/0.png": "no permission to read it"}
        (folder / "dog").chmod(0)
        assert outcome_as_nobody(folder) == f"{folder / 'dog'} cannot be read: Permission denied"


# Links


@pytest.fixture
def elsewhere(photo_folder):
    """A folder of photographs outside of photo_folder."""
    return fill(photo_folder.with_name("elsewhere"), numbered("more", 4), 50) / "more"


def test_a_photograph_that_is_a_link_out_is_reported_unless_links_are_followed(photo_folder, elsewhere):
    (photo_folder / "cat" / "link.png").symlink_to(elsewhere / "0.png")
    (photo_folder / "cat" / "folder").symlink_to(elsewhere)
    (photo_folder / "cat" / "inside.jpg").symlink_to("cat_0.jpg")
    split_folder(photo_folder)
    assert report(photo_folder) == {
        **dict.fromkeys(("cat/link.png", "cat/folder"), folder_walk.OUTSIDE),
        "cat/inside.jpg": "duplicate, kept on one side of the split: cat/cat_0.jpg",
        "cat/cat_0.jpg": "duplicate, kept on one side of the split: cat/inside.jpg",
    }
    assert split_folder(photo_folder, follow_links=True)["cat"] == (10, 2)
    with pytest.raises(DataError, match=r"outside the folder|a link that leads out"):
        entries(photo_folder, "train") + entries(photo_folder, "val")


def test_a_class_is_never_lost_to_a_link(photo_folder, elsewhere, capsys):
    (photo_folder / "linked").symlink_to(elsewhere)
    assert f"{photo_folder / 'linked'} is a link that leads out of the data folder" in refusal(photo_folder, capsys)
    assert split_folder(photo_folder, follow_links=True)["linked"] == (3, 1)


def test_the_data_folder_itself_may_be_a_link(photo_folder):
    link = photo_folder.with_name("link")
    link.symlink_to(photo_folder)
    assert split_folder(link) == dict.fromkeys(CLASSES, (5, 1))
    assert len(entries(link, "train")) == 15


def test_every_folder_is_read_once_however_many_links_lead_to_it(photo_folder, monkeypatch):
    fill(photo_folder, numbered("cat/b", 2) + numbered("cat/a", 2), 70)
    for link, target in (("cat/b/loop", "."), ("cat/a/up", "../.."), ("cat/c", "b"), ("cat/a/other", "../b"), ("dog/up", "..")):
        (photo_folder / link).symlink_to(target)
    read = []
    scandir = os.scandir
    monkeypatch.setattr(
        folder_walk.os, "scandir", lambda path: read.append(os.path.relpath(path, photo_folder)) or scandir(path)
    )
    split_folder(photo_folder)
    assert set(read) == {"cat", "cat/a", "cat/b", "dog", "sheep"}
    assert max(map(read.count, read)) <= 2, "two folders are looked into to see how the data are laid out"
    assert report(photo_folder) == dict.fromkeys(("cat/b/loop", "cat/a/up", "cat/c", "cat/a/other", "dog/up"), folder_walk.SEEN)


def test_split_folder_raises_for_callers(tmp_path):
    with pytest.raises(SplitError, match="there is no folder"):
        split_folder(tmp_path / "nowhere")


# Real photographs


def test_320_photographs_of_animals(tmp_path):
    if not REAL_PHOTOGRAPHS.is_file():
        pytest.skip(f"needs {REAL_PHOTOGRAPHS}")
    zipfile.ZipFile(REAL_PHOTOGRAPHS).extractall(tmp_path)
    folder = next(path.parent.parent for path in tmp_path.rglob("*") if re.search(r"(?i)\.jpe?g$", path.name))
    counts = split_folder(folder)
    assert len(counts) == 10
    assert report(folder) == {}
    assert set(counts.values()) == {(26, 6)}


def test_the_table_of_thousands_of_classes_names_ten(capsys):
    counts = {f"class {number}": (3, 1) for number in range(5000)}
    splitting._print_table("report.csv", ["train", "val"], counts, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[10].split() == ["class", "9", "3", "1"]
    assert lines[11:13] == ["and 4,990 more classes", "total       15000   5000"]

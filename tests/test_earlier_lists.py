"""A split where lists lie already: the user's own are not lost, those of this toolkit are replaced."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import CLASSES, random_photograph

import train_val_split
from config import parse_config
from data import splitting
from data.data_folder import DataFolder
from data.found_photographs import SplitError
from data.lists import DataError, write_lists
from data.splitting import split_folder
from settings.format_number import FormatError

LISTS = ("labels.txt", "train_list.txt", "val_list.txt")
MINE = "cat/cat_0.jpg 0\n"


@pytest.fixture(autouse=True)
def threads_for_processes(monkeypatch):
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))


@pytest.fixture
def folder(photo_folder):
    return photo_folder


def files(folder):
    """{name: content} of what lies beside the class folders."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refusal(folder, **options):
    """The message of a refused split, which has neither read a photograph nor changed a file."""
    before = files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "_digests", lambda path: pytest.fail(f"{path} was read"))
        with pytest.raises((SplitError, DataError)) as error:
            split_folder(folder, **options)
    assert files(folder) == before
    assert str(error.value).isprintable()
    return str(error.value)


def add_class(folder, name):
    (folder / name).mkdir()
    for number in range(3):
        random_photograph((name.encode()[0], number)).save(folder / name / f"{number}.png")


# Lists


@pytest.mark.parametrize("name", ["train_list.txt", "val_list.txt", "test_list.txt"])
def test_a_list_of_the_user_s_is_replaced_only_with_overwrite_and_then_kept(folder, name, capsys):
    (folder / name).write_text(MINE)
    assert refusal(folder) == (
        f"{folder} holds {name}, not as this toolkit wrote it: the scripts use such a list as it is; --overwrite splits "
        f"anew and keeps the old one as {name}.old"
    )
    arguments = ["--data", str(folder), "--overwrite"]
    assert train_val_split.main(parse_config(arguments, "train_val_split")) == 0
    assert f"earlier files are kept in {folder} as {name}.old" in capsys.readouterr().out.splitlines()
    assert (folder / f"{name}.old").read_text() == MINE
    assert len(DataFolder(folder).class_of_paths()) == 18
    assert (folder / "test_list.txt").exists() is False  # its photographs are in the other lists now
    split_folder(folder, seed=1)  # from here on the lists are the toolkit's
    (folder / "train_list.txt").write_text("another\n")
    split_folder(folder, overwrite=True)
    kept = {path.read_text() for path in folder.glob("*.old*")}
    assert kept == {MINE, "another\n"}


def test_lists_that_the_toolkit_wrote_are_replaced_without_a_word(folder, capsys):
    split_folder(folder)
    first = files(folder)
    capsys.readouterr()
    split_folder(folder, seed=1)
    assert files(folder)["train_list.txt"] != first["train_list.txt"]
    assert files(folder).keys() == first.keys() == {*LISTS, "split.json", "split_report.csv", "photographs.sha256"}
    assert capsys.readouterr().out.splitlines()[-1] == "finished train val split!"


@pytest.mark.parametrize("change", [str.lower, lambda text: text.replace("\n", "\r\n"), lambda text: text[:-20]])
def test_a_list_that_was_changed_since_is_the_user_s(folder, change):
    split_folder(folder)
    path = folder / "train_list.txt"
    text = "".join(reversed(path.read_text().splitlines(keepends=True)))
    path.write_bytes(change(text).encode())
    assert "holds train_list.txt, not as this toolkit wrote it" in refusal(folder)


def test_several_lists_of_the_user_s_are_named_together(folder):
    for name in LISTS[1:]:
        (folder / name).write_text(MINE)
    assert f"{folder} holds train_list.txt, val_list.txt, not as" in refusal(folder)


def as_older_version(folder):
    """Lists as versions wrote them that left no split.json."""
    split_folder(folder)
    (folder / "split.json").unlink()


def test_lists_of_an_older_version_are_replaced_and_kept_in_case(folder, capsys):
    as_older_version(folder)
    before = files(folder)
    add_class(folder, "ant")
    split_folder(folder)
    assert DataFolder(folder).read_classes() == ["ant", *CLASSES]
    assert {name: files(folder)[f"{name}.old"] for name in LISTS} == {name: before[name] for name in LISTS}
    assert f"earlier files are kept in {folder} as {', '.join(f'{name}.old' for name in LISTS)}" in capsys.readouterr().out


def test_a_list_that_was_changed_after_an_older_version_s_report_is_the_user_s(folder):
    as_older_version(folder)
    later = (folder / "split_report.csv").stat().st_mtime + 60
    os.utime(folder / "val_list.txt", (later, later))
    assert "holds val_list.txt, not as" in refusal(folder)


@pytest.mark.parametrize(("name", "list_format"), [("test_list.txt", "paddleclas"), ("train.txt", "paddlex3")])
def test_older_versions_wrote_no_lists_of_other_names(folder, name, list_format):
    as_older_version(folder)
    (folder / name).write_text(MINE)
    os.utime(folder / name, (1, 1))
    assert f"holds {name}, not as" in refusal(folder, list_format=list_format)


def test_a_file_that_only_has_the_report_s_name_proves_nothing(folder):
    (folder / "train_list.txt").write_text(MINE)
    (folder / "split_report.csv").write_text("my,table\n")
    assert "holds train_list.txt, not as" in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": 3}', '{"sha256": {"train_list.txt": 3}}', "[" * 100_000])
def test_a_damaged_record_means_that_lists_are_the_user_s(folder, text):
    split_folder(folder)
    (folder / "split.json").write_text(text)
    assert "holds train_list.txt, val_list.txt, not as" in refusal(folder)


def test_a_record_of_a_newer_version_is_refused_and_unknown_keys_are_passed_over(folder):
    split_folder(folder)
    content = json.loads((folder / "split.json").read_text())
    (folder / "split.json").write_text(json.dumps({**content, "later": 1}))
    split_folder(folder)
    (folder / "split.json").write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(FormatError, match=r"split\.json: format 99; this version of the toolkit reads up to 1: use"):
        split_folder(folder)


def test_a_test_list_comes_and_goes_with_the_split_that_has_one(tmp_path):
    sides = [("cat/1.jpg", 0)], [("dog/1.jpg", 1)]
    assert write_lists(tmp_path, ["cat", "dog"], *sides, [("dog/2.jpg", 1)]) == []
    assert (tmp_path / "test_list.txt").read_text() == "dog/2.jpg 1\n"
    assert write_lists(tmp_path, ["cat", "dog"], *sides) == [
        f"removed from {tmp_path}, because this split has none: test_list.txt"
    ]
    assert not (tmp_path / "test_list.txt").exists()


def test_a_split_without_a_test_list_removes_that_of_the_split_before(folder, capsys):
    split_folder(folder, test_fraction=0.2)
    assert (folder / "test_list.txt").is_file()
    split_folder(folder)
    assert not (folder / "test_list.txt").exists()
    assert f"removed from {folder}, because this split has none: test_list.txt" in capsys.readouterr().out


# The order of the classes


def test_the_order_of_the_user_s_labels_is_the_order_of_the_classes(folder, capsys):
    mine = "\ufeffsheep\r\ncat\r\ndog\r\n".encode()
    (folder / "labels.txt").write_bytes(mine)
    for _ in range(2):
        split_folder(folder)
        out = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in out if line.startswith(CLASSES)] == ["sheep", "cat", "dog"]
        assert f"{folder / 'labels.txt'} stays: its order is the order of the classes" in out
        assert (folder / "labels.txt").read_bytes() == mine
        assert all(path.startswith(name) for path, name in DataFolder(folder).class_of_paths().items())
        assert (folder / "train_list.txt").read_text().startswith("sheep/sheep_1.jpg 0\n")
    add_class(folder, "ant")  # a class more must not bring another order by itself
    assert f"lacks ant, a class of {folder}: correct it" in refusal(folder)


def test_labels_of_other_classes_are_refused_with_the_difference(folder):
    (folder / "labels.txt").write_text("cat\nfish\ndog\n")
    assert refusal(folder) == (
        f"{folder / 'labels.txt'} names fish, no class of {folder}, and lacks sheep: "
        f"correct it, or let --overwrite write it anew and keep this one as labels.txt.old"
    )
    split_folder(folder, overwrite=True)
    assert DataFolder(folder).read_classes() == list(CLASSES)
    assert (folder / "labels.txt.old").read_text() == "cat\nfish\ndog\n"


@pytest.mark.parametrize("text", ["cat\n", "cat\ncat\ndog\nsheep\n", "cat\n\ndog\nsheep\n", b"cat\xff\ndog\n"])
def test_labels_that_cannot_be_used_are_refused_with_the_reason(folder, text):
    (folder / "labels.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    line = refusal(folder)
    assert line.startswith(f"{folder / 'labels.txt'}")
    assert line.endswith("; --overwrite writes it anew and keeps this one as labels.txt.old")
    split_folder(folder, overwrite=True)
    assert DataFolder(folder).read_classes() == list(CLASSES)


def test_many_other_names_are_not_all_told(folder):
    (folder / "labels.txt").write_text("".join(f"class {number}\n" for number in range(1000)))
    line = refusal(folder)
    assert "names class 0, class 1, class 2 and 997 more, no class of " in line
    assert len(line) < 500


# PaddleX 3


def test_paddlex_gets_its_own_files_beside_ours(folder):
    split_folder(folder, list_format="paddlex3")
    assert (folder / "label.txt").read_text() == "0 cat\n1 dog\n2 sheep\n"
    for ours, theirs in (("train_list.txt", "train.txt"), ("val_list.txt", "val.txt")):
        assert (folder / ours).read_text() == (folder / theirs).read_text()
    assert not (folder / "test.txt").exists()
    assert len(DataFolder(folder).class_of_paths()) == 18
    split_folder(folder, list_format="paddlex3", test_fraction=0.2)
    assert (folder / "test_list.txt").read_text() == (folder / "test.txt").read_text() != ""
    split_folder(folder)  # files of another split would mislead
    assert files(folder).keys() == {*LISTS, "split.json", "split_report.csv", "photographs.sha256"}


def test_in_a_folder_of_their_own_they_name_photographs_absolutely(folder, tmp_path):
    split_folder(folder, lists_dir=tmp_path / "lists", list_format="paddlex3")
    lines = (tmp_path / "lists" / "train.txt").read_text().splitlines()
    assert len(lines) == 15
    assert all(os.path.isfile(line.split(" ")[0]) and line.startswith(f"{folder}/") for line in lines)
    assert (tmp_path / "lists" / "train_list.txt").read_text().startswith("cat/cat_")


def test_paddlex_lists_leave_out_paths_with_spaces_and_say_so(folder, capsys):
    for number in range(3):
        random_photograph((9, number)).save(folder / "cat" / f"photo ({number}).png")
    split_folder(folder, list_format="paddlex3")
    out = capsys.readouterr().out.splitlines()
    assert "3 of 21 photographs are missing from the lists for PaddleX 3, which reads no spaces" in out
    lines = [line for name in ("train.txt", "val.txt") for line in (folder / name).read_text().splitlines()]
    assert len(lines) == 18
    assert all(len(line.split(" ")) == 2 for line in lines)
    assert len(DataFolder(folder).class_of_paths()) == 21


def test_a_class_that_paddlex_would_lose_is_refused(folder):
    (folder / "cat").rename(folder / "black cat")
    line = refusal(folder, list_format="paddlex3")
    assert line.startswith(
        f"class black cat: every path holds a space, which PaddleX 3 cannot read, such as {folder}/black cat/"
    )
    assert line.endswith("rename the folder or the files, or leave out --list_format paddlex3")
    split_folder(folder)


def test_train_txt_of_the_user_s_matters_only_to_paddlex_s_lists(folder):
    (folder / "train.txt").write_text(MINE)
    split_folder(folder)
    split_folder(folder)
    assert (folder / "train.txt").read_text() == MINE
    assert "holds train.txt, not as this toolkit wrote it" in refusal(folder, list_format="paddlex3")
    split_folder(folder, list_format="paddlex3", overwrite=True)
    assert (folder / "train.txt.old").read_text() == MINE


def test_spaces_that_paddleclas_cannot_read_are_told_once(folder, capsys):
    (folder / "cat" / "cat_0.jpg").rename(folder / "cat" / "a b.jpg")
    split_folder(folder)
    line = "1 of 18 paths hold a space: train.py and the others read them; PaddleClas, which splits a line at its first space,"
    assert capsys.readouterr().out.splitlines().count(f"{line} does not") == 1

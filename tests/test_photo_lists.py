import os

import pytest

from data.data_folder import DataFolder
from data.lists import LABELS, TRAIN_LIST, DataError, Sample, list_digest, write_lists

ODD_NAMES = ["cat/a b  c.jpg", "猫/照片 1.jpg", "cat/e\u0301t\u00e9.png", "cat/page\x0cfeed\u2028\u0085.jpg", "cat/3 0.jpg"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a b.jpg").touch()
    (tmp_path / LABELS).write_text("cat\ndog\n", encoding="utf-8")
    return tmp_path


def read_classes(folder, follow_links=False):
    return DataFolder(folder, follow_links).read_classes()


def read_list(list_file, num_classes, follow_links=False, data=None):
    return DataFolder(list_file.parent, follow_links, data).read_list(list_file.name, num_classes)


def write_list(folder, text, encoding="utf-8"):
    (folder / TRAIN_LIST).write_bytes(text.encode(encoding))
    return folder / TRAIN_LIST


def test_what_is_written_is_read_again_whatever_the_names(tmp_path):
    for name in ODD_NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    classes = ["猫", "black dog", "été"]
    write_lists(tmp_path, classes, [(name, 2) for name in ODD_NAMES], [])
    assert read_classes(tmp_path) == classes
    assert read_list(tmp_path / TRAIN_LIST, 3) == [Sample(name, 2, line) for line, name in enumerate(ODD_NAMES, start=1)]


def test_lists_have_the_form_that_paddleclas_reads(tmp_path):
    write_lists(tmp_path, ["cat", "dog"], [("cat/1.jpg", 0), ("dog/1 2.jpg", 1)], [("dog/3.jpg", 1)])
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.txt")} == {
        "labels.txt": b"cat\ndog\n",
        "train_list.txt": b"cat/1.jpg 0\ndog/1 2.jpg 1\n",
        "val_list.txt": b"dog/3.jpg 1\n",
    }


@pytest.mark.parametrize(
    "text", ["cat/a b.jpg 1\r\n", "\ufeffcat/a b.jpg 1", "cat/a b.jpg 1\n\n"], ids=["windows", "byte order mark", "blank line"]
)
def test_lists_from_other_editors_are_read(folder, text):
    assert read_list(write_list(folder, text), 2) == [Sample("cat/a b.jpg", 1, 1)]


@pytest.mark.parametrize(
    "line", ["cat/a b.jpg", "cat/a b.jpg\t1", "1", "cat/a b.jpg one", "cat/a b.jpg 1.0", "cat/a b.jpg --1", "cat/a b.jpg ²"]
)
def test_a_line_without_path_and_label_is_refused_with_file_and_line(folder, line):
    list_file = write_list(folder, f"cat/a b.jpg 0\n\n{line}\n")
    with pytest.raises(DataError) as error:
        read_list(list_file, 2)
    assert str(error.value).startswith(f"{list_file} line 3: {line!r}: expected 'relative/path label'")


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_class_is_refused_with_file_and_line(folder, label):
    list_file = write_list(folder, f"cat/a b.jpg {label}\n")
    with pytest.raises(DataError) as error:
        read_list(list_file, 2)
    assert str(error.value) == f"{list_file} line 1: label {label}, but labels.txt names 2 classes (0 to 1)"


def test_a_photograph_that_is_not_there_is_refused_with_file_line_and_remedy(folder):
    list_file = write_list(folder, "cat/a b.jpg 0\ncat/gone.jpg 0\n")
    with pytest.raises(DataError) as error:
        read_list(list_file, 2)
    message = str(error.value)
    assert message.startswith(f"{list_file} line 2: there is no file {folder / 'cat' / 'gone.jpg'}")
    assert f"python train_val_split.py --data {folder}" in message


@pytest.mark.parametrize("digits", [10, 5000])
def test_a_label_of_many_digits_is_refused(folder, digits):
    list_file = write_list(folder, f"cat/a b.jpg {'0' * digits}\n")
    with pytest.raises(DataError, match=r"line 1: .*where the label is a whole number") as error:
        read_list(list_file, 2)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000, "a\0b", "a\x1b[2Jb", "a\u2028b"])
def test_names_that_no_file_can_have_are_refused_on_one_line(folder, name):
    with pytest.raises(DataError, match="line 1: there is no file ") as error:
        read_list(write_list(folder, f"{name} 0\n"), 2)
    assert str(error.value).isprintable()


def test_a_class_that_is_named_twice_is_refused_with_both_lines(folder):
    (folder / LABELS).write_text("cat\ndog\ncat\n")
    with pytest.raises(DataError, match=r"labels\.txt line 3: cat is the class of line 1 already"):
        read_classes(folder)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_list_is_refused(folder, text):
    with pytest.raises(DataError, match=r"train_list.txt is empty: python train_val_split.py"):
        read_list(write_list(folder, text), 2)


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_lists_in_the_encodings_of_windows_are_read(folder, encoding):
    (folder / "狗").mkdir()
    (folder / "狗" / "犬 1.jpg").touch()
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (folder / LABELS).write_bytes(f"{mark}cat\r\n狗\r\n".encode(encoding))
    assert read_classes(folder) == ["cat", "狗"]
    list_file = write_list(folder, f"{mark}cat/a b.jpg 0\r\n狗/犬 1.jpg 1\r\n", encoding)
    assert read_list(list_file, 2) == [Sample("cat/a b.jpg", 0, 1), Sample("狗/犬 1.jpg", 1, 2)]


@pytest.mark.parametrize(
    ("text", "encoding"), [("cafétéria/1.jpg", "latin-1"), ("кот/1.jpg", "cp1251"), ("고양이/1.jpg", "euc-kr")]
)
def test_a_list_in_another_encoding_is_refused_with_file_line_and_encoding(folder, text, encoding):
    place = folder / text
    place.parent.mkdir()
    place.touch()
    list_file = write_list(folder, f"cat/a b.jpg 0\n{text} 1\n", encoding)
    with pytest.raises(DataError) as error:
        read_list(list_file, 2)
    message = str(error.value)
    assert message.startswith(f"{list_file} line 2")
    assert "GB18030" in message
    assert message.endswith("save the file as UTF-8")


def test_bytes_of_no_encoding_are_refused_with_file_line_and_byte(folder):
    (folder / TRAIN_LIST).write_bytes(b"cat/a b.jpg 0\ncat/\xff.jpg 0\n")
    with pytest.raises(DataError) as error:
        read_list(folder / TRAIN_LIST, 2)
    assert str(error.value) == (
        f"{folder / TRAIN_LIST} line 2 cannot be read: byte 0xff is neither UTF-8 nor GB18030: save the file as UTF-8"
    )


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", "cat\ndog\n".encode("utf-16-le"), "cat\ndog\n".encode("utf-16-be")])
def test_utf_16_that_is_broken_or_without_a_mark_is_refused(folder, data):
    (folder / LABELS).write_bytes(data)
    with pytest.raises(DataError, match=r"labels\.txt cannot be read: it .* UTF-16.*: save the file as UTF-8"):
        read_classes(folder)


def test_labels_that_only_look_like_gb18030_are_refused(folder):
    """No file confirms a class name, but a class folder of the name does."""
    (folder / LABELS).write_bytes("cat\nкоты\n".encode("cp1251"))
    reading = "коты".encode("cp1251").decode("gb18030")
    with pytest.raises(DataError) as error:
        read_classes(folder)
    assert str(error.value) == (
        f"{folder / LABELS} line 2 is not UTF-8; in GB18030 it reads {reading}, but {folder} has no such folder to confirm it: "
        f"save the file as UTF-8"
    )
    (folder / reading).mkdir()
    assert read_classes(folder) == ["cat", reading]


def test_gbk_that_could_be_utf_8_is_known_by_the_files(folder):
    """猫 in GBK is è in UTF-8."""
    (folder / "猫").mkdir()
    (folder / "猫" / "1.jpg").touch()
    (folder / LABELS).write_bytes("cat\n猫\n".encode("gbk"))
    assert read_classes(folder) == ["cat", "猫"]
    assert read_list(write_list(folder, "猫/1.jpg 1\n", "gbk"), 2) == [Sample("猫/1.jpg", 1, 1)]
    (folder / "猫").rename(folder / "è")
    assert read_classes(folder) == ["cat", "è"]
    assert read_list(folder / TRAIN_LIST, 2) == [Sample("è/1.jpg", 1, 1)]


@pytest.mark.parametrize("entry", ["cat\\a b.jpg", ".\\cat\\a b.jpg", "cat\\..\\cat/a b.jpg"])
def test_the_backslash_of_windows_separates_folders(folder, entry):
    assert read_list(write_list(folder, f"{entry} 1\r\n"), 2) == [Sample(entry.replace("\\", "/"), 1, 1)]


@pytest.mark.skipif(os.sep == "\\", reason="no name holds it there")
def test_a_file_whose_name_holds_a_backslash_comes_first(folder):
    (folder / "cat\\a b.jpg").touch()
    assert read_list(write_list(folder, "cat\\a b.jpg 1\n"), 2) == [Sample("cat\\a b.jpg", 1, 1)]


def test_a_backslash_hides_nothing(linked):
    other = linked.with_name(f"{linked.name}_elsewhere")
    for entry in (f"..\\{other.name}\\cats\\1.jpg", "out\\cats\\1.jpg"):
        with pytest.raises(DataError, match="is outside the folder"):
            read_list(write_list(linked, f"{entry} 1\n"), 2)
    with pytest.raises(DataError, match=r"line 2: cat/a b\.jpg has label 1 here and 0 in line 1"):
        read_list(write_list(linked, "cat/a b.jpg 0\ncat\\a b.jpg 1\n"), 2)
    with pytest.raises(DataError, match=r"line 1: there is no file .*cat/gone\.jpg; has the data folder changed\?"):
        read_list(write_list(linked, "cat\\gone.jpg 1\n"), 2)


def test_missing_lists_are_refused_with_the_command_that_writes_them(tmp_path):
    for read in (read_classes, lambda root: read_list(root / TRAIN_LIST, 2)):
        with pytest.raises(DataError, match=r"there is no .*\.txt: python train_val_split.py --data .* writes it"):
            read(tmp_path)


@pytest.mark.parametrize("text", ["", "cat\n", "cat\n\n  \n"])
def test_fewer_than_two_classes_are_refused(folder, text):
    (folder / LABELS).write_text(text)
    with pytest.raises(DataError, match=r"labels\.txt: [01] class names; expected at least two"):
        read_classes(folder)


def test_the_digest_tells_lists_apart_by_content_alone(folder):
    digest = list_digest(write_list(folder, "cat/a b.jpg 0\n"))
    assert digest != list_digest(write_list(folder, "cat/a b.jpg 1\n"))
    assert digest == list_digest(write_list(folder, "cat/a b.jpg 0\n"))


@pytest.fixture
def linked(folder):
    """``folder`` with links in it, some of which lead out."""
    other = folder.with_name(f"{folder.name}_elsewhere")
    (other / "cats").mkdir(parents=True)
    (other / "cats" / "1.jpg").touch()
    (folder / "out").symlink_to(other)
    (folder / "cat" / "out.jpg").symlink_to(other / "cats" / "1.jpg")
    (folder / "cat" / "in.jpg").symlink_to("a b.jpg")
    (folder / "again").symlink_to("cat")
    return folder


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{other}/cats/1.jpg", "is absolute, not relative to the list's folder"),
        ("{folder}/cat/a b.jpg", "is absolute, not relative to the list's folder"),
        ("../{other.name}/cats/1.jpg", "is outside the folder {folder}"),
        ("cat/../../{other.name}/cats/1.jpg", "is outside the folder {folder}"),
        ("out/cats/1.jpg", "is outside the folder {folder}"),
        ("cat/out.jpg", "is a link that leads out of the folder {folder}"),
    ],
)
def test_an_entry_that_leaves_the_folder_is_refused_unless_links_are_followed(linked, entry, why):
    entry, why = (text.format(folder=linked, other=linked.with_name(f"{linked.name}_elsewhere")) for text in (entry, why))
    list_file = write_list(linked, f"cat/a b.jpg 0\n{entry} 1\n")
    with pytest.raises(DataError) as error:
        read_list(list_file, 2)
    assert str(error.value).startswith(f"{list_file} line 2: {entry} {why}; ")
    assert "--follow_links" in str(error.value)
    assert read_list(list_file, 2, follow_links=True)[1] == Sample(entry, 1, 2)


@pytest.mark.parametrize("entry", ["cat/in.jpg", "again/a b.jpg", "again/in.jpg", "cat/../cat/a b.jpg", "./cat/a b.jpg"])
def test_links_and_ways_that_stay_inside_are_taken(linked, entry):
    assert read_list(write_list(linked, f"{entry} 1\n"), 2) == [Sample(entry, 1, 1)]


def test_a_folder_that_is_a_link_itself_is_the_folder(linked):
    write_list(linked, "cat/a b.jpg 1\n")
    link = linked.with_name(f"{linked.name}_link")
    link.symlink_to(linked)
    assert len(read_list(link / TRAIN_LIST, 2)) == 1
    write_list(linked, "out/cats/1.jpg 1\n")
    with pytest.raises(DataError, match="is outside the folder"):
        read_list(link / TRAIN_LIST, 2)


@pytest.mark.parametrize("name", [TRAIN_LIST, LABELS])
def test_a_list_that_is_a_link_out_is_refused_unless_links_are_followed(linked, name):
    write_list(linked, "cat/a b.jpg 1\n")
    other = linked.with_name(f"{linked.name}_elsewhere") / name
    (linked / name).rename(other)
    (linked / name).symlink_to(other)
    read = read_classes if name == LABELS else lambda root, *more: read_list(root / name, 2, *more)
    with pytest.raises(DataError, match="is a link that leads out of its folder"):
        read(linked)
    assert read(linked, True)


def test_a_message_names_the_data_as_the_user_does(folder):
    with pytest.raises(DataError, match=r"python train_val_split.py --data 'my photographs.zip' writes it"):
        read_list(folder / TRAIN_LIST, 2, data="my photographs.zip")


def test_every_listed_photograph_has_the_class_of_its_label(listed_folder):
    classes = DataFolder(listed_folder).class_of_paths()
    assert len(classes) == 18
    assert all(path.split("/")[0] == name for path, name in classes.items())
    (listed_folder / LABELS).unlink()
    assert DataFolder(listed_folder).class_of_paths() == {}


def test_each_folder_is_resolved_once_and_each_file_looked_at_once(folder, monkeypatch):
    for number in range(50):
        (folder / "cat" / f"{number}.jpg").touch()
    write_list(folder, "".join(f"cat/{number}.jpg 0\n" for number in range(50)))
    calls = {"lstat": 0, "realpath": 0, "stat": 0}
    for name, owner in (("lstat", os), ("realpath", os.path)):
        original = getattr(owner, name)

        def counted(*args, name=name, original=original, **options):
            calls[name] += args[0] != TRAIN_LIST
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)
    read_list(folder / TRAIN_LIST, 2)
    assert calls["lstat"] < 60 + 3 * folder.as_posix().count("/")
    assert calls["realpath"] <= 4

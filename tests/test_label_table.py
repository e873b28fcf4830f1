"""Labels from a CSV or text file beside a folder of photographs."""

import csv

import pytest
from conftest import random_photograph

from config import Config, ConfigError
from data.data_folder import DataFolder
from data.splitting import split_folder
from train_val_split import main

BREEDS = {"a1": "beagle", "b2": "collie", "c3": "beagle", "d4": "collie", "e5": "beagle", "f6": "collie"}


@pytest.fixture
def flat(tmp_path):
    """A folder with six photographs in train/ and one without label in test/."""
    for place, name in enumerate([*(f"train/{name}" for name in BREEDS), "test/g7"]):
        path = tmp_path / "data" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        random_photograph(place, (16, 12)).save(path)
    return tmp_path / "data"


def written(folder, rows, name="train.csv", delimiter=",", encoding="utf-8"):
    with open(folder / name, "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return folder / name


def labelled(folder):
    """{path: class name} of the lists."""
    return DataFolder(folder).class_of_paths()


def report(folder):
    with open(folder / "split_report.csv", encoding="utf-8", newline="") as file:
        return dict(list(csv.reader(file))[1:])


def refusal(folder, capsys, **settings):
    assert main(Config(data=str(folder), **settings)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert not (folder / "labels.txt").exists()
    return err


EXPECTED = {f"train/{name}.jpg": breed for name, breed in BREEDS.items()}
FORMS = {
    "kaggle": [["id", "breed"], *BREEDS.items()],
    "with extension": [["image", "label"], *((f"{name}.jpg", breed) for name, breed in BREEDS.items())],
    "with folder": [["file", "what"], *((f"train/{name}.jpg", breed) for name, breed in BREEDS.items())],
    "from windows": [["file", "what"], *((f".\\train\\{name}.jpg", breed) for name, breed in BREEDS.items())],
    "label first": [["breed", "id"], *((breed, name) for name, breed in BREEDS.items())],
    "without header": [*((f"{name}.jpg", breed) for name, breed in BREEDS.items())],
    "further columns": [["age", "id", "label"], *((place, *pair) for place, pair in enumerate(BREEDS.items()))],
    "row numbers of pandas": [["", "id", "label"], *((place, *pair) for place, pair in enumerate(BREEDS.items()))],
    "one-hot": [["id", "beagle", "collie"], *((n, int(b == "beagle"), int(b == "collie")) for n, b in BREEDS.items())],
    "one-hot floats": [
        ["id", "beagle", "collie"],
        *((n, float(b == "beagle"), float(b == "collie")) for n, b in BREEDS.items()),
    ],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "gb18030")])
def test_columns_are_found_by_what_is_in_them(flat, form, delimiter, encoding):
    table = written(flat, FORMS[form], delimiter=delimiter, encoding=encoding)
    assert split_folder(flat, labels=table) == dict.fromkeys(("beagle", "collie"), (2, 1))
    assert labelled(flat) == EXPECTED
    assert report(flat) == {"test/g7.jpg": f"no label in {table}"}


def test_lines_of_a_path_and_a_label_are_read(flat):
    table = flat / "all.txt"
    table.write_text("".join(f"train/{name}.jpg \u2028{breed}\n" for name, breed in BREEDS.items()), encoding="utf-8")
    split_folder(flat, labels=table)
    assert labelled(flat) == EXPECTED


def test_the_command_reads_a_table_in_the_data_folder_and_says_what_it_took(flat, capsys):
    written(flat, FORMS["kaggle"])
    assert main(Config(data=str(flat), labels="train.csv")) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"labels of 6 of 7 photographs from {flat / 'train.csv'}: files in column 'id', labels in column 'breed'"
    assert labelled(flat) == EXPECTED


def test_names_in_chinese_survive_gbk(flat):
    names = {"beagle": "比格犬", "collie": "牧羊犬"}
    table = written(flat, [["id", "品种"], *((name, names[breed]) for name, breed in BREEDS.items())], encoding="gbk")
    split_folder(flat, labels=table)
    assert set(labelled(flat).values()) == {"比格犬", "牧羊犬"}


def test_whole_numbers_are_in_the_order_of_their_values(flat):
    numbers = dict(zip(BREEDS, (10, 2, 10, 2, 10, 2)))
    split_folder(flat, labels=written(flat, [["id", "label"], *numbers.items()]))
    assert DataFolder(flat).read_classes() == ["2", "10"]


def test_several_columns_that_could_be_the_label_are_asked_for(flat, capsys):
    rows = [["id", "size", "colour"], *((name, breed, breed[::-1]) for name, breed in BREEDS.items())]
    table = written(flat, rows)
    line = refusal(flat, capsys, labels=str(table))
    assert "several columns of" in line
    assert "size, colour; choose one with --label_column NAME" in line
    split_folder(flat, labels=table, label_column="size")
    assert labelled(flat) == EXPECTED


def test_several_columns_that_name_photographs_are_asked_for(flat, capsys):
    table = written(flat, [["id", "file", "label"], *((name, f"{name}.jpg", breed) for name, breed in BREEDS.items())])
    assert "(id, file): choose one with --file_column NAME" in refusal(flat, capsys, labels=str(table))
    split_folder(flat, labels=table, file_column="file", label_column="label")
    assert labelled(flat) == EXPECTED


def test_a_column_that_is_not_there_is_named(flat, capsys):
    table = written(flat, FORMS["kaggle"])
    assert "label_column = 'race': " in refusal(flat, capsys, labels=str(table), label_column="race")
    with pytest.raises(ConfigError, match="give it too"):
        Config(label_column="race")


def test_rows_and_photographs_that_do_not_fit_are_reported(flat):
    random_photograph(90, (16, 12)).save(flat / "test" / "a1.jpg")
    random_photograph(91, (16, 12)).save(flat / "train" / "h8.jpg")
    random_photograph(92, (16, 12)).save(flat / "train" / "i9.jpg")
    random_photograph(93, (16, 12)).save(flat / "train" / "j0.jpg")
    more = [["j0", "x" * 300], ["z0", "collie"], ["h8", "beagle"], ["h8", "collie"], ["i9", ""], ["i9", "x", "y"]]
    table = written(flat, [*FORMS["kaggle"], *more])
    split_folder(flat, labels=table)
    assert "train/a1.jpg" not in labelled(flat)
    problems = report(flat)
    assert problems.pop("a1").startswith(f"{table} line 2: 2 photographs have this name: ")
    assert problems.pop("z0") == f"{table} line 9: there is no such photograph"
    assert problems.pop("train/h8.jpg") == f"two labels in {table}: 'beagle' in line 10 and 'collie' in line 11; left out"
    assert problems.pop(f"{table} line 13") == "3 values for 2 columns"
    assert problems.pop("train/j0.jpg") == f"{table} line 8: a label of 300 letters, more than 255"
    assert problems.keys() == {"train/i9.jpg", "train/a1.jpg", "test/a1.jpg", "test/g7.jpg"}


def test_a_one_hot_row_with_two_classes_is_reported(flat):
    table = written(flat, [*FORMS["one-hot"][:-1], ["f6", 1, 1]])
    split_folder(flat, labels=table)
    assert report(flat)["train/f6.jpg"] == f"{table} line 7: 2 classes are marked, expected one: beagle, collie"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([["id", "breed"], ["x", "beagle"]], "no column of"),
        ([["id", "breed"], *((name, "dog") for name in BREEDS)], "1 different label: 'dog'; expected at least two"),
        ([["id", "id"], *BREEDS.items()], "two columns are called 'id'"),
        ([], "is no table"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(flat, capsys, rows, text):
    assert text in refusal(flat, capsys, labels=str(written(flat, rows)))


def test_a_table_that_is_no_text_or_not_there_is_refused(flat, capsys):
    (flat / "train.csv").write_bytes(b"id,label\n\xff\xff,1\n")
    assert "is neither UTF-8 nor GB18030: save it as CSV in UTF-8" in refusal(flat, capsys, labels=str(flat / "train.csv"))
    assert "there is no" in refusal(flat, capsys, labels="nowhere.csv")


def test_a_flat_folder_beside_a_table_is_told_of_the_option(flat, capsys):
    written(flat, FORMS["kaggle"])
    assert f"--labels {flat / 'train.csv'}" in refusal(flat, capsys)
    assert f"--labels {flat / 'train' / 'some.csv'}" in refusal(
        written(flat / "train", FORMS["kaggle"], "some.csv").parent, capsys
    )


def test_labels_with_a_test_list(flat):
    counts = split_folder(flat, labels=written(flat, FORMS["kaggle"]), test_fraction=0.3)
    assert counts == dict.fromkeys(("beagle", "collie"), (1, 1, 1))


def test_a_photograph_of_the_same_name_in_another_folder_is_not_meant(flat, capsys):
    rows = [["file", "label"], *((f"birds/{name}.jpg", "bird") for name in ("a1", "b2")),
            *((f"/kaggle/input/train/{name}.jpg", BREEDS[name]) for name in ("c3", "d4", "e5", "f6"))]  # fmt: skip
    table = written(flat, rows)
    split_folder(flat, labels=table)
    assert set(labelled(flat).values()) == {"beagle", "collie"}
    assert report(flat)["birds/a1.jpg"] == f"{table} line 2: there is no such photograph"


def test_a_column_called_label_is_the_label_even_where_others_look_like_classes(flat, capsys):
    rows = [(name, int(name in "a1 b2"), int(breed == "collie")) for name, breed in BREEDS.items()]
    split_folder(flat, labels=written(flat, [["id", "smoker", "target"], *rows]))
    assert DataFolder(flat).read_classes() == ["0", "1"]
    assert "labels in column 'target'" in capsys.readouterr().out


def test_one_column_for_each_class_is_said(flat, capsys):
    split_folder(flat, labels=written(flat, FORMS["one-hot"]))
    assert "one column for each class: beagle, collie" in capsys.readouterr().out


@pytest.fixture
def parts(tmp_path):
    """A folder with train/ and valid/, without class folders, and a table of both."""
    folder = tmp_path / "parts"
    rows = [["file", "label"]]
    for place, (part, count) in enumerate((("train", 8), ("valid", 4))):
        for number in range(count):
            path = folder / part / f"{part}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            random_photograph((place, number), (16, 12)).save(path)
            rows.append([path.relative_to(folder), "cat" if number % 2 else "dog"])
    return folder, str(written(folder, rows))


def test_photographs_of_a_table_keep_the_split_of_their_folders(parts, capsys):
    folder, table = parts
    assert split_folder(folder, labels=table) == {"cat": (4, 2), "dog": (4, 2)}
    assert "split already by folders into train, val; --resplit draws a new split" in capsys.readouterr().out
    lists = DataFolder(folder)
    assert all(sample.name.startswith("valid/") for sample in lists.read_list("val_list.txt", 2))
    assert split_folder(folder, 0.5, labels=table, resplit=True) == {"cat": (3, 3), "dog": (3, 3)}
    assert "is given up for a new one (--resplit)" in capsys.readouterr().out


def test_a_class_that_is_not_there_to_train_on_gives_the_split_of_folders_up(parts, capsys):
    folder, _ = parts
    rows = [(f"train/train{number}.png", "cat" if number % 2 else "dog") for number in range(8)]
    rows += [(f"valid/valid{number}.png", "fox") for number in range(4)]
    assert split_folder(folder, 0.5, labels=written(folder, [["file", "label"], *rows]))["fox"] == (2, 2)
    assert "given up for a new one (no photograph of fox is there to train on)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["labels.txt", "train_list.txt", "split_report.csv"])
def test_a_table_that_the_split_would_replace_is_refused(flat, capsys, name):
    table = written(flat, FORMS["kaggle"], name)
    before = table.read_bytes()
    assert main(Config(data=str(flat), labels=str(table), overwrite=True)) == 2
    assert "the split writes a file of this name there: rename the table" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_a_table_that_labels_nothing_says_what_is_wrong_first(flat, capsys):
    table = flat / "train.csv"
    table.write_text('id,label\na1,"cat\nb2,dog\nc3,dog\n')
    line = refusal(flat, capsys, labels=str(table))
    assert "gives no photograph a label; the first problem: " in line
    assert "line break in its label" in line

"""Run folders: numbered, never shared, found again."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from settings.format_number import FormatError
from trained import history, run_folder
from trained.history import read_history, write_history
from trained.result import read_result, write_result
from trained.run_folder import RunError, check_plain, create_run, new_folder, newest_finished_run


def test_runs_started_at_once_never_share_a_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create_run(tmp_path, "resnet"), range(24)))
    assert sorted(run.name for run in runs) == [f"{number:03d}" for number in range(1, 25)]


def test_numbers_go_on_after_the_highest(tmp_path):
    for name in ("001", "1005", "notes"):
        (tmp_path / "resnet" / name).mkdir(parents=True)
    assert create_run(tmp_path, "resnet").name == "1006"


def test_newest_finished_run_passes_over_the_others(tmp_path):
    for status in ("finished", "finished", "interrupted", None):
        run = create_run(tmp_path, "resnet")
        if status:
            write_result(run, {"status": status})
    assert newest_finished_run(tmp_path, "resnet").name == "002"
    with pytest.raises(
        RunError, match=r"no finished run of sa_resnet .* python train.py --net sa_resnet --runs_dir .* makes one"
    ):
        newest_finished_run(tmp_path, "sa_resnet")


ROW = {"epoch": 1, "learning_rate": 0.1 / 3, "train_loss": 2.0 / 3, "train_acc": 1 / 7, "val_loss": 1e-17,
       "val_acc": 0.8678266178266179, "seconds": 1.5, "images_per_second": 1e3 / 7, "train_balanced_acc": 1 / 9,
       "val_balanced_acc": 0.75, "train_size": 64}  # fmt: skip


def test_history_keeps_every_digit(tmp_path):
    write_history(tmp_path, [ROW])
    assert read_history(tmp_path) == [ROW]


def test_a_history_of_every_format_is_read(tmp_path, monkeypatch):
    write_history(tmp_path, [ROW])
    file = tmp_path / "history.csv"
    assert file.read_text().splitlines() == [",".join([*history.COLUMNS, "format"]), f"{','.join(map(str, ROW.values()))},2"]
    with_format = file.read_text()
    for text in (
        with_format.replace(",format", "").replace(",2\n", "\n"),
        with_format.replace("format", "format,later").replace(",2\n", ",2,x\n"),
    ):
        file.write_text(text)
        assert read_history(tmp_path) == [ROW]
    monkeypatch.setattr(history, "COLUMNS", {**history.COLUMNS, "grad_norm": history.Column(default=None),
                                             "skipped": history.Column(int, default=0)})  # fmt: skip
    assert read_history(tmp_path) == [{**ROW, "grad_norm": None, "skipped": 0}]
    for grad_norm in (None, 0.25):
        write_history(tmp_path, [{**ROW, "grad_norm": grad_norm, "skipped": 3}])
        assert read_history(tmp_path) == [{**ROW, "grad_norm": grad_norm, "skipped": 3}]


def test_a_folder_without_history_is_named(tmp_path):
    with pytest.raises(RunError, match=r"has no history\.csv"):
        read_history(tmp_path)


COLUMNS = ",".join(history.COLUMNS)


@pytest.mark.parametrize(
    "text", ["epoch,acc\n1,x\n", f"{COLUMNS}\n1,2,3\n", f"{COLUMNS}\n1,2,3,4,5,6,7,x,9,10,11\n",
             f"{COLUMNS}\n1,2,3,4,5,6,7,nan,9,10,11\n", f"{COLUMNS}\ninf,2,3,4,5,6,7,8,9,10,11\n",
             f"{COLUMNS}\n{'9' * 200_000},2,3,4,5,6,7,8,9,10,11\n", "\udcff"]
)  # fmt: skip
def test_a_history_that_is_none_is_refused_in_one_line(tmp_path, text):
    file = tmp_path / "history.csv"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match=r"history\.csv cannot be read: ") as error:
        read_history(tmp_path)
    assert str(error.value).isprintable()


RESULT = {
    "status": "finished",
    "epochs": 3,
    "best": {**ROW, "epoch": 2},
    "images_per_second": 10.5,
    "peak_memory_mb": None,
    "list_sha256": {"train": "0" * 64, "val": "f" * 64},
}


def test_a_result_comes_back(tmp_path):
    write_result(tmp_path, RESULT)
    assert json.loads((tmp_path / "result.json").read_text()) == {"format": 2, **RESULT}
    assert read_result(tmp_path) == RESULT
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "later": [1]}))
    assert read_result(tmp_path) == RESULT


@pytest.mark.parametrize(
    ("name", "value"),
    [("images_per_second", "abc"), ("images_per_second", 10**400), ("best", 3), ("best", {"epoch": 1}),
     ("status", ["finished"]), ("best", {**ROW, "val_acc": "x"}), ("list_sha256", {"train": 3}), ("epochs", -1),
     ("peak_memory_mb", {})],
)  # fmt: skip
def test_what_is_wrong_in_a_result_counts_as_not_there(tmp_path, name, value):
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, name: value}))
    assert read_result(tmp_path) == {key: found for key, found in RESULT.items() if key != name}


@pytest.mark.parametrize("file", ["result.json", "history.csv"])
def test_what_is_no_file_does_not_hang(tmp_path, file):
    os.mkfifo(tmp_path / file)
    assert read_result(tmp_path) == {}
    with pytest.raises(RunError, match=r"history\.csv"):
        read_history(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", "3", "[" * 100_000, '{"epochs": ' + "9" * 5000 + "}"])
def test_a_result_that_is_none_is_empty(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    assert read_result(tmp_path) == {}


def test_newer_formats_are_refused_with_the_name_of_the_file(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "format": 99}))
    (tmp_path / "history.csv").write_text(f"{COLUMNS},format\n{','.join(map(str, ROW.values()))},99\n")
    for file, read in (("result.json", read_result), ("history.csv", read_history)):
        with pytest.raises(FormatError, match="format 99; this version of the toolkit reads up to 2: use a newer one") as error:
            read(tmp_path)
        assert str(error.value).startswith(f"{tmp_path / file}: ")


def test_only_what_is_a_run_is_looked_through(tmp_path, monkeypatch):
    """A user may name any folder by mistake, such as the home; and nobody's run holds ten thousand files."""
    (tmp_path / "link").symlink_to("/")
    check_plain(tmp_path)
    check_plain(tmp_path / "missing")
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunError, match="link is a link, and a run may hold nothing but files and folders of its own"):
        check_plain(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / "export" / "paddle").mkdir(parents=True)
    check_plain(tmp_path)
    (tmp_path / "export" / "paddle" / "link").symlink_to("nowhere")
    with pytest.raises(RunError, match=r"export/paddle/link is a link"):
        check_plain(tmp_path)
    monkeypatch.setattr(run_folder, "MAX_ENTRIES", 2)
    with pytest.raises(RunError, match="holds more than 2 files"):
        check_plain(tmp_path)


def test_a_new_folder_goes_again_where_its_results_cannot_be_written(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path, "compare") as folder:  # noqa: PT012
        (folder / "table.json").write_text("{}")
        raise KeyboardInterrupt
    assert not folder.exists()
    with new_folder(tmp_path, "compare") as folder:
        assert folder.name == "001"
    assert folder.is_dir()

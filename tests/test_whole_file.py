import csv
import json
import os
import stat

import pytest

from machine.whole_file import whole_file, write_csv, write_json, write_text
from messages.spreadsheet import restored


def test_the_content_is_replaced_at_once_when_the_block_ends(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with whole_file(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"  # writers choose the format by it
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [{}, {"result.json": "old"}])
def test_an_error_leaves_the_folder_as_it_was(tmp_path, before, error):
    for name, text in before.items():
        (tmp_path / name).write_text(text)

    def write_half():
        with whole_file(tmp_path / "result.json") as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write_half()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_an_error_is_passed_on_also_when_the_temporary_file_is_gone(tmp_path):
    def lose_file():
        with whole_file(tmp_path / "result.json") as temporary:
            temporary.unlink()
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        lose_file()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    previous = os.umask(umask)
    try:
        write_text(tmp_path / "result.txt", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "result.txt").stat().st_mode) == mode


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        write_text(tmp_path / "missing" / "result.txt", "text")
    assert str(error.value) == f"[Errno 2] there is no such folder: {str(tmp_path / 'missing')!r}"


@pytest.mark.parametrize("name", ["result", "照片" * 30 + ".txt", "x" * 200 + ".txt"])
def test_text_is_written_as_utf_8_without_changing_line_ends(tmp_path, name):
    write_text(tmp_path / name, "猫\r\nété\n")
    assert (tmp_path / name).read_bytes() == "猫\r\nété\n".encode()


def test_a_name_that_is_no_utf_8_is_escaped_as_json_has_it(tmp_path):
    write_text(tmp_path / "file.json", json.dumps({"list": "caf\udce9"}, ensure_ascii=False))
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == {"list": "caf\udce9"}


def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "outside").write_text("the user's")
    (tmp_path / "table.json").symlink_to(tmp_path / "outside")
    write_text(tmp_path / "table.json", "ours")
    assert (tmp_path / "outside").read_text() == "the user's"
    assert not (tmp_path / "table.json").is_symlink()


def test_a_temporary_file_that_became_a_link_is_not_written(tmp_path):
    (tmp_path / "outside").write_text("the user's")
    before = (tmp_path / "outside").stat()
    with pytest.raises(OSError), whole_file(tmp_path / "file") as temporary:  # noqa: PT012
        temporary.unlink()
        temporary.symlink_to(tmp_path / "outside")
    assert (tmp_path / "outside").stat().st_mode == before.st_mode
    assert not (tmp_path / "file").exists()


def test_json_has_no_numbers_that_are_none(tmp_path):
    write_json(tmp_path / "file.json", {"a": float("nan"), "b": [1.5, float("-inf"), (2, None)], "狗": {"c": 10**20}})
    content = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert json.loads(content, parse_constant=pytest.fail) == {"a": None, "b": [1.5, None, [2, None]], "狗": {"c": 10**20}}


@pytest.mark.parametrize("name", ["=1+1", "+a", "-a", "@a", "\ta", "\ra", "'=a", "''@a", "'tis", "'", "", "a=b", "＝1"])
def test_a_cell_that_a_spreadsheet_would_run_comes_back(tmp_path, name):
    write_csv(tmp_path / "table.csv", ["name", "number"], [(name, -1.5)])
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        (cell, number) = list(csv.reader(file))[1]
    assert cell[:1] not in {*"=+-@\t\r＝"} - {""}
    assert number == "-1.5"
    assert restored(cell) == name

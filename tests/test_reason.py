"""Errors in a user's words."""

import gzip
import io
import json
import re
import tarfile
import zipfile
import zlib

import pytest

from config import load_config
from data.archive import unpacked
from evaluation.report import read_correct, read_metrics
from messages.reason import reason_of
from messages.user_error import UserError
from trained.checkpoint import read_header
from trained.history import read_history
from weights.weight_files import read_weights

INTERNALS = re.compile(r"\[Errno|codec|0x[0-9a-f]{4}|Error\b|Expecting|<unicode string>|\(char ")


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cat/1.jpg", b"meow" * 50)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("cat/1.jpg")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"meow"))
    return file.getvalue()


def spoilt(data, place):
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def read_zip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.read("cat/1.jpg")


def read_tar(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        archive.extractfile("cat/1.jpg").read()


@pytest.mark.parametrize(
    ("provoke", "reason"),
    [
        (lambda: open("/no/such.txt"), "No such file or directory: /no/such.txt"),  # noqa: SIM115
        (lambda: b"caf\xe9".decode("utf-8"), "its byte 4 is not UTF-8"),
        (lambda: json.loads('{"a":\n1,'), "it is not JSON in line 2, column 3"),
        (lambda: gzip.decompress(gzip.compress(b"meow" * 50)[:-9]), "its end is missing"),
        (lambda: gzip.decompress(spoilt(gzip.compress(b"meow" * 50), -5)), "its checksum does not match"),
        (lambda: gzip.decompress(b"no gzip"), "it is no gzip file"),
        (lambda: zlib.decompress(b"no zlib"), "its compressed bytes contradict each other"),
        (lambda: read_zip(zipped()[:-30]), "its table of contents, which is at its end, is missing or damaged"),
        (lambda: read_zip(spoilt(zipped(), 60)), "the checksum of 'cat/1.jpg' does not match"),
        (lambda: read_zip(spoilt(zipped(), 31)), "the names in its table of contents and before the files differ"),
        (lambda: read_tar(spoilt(tarred(), 120)), "a header in it is damaged"),
        (lambda: read_tar(tarred()[:513]), "its end is missing"),
        (lambda: int("five\nsix"), "invalid literal for int() with base 10: 'five\\nsix'"),
    ],
)
def test_the_reason_is_one_line_without_python_s_internals(provoke, reason):
    with pytest.raises(Exception) as caught:
        provoke()
    assert reason_of(caught.value) == reason
    assert not INTERNALS.search(reason_of(caught.value))


def test_a_file_that_the_message_names_is_not_named_again():
    error = PermissionError(13, "Permission denied", "/runs/history.csv")
    assert reason_of(error, "/runs/history.csv") == "Permission denied"
    assert reason_of(error, "/runs/config.yaml") == "Permission denied: /runs/history.csv"


def test_an_error_without_text_is_named_by_its_type():
    assert reason_of(StopIteration()) == "an error that says no more (StopIteration)"


READERS = {  # file: what reads it, given its folder
    "history.csv": lambda folder: read_history(folder),
    "metrics.json": lambda folder: read_metrics(folder.parent),
    "predictions.csv": lambda folder: read_correct([folder.parent]),
    "config.yaml": lambda folder: load_config(folder / "config.yaml"),
    "photographs.zip": lambda folder: unpacked(folder / "photographs.zip"),
    "photographs.tar": lambda folder: unpacked(folder / "photographs.tar"),
    "photographs.tar.gz": lambda folder: unpacked(folder / "photographs.tar.gz"),
    "last.safetensors": lambda folder: read_header(folder / "last.safetensors"),
    "weights.pth": lambda folder: read_weights(folder / "weights.pth"),
}
DAMAGES = [
    ("history.csv", b"epoch,val_acc\none,two\n", "its first line does not name the column learning_rate once"),
    ("history.csv", b"\xff\xfe", "its byte 1 is not UTF-8; restore a copy"),
    ("metrics.json", b'{"loss": ', "it is not JSON in line 1, column 10; eval.py --run"),
    ("metrics.json", b"[]", "it holds no JSON object"),
    ("metrics.json", None, "No such file or directory; eval.py --run"),
    ("predictions.csv", b"a,b\n1,2\n", "its first line does not name the column path once"),
    ("predictions.csv", b"path,label,prediction\na,b\n", "line 2: 2 values in 3 columns; eval.py --run"),
    ("predictions.csv", b"path,label\n\xff", "its byte 12 is not UTF-8"),
    ("predictions.csv", None, "No such file or directory; eval.py --run"),
    ("config.yaml", b"net: [a\nb: }", "not YAML: expected ',' or ']', but got ':' in line 2, column 2"),
    ("config.yaml", b"net: \xe9", "cannot be read: its byte 6 is not UTF-8"),
    ("photographs.zip", zipped()[:-40], "its table of contents, which is at its end, is missing or damaged; get it again"),
    ("photographs.zip", spoilt(zipped(), 60), "the checksum of 'cat/1.jpg' does not match; get it again"),
    ("photographs.tar", tarred()[:700], "its end is missing; get it again"),
    ("photographs.tar.gz", gzip.compress(tarred(), mtime=0)[:-9], "its end is missing; get it again"),
    ("photographs.tar.gz", spoilt(gzip.compress(tarred(), mtime=0), -6), "its checksum does not match; get it again"),
    ("photographs.tar.gz", spoilt(gzip.compress(tarred(), mtime=0), 12), "is cut or damaged"),
    ("last.safetensors", b"", "is not a complete checkpoint (header too small)"),
    ("weights.pth", b"\x80\x02(K", "damaged: it is cut, or an opcode contradicts those before it"),
]


@pytest.mark.parametrize(("name", "content", "said"), DAMAGES, ids=[f"{row[0]} {n}" for n, row in enumerate(DAMAGES)])
def test_a_reader_of_damaged_files_speaks_to_users(tmp_path, monkeypatch, name, content, said):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "eval"
    folder.mkdir()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        READERS[name](folder)
    message = str(caught.value)
    assert str(folder / name) in message
    assert said in message
    assert "\n" not in message
    assert not INTERNALS.search(message)

"""Damaged photographs: each is read alike by whoever reads it, or refused in one line, and none takes long or much memory."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import random_photograph
from damaged_photographs import OTHER_FORMATS, damaged_photographs, many_scans
from PIL import Image
from test_train_val_split import entries, report

from data import splitting
from data.boxes import central_box, random_box, whole_box
from data.photograph_formats import FORMATS
from data.photographs import PhotographError, read_crop, read_photograph

ROOT = Path(__file__).resolve().parent.parent
MAX_SECONDS = 5  # of the processor
pytestmark = pytest.mark.filterwarnings("ignore")  # pytest undoes the filters; the last test sees what a user would
WAYS = {
    "whole": read_photograph,
    "evaluation": lambda path: read_crop(path, central_box(32), 32),
    "training": lambda path: read_crop(path, random_box(np.random.default_rng(1), 0.08), 32, flip=True),
    "squeezed": lambda path: read_crop(path, whole_box, 8),
}
MEASURE = """
import json, sys
from data.boxes import central_box
from data.photographs import PhotographError, read_crop, read_photograph
for path in sys.argv[1:]:
    for read in (read_photograph, lambda path: read_crop(path, central_box(32), 32)):
        try:
            read(path)
        except PhotographError:
            pass
    # ru_maxrss would include what the process that started this one had
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps([path, peak / 1024]), flush=True)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of the damaged photographs."""
    folder = tmp_path_factory.mktemp("corpus") / "damaged"
    folder.mkdir()
    for name, content in damaged_photographs():
        assert not (folder / name).exists(), name
        (folder / name).write_bytes(content)
    return folder


def read(way, path):
    """The pixels, or the reason why there are none."""
    try:
        return WAYS[way](path).tobytes()
    except PhotographError as error:
        return str(error)


def test_the_corpus_is_as_large_as_promised(corpus):
    assert len(list(corpus.iterdir())) >= 300


def test_every_way_of_reading_takes_or_refuses_the_same_and_twice_alike(corpus):
    taken = set()
    for path in corpus.iterdir():
        started = time.process_time()
        found = {way: [read(way, path), read(way, path)] for way in WAYS}
        assert time.process_time() - started < MAX_SECONDS, path.name
        assert all(first == second for first, second in found.values()), path.name
        kinds = {type(first) for first, _ in found.values()}
        assert len(kinds) == 1, (path.name, found)
        if kinds == {bytes}:
            taken.add(path.stem)
        else:
            reason = found["whole"][0]
            assert reason.isprintable(), path.name
            assert 0 < len(reason) < 250
    assert not taken & {*OTHER_FORMATS, "empty", "floats", "scans"}
    assert taken >= {"called otherwise", "cmyk", "16 bits a colour", "five frames", "1x1", "restarts", "exif loop", "comments"}


def test_the_split_keeps_or_reports_every_file(corpus, monkeypatch, capsys):
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))
    root = corpus.parent
    (root / "whole").mkdir()
    for number in range(4):
        random_photograph((9, number)).save(root / "whole" / f"{number}.png")
    splitting.split_folder(root)
    assert capsys.readouterr().err == ""
    kept = {path for side in ("train", "val") for path, name in entries(root, side) if name == "damaged"}
    refused = {path: problem for path, problem in report(root).items() if not problem.startswith("duplicate, kept")}
    assert kept | refused.keys() == {f"damaged/{path.name}" for path in corpus.iterdir()}
    assert not kept & refused.keys()
    for path in kept:
        assert all(isinstance(read(way, root / path), bytes) for way in WAYS), path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_no_other_format_is_tried_whatever_a_file_is_called(tmp_path, monkeypatch, suffix):
    Image.init()
    tried = set()
    for name, (_, accept) in list(Image.OPEN.items()):
        look = lambda prefix, name=name, accept=accept: tried.add(name) or (not accept or accept(prefix))  # noqa: E731
        monkeypatch.setitem(Image.OPEN, name, (Image.OPEN[name][0], look))
    for name in ("eps", "ppm", "psd", "text"):
        (tmp_path / f"{name}{suffix}").write_bytes(OTHER_FORMATS[name])
        assert read("whole", tmp_path / f"{name}{suffix}").startswith("not an image")
    random_photograph(1).save(tmp_path / f"photo{suffix}")
    assert isinstance(read("whole", tmp_path / f"photo{suffix}"), bytes)
    assert tried <= set(FORMATS.values())


def test_what_is_no_file_is_not_waited_for(tmp_path, monkeypatch):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zeros.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's path may have but 108 bytes
        server.bind("socket.jpg")
    expected = {"pipe": "a named pipe", "zeros": "a device", "folder": "a folder", "socket": "a socket"}
    for way in WAYS:
        for name, kind in expected.items():
            assert read(way, tmp_path / f"{name}.jpg") == f"cannot be read: {kind}, not a file"
        assert "cannot be read: Too many levels of symbolic links" in read(way, tmp_path / "loop.jpg")


def test_a_file_larger_than_any_photograph_is_not_read(tmp_path):
    with open(tmp_path / "giant.png", "wb") as file:
        file.truncate(2**40)
    assert read("whole", tmp_path / "giant.png").startswith("cannot be read: 1,099,511,627,776 bytes, more than the")


def test_scans_are_counted_before_they_are_decoded(tmp_path):
    for count, verdict in ((30, bytes), (60, str)):
        (tmp_path / f"{count}.jpg").write_bytes(many_scans(3000, count))
        assert type(read("whole", tmp_path / f"{count}.jpg")) is verdict
    assert "scans, more than 50: save it anew" in read("whole", tmp_path / "60.jpg")


def test_bombs_need_little_memory_and_nothing_reaches_the_terminal(corpus):
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    files = sorted(corpus.iterdir())
    assert sum("bomb" in file.name or "60000" in file.name for file in files) > 8
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", MEASURE, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    peaks = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(peaks) == len(files)
    assert peaks[-1][1] < 150, "MB"

"""predict.py: the classes of new photographs, in a file, in folders and on a page."""

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, fill, printed, random_photograph
from PIL import Image, JpegImagePlugin

import eval as eval_script
import predict
from machine import cache_folder
from config import Config, parse_config
from data import folder_walk
from prediction import predict_photographs as work
from prediction import sorting
from prediction.contact_sheet import write_contact_sheet
from prediction.predictions import Prediction
from prediction.sorting import sort_photographs
from trained.trained_run import TrainedRun

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def tiny_network(register_tiny_network):
    """The name resnet stands for a tiny network here."""


@pytest.fixture
def run(tiny_run_place):
    return TrainedRun.open(tiny_run_place / "runs" / "resnet" / "001")


@pytest.fixture
def holiday(tmp_path):
    """A folder of seven photographs, of which one is damaged, in two folders."""
    folder = tmp_path / "holiday"
    (folder / "beach").mkdir(parents=True)
    for number in range(6):
        random_photograph(number + 100).save(folder / f"{'beach/' if number % 2 else ''}{number}.png")
    (folder / "beach" / "damaged.jpg").write_bytes(b"no photograph")
    return folder


def predicted(run, tmp_path, *words, code=0):
    """Run the script; the rows of predictions.csv."""
    output = tmp_path / "predictions.csv"
    arguments = ["--run", run.folder, "--output", output, "--num_workers", 0, "--threads", 2, "--device", "cpu", *words]
    assert predict.main(parse_config([*map(str, arguments)], "predict")) == code
    with open(output, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def give_on_stdin(monkeypatch, content):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def interrupt(run, tmp_path, monkeypatch, *words, batches=1):
    """Run the script, and interrupt it after so many batches of two photographs."""
    read, plain = [], TrainedRun.predict

    def interrupted(self, images, batch_size=32):
        if len(read) == batches:
            raise KeyboardInterrupt
        read.append(len(images))
        return plain(self, images, batch_size)

    monkeypatch.setattr(TrainedRun, "predict", interrupted)
    with pytest.raises(FileNotFoundError):
        predicted(run, tmp_path, *words, "--batch_size", 2, code=130)
    monkeypatch.setattr(TrainedRun, "predict", plain)


def test_a_folder_is_predicted_with_the_most_probable_classes(run, holiday, tmp_path, capsys):
    rows = predicted(run, tmp_path, "--images", holiday)
    assert [row["path"] for row in rows] == sorted(str(path) for path in holiday.rglob("*.*"))
    for row in rows:
        if row["reason"]:
            assert row["path"].endswith("damaged.jpg")
            assert not row["prediction"]
            continue
        probabilities = run.predict(run.read_photograph(row["path"])[None])[0]
        order = np.argsort(-probabilities)
        assert [row["prediction"], row["class_2"], row["class_3"]] == [CLASSES[label] for label in order]
        shown = [float(row[name]) for name in ("confidence", "confidence_2", "confidence_3")]
        np.testing.assert_allclose(shown, probabilities[order], atol=2e-6)
    out, err = capsys.readouterr()
    assert "7  photographs, 1 unreadable" in out
    assert err.splitlines() == [
        f"left out: {holiday / 'beach' / 'damaged.jpg'}: {rows[[bool(r['reason']) for r in rows].index(True)]['reason']}"
    ]


def test_it_agrees_with_eval_whatever_the_batch_and_the_workers(run, tmp_path):
    assert eval_script.main(Config(run=str(run.folder), num_workers=0, given=frozenset({"run"}))) == 0
    with open(run.folder / "eval" / "predictions.csv", newline="") as file:
        expected = {row["path"]: (row["prediction"], float(row["confidence"])) for row in csv.DictReader(file)}
    data = run.folder.parents[2] / "data"
    for words in (("--batch_size", 1), ("--batch_size", 5), ("--batch_size", 4, "--num_workers", 2)):
        rows = predicted(run, tmp_path, "--images", *(data / name for name in expected), *words)
        assert len(rows) == len(expected)
        for row, (name, confidence) in zip(rows, expected.values()):
            assert row["prediction"] == name
            assert abs(float(row["confidence"]) - confidence) < 2e-6


def test_paddle_inference_agrees_with_eval_to_a_hundred_thousandth(run, tmp_path, monkeypatch, capfd):
    assert eval_script.main(Config(run=str(run.folder), num_workers=0, given=frozenset({"run"}))) == 0
    monkeypatch.setenv(cache_folder.VARIABLE, str(tmp_path / "cache"))
    with open(run.folder / "eval" / "predictions.csv", newline="") as file:
        expected = {row["path"]: (row["prediction"], float(row["confidence"])) for row in csv.DictReader(file)}
    data = run.folder.parents[2] / "data"
    capfd.readouterr()
    for words in (("--batch_size", 1), ("--batch_size", 4, "--num_workers", 2)):
        rows = predicted(run, tmp_path, "--engine", "inference", "--images", *(data / name for name in expected), *words)
        for row, (name, confidence) in zip(rows, expected.values()):
            assert row["prediction"] == name
            assert abs(float(row["confidence"]) - confidence) < 1.1e-5
    assert list((tmp_path / "cache" / "programs").glob("*/*.pdiparams"))
    out, err = printed(capfd)
    assert not err
    assert "OneDNN" not in out


def test_turned_cmyk_and_other_forms_of_a_photograph_are_seen_as_in_evaluation(run, tmp_path):
    folder = tmp_path / "forms"
    folder.mkdir()
    plain = random_photograph(7)
    plain.save(folder / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    plain.convert("RGBA").save(folder / "transparent.png")
    plain.convert("CMYK").save(folder / "cmyk.tif")
    rows = predicted(run, tmp_path, "--images", folder)
    assert len(rows) == 4
    answers = {os.path.basename(row["path"]): float(row["confidence"]) for row in rows}
    for name, confidence in answers.items():
        assert abs(confidence - run.predict(run.read_photograph(folder / name)[None]).max()) < 2e-6
    assert abs(answers["transparent.png"] - answers["plain.png"]) < 2e-6
    assert abs(answers["turned.png"] - answers["plain.png"]) < 1e-3  # resized before it is turned, with other roundings


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_says_the_same(run, holiday, tmp_path, form):
    rows = predicted(run, tmp_path, "--images", holiday, "--top", 2)
    output = tmp_path / f"predictions.{form}"
    words = ["--run", run.folder, "--images", holiday, "--top", 2, "--format", form, "--output", output, "--num_workers", 0]
    assert predict.main(parse_config([*map(str, words)], "predict")) == 0
    text = output.read_text(encoding="utf-8")
    records = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
    assert len(records) == 7
    assert [record["path"] for record in records] == [row["path"] for row in rows]
    for record, row in zip(records, rows):
        assert record.get("reason", "") == row["reason"]
        if not row["reason"]:
            assert record["prediction"] == record["classes"][0]["name"] == row["prediction"]
            assert f"{record['classes'][1]['confidence']:.6f}" == row["confidence_2"]
            assert len(record["classes"]) == 2


def test_paths_come_from_a_pipe(run, holiday, tmp_path, monkeypatch):
    give_on_stdin(monkeypatch, f"{holiday / '0.png'}\n\n{holiday / 'nowhere.png'}\r\n".encode())
    rows = predicted(run, tmp_path, "--images", "-")
    assert [row["path"] for row in rows] == [str(holiday / "0.png"), str(holiday / "nowhere.png")]
    assert rows[1]["reason"] == "there is no such file"


def test_strict_makes_an_unreadable_photograph_an_exit_code(run, holiday, tmp_path):
    assert len(predicted(run, tmp_path, "--images", holiday, "--strict", code=3)) == 7
    assert len(predicted(run, tmp_path, "--images", holiday / "0.png", "--strict")) == 1


def test_unsure_ones_are_marked_and_sorted_apart(run, holiday, tmp_path):
    rows = predicted(run, tmp_path, "--images", holiday, "--top", 1)
    confidences = sorted(float(row["confidence"]) for row in rows if not row["reason"])
    limit = (confidences[2] + confidences[3]) / 2
    words = ("--unsure_below", limit, "--sort_into", tmp_path / "sorted")
    rows = predicted(run, tmp_path, "--images", holiday, *words)
    for row in rows:
        assert row["unsure"] == ("" if row["reason"] else "yes" if float(row["confidence"]) < limit else "no")
    for row in rows:
        if row["reason"]:
            continue
        link = tmp_path / "sorted" / ("unsure" if row["unsure"] == "yes" else row["prediction"]) / os.path.basename(row["path"])
        assert link.is_symlink()
        assert os.path.samefile(link, row["path"])
    assert len([path for path in (tmp_path / "sorted").rglob("*") if path.is_symlink()]) == 6


def no_reason(path, reason):
    raise AssertionError(f"{path} was left out: {reason}")


def test_sorting_copies_overwrites_nothing_and_does_nothing_twice(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        random_photograph(len(folder) + (folder == "two")).save(tmp_path / folder / "a.png")
    records = [Prediction(str(tmp_path / folder / "a.png"), [("cat", 0.9)]) for folder in ("one", "two")]
    for _ in range(2):
        sort_photographs(records, tmp_path / "sorted", ["cat"], copy=True, left_out=no_reason)
    found = {path.name: path.read_bytes() for path in (tmp_path / "sorted" / "cat").iterdir()}
    assert found == {
        name: (tmp_path / folder / "a.png").read_bytes() for folder, name in (("one", "a.png"), ("two", "a_2.png"))
    }
    assert not any(path.is_symlink() for path in (tmp_path / "sorted").rglob("*"))


def test_class_names_of_a_stranger_stay_in_the_folder(tmp_path):
    random_photograph(1).save(tmp_path / "a.png")
    classes = ["../out", "..", "a/b", "/etc", "unsure", "CON\n", "a\\b"]
    records = [Prediction(str(tmp_path / "a.png"), [(name, 0.9)]) for name in classes]
    records.append(Prediction(str(tmp_path / "a.png"), [("unsure", 0.1)], unsure=True))
    sort_photographs(records, tmp_path / "sorted", classes, copy=False, left_out=no_reason)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "sorted"}
    folders = [path for path in (tmp_path / "sorted").iterdir()]
    assert len(folders) == len(classes) + 1
    assert all(path.is_dir() and len(list(path.iterdir())) == 1 for path in folders)


def test_an_interrupted_prediction_goes_on(run, holiday, tmp_path, monkeypatch, capsys):
    expected = predicted(run, tmp_path, "--images", holiday)
    (tmp_path / "predictions.csv").unlink()
    words = ("--images", holiday, "--batch_size", 2)
    read = []
    plain = TrainedRun.predict

    def interrupted(self, images, batch_size=32):
        read.append(len(images))
        if len(read) == 3:
            raise KeyboardInterrupt
        return plain(self, images, batch_size)

    monkeypatch.setattr(TrainedRun, "predict", interrupted)
    with pytest.raises(FileNotFoundError):
        predicted(run, tmp_path, *words, code=130)
    assert "--continue goes on" in capsys.readouterr().err
    unfinished = tmp_path / "predictions.csv.unfinished"
    with open(unfinished, "ab") as file:
        file.write(b'{"path": "a part of a li')
    with pytest.raises(FileNotFoundError):
        predicted(run, tmp_path, *words, code=2)
    assert "holds unfinished predictions: --continue goes on" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        predicted(run, tmp_path, *words, "--continue", "--top", 1, code=2)
    assert "was made with another network or other settings" in capsys.readouterr().err
    assert predicted(run, tmp_path, *words, "--continue") == expected
    assert sum(read) - 2 <= 7, "photographs were predicted again"
    assert not unfinished.exists()


def test_the_mirror_image_counts_half(run, holiday, tmp_path):
    rows = predicted(run, tmp_path, "--images", holiday / "0.png", "--test_time_flip")
    pixels = run.read_photograph(holiday / "0.png")
    both = run.predict(np.stack([pixels, pixels[:, :, ::-1]])).mean(axis=0)
    assert float(rows[0]["confidence"]) == pytest.approx(both.max(), abs=2e-6)


def test_the_page_shows_the_least_confident_first_and_escapes_names(run, holiday, tmp_path):
    os.rename(holiday / "0.png", holiday / "<script>alert(1)<.png")
    rows = predicted(run, tmp_path, "--images", holiday, "--page")
    page = (tmp_path / "predictions.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    shown = [float(value) / 100 for value in re.findall(r"<b>\w+ ([0-9.]+)%</b>", page)]
    assert shown == sorted(shown)
    assert len(shown) == page.count("data:image/jpeg") == 6
    assert all(os.path.basename(row["path"]) in page for row in rows if "script" not in row["path"])


def test_nothing_to_predict_is_said(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for words, text in (((), "images: name photographs"), (("--images", tmp_path / "empty"), "no photographs in")):
        assert predict.main(parse_config([*map(str, ("--run", run.folder, *words))], "predict")) == 2
        assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


def test_the_table_is_short_and_the_counts_are_all(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(work, "MAX_ROWS", 3)
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(5):
        random_photograph(number).save(folder / f"{number}.png")
    predicted(run, tmp_path, "--images", folder)
    out = capsys.readouterr().out
    assert str(folder / "0.png") not in out
    assert "       5  photographs\n" in out


def test_an_unreadable_folder_ends_nothing(run, holiday, tmp_path, monkeypatch, capsys):
    for name in ("a", "z"):
        shutil.copytree(holiday / "beach", holiday / name)
    scandir = os.scandir

    def refusing(path):
        if os.path.basename(path) == "beach":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(folder_walk.os, "scandir", refusing)
    (holiday / "a" / "damaged.jpg").unlink()
    (holiday / "z" / "damaged.jpg").unlink()
    rows = predicted(run, tmp_path, "--images", holiday)
    found = {os.path.relpath(row["path"], holiday) for row in rows}
    assert found == {"0.png", "2.png", "4.png", *(f"{name}/{number}.png" for name in "az" for number in (1, 3, 5))}
    out, err = capsys.readouterr()
    assert err == f"left out: {holiday / 'beach'} cannot be read: Permission denied\n"
    assert "9  photographs, 1 folder unreadable\n" in out
    assert len(predicted(run, tmp_path, "--images", holiday, "--strict", code=3)) == 9


OTHER_PREDICT = """
import sys
from pathlib import Path
from prediction.predictions import Journal
with Journal(Path(sys.argv[1]), {"unsure_below": None}).begun(False, ["a.png"]):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("words", [(), ("--continue",)])
def test_two_processes_never_write_the_same_predictions(run, tmp_path, capsys, words):
    fill(tmp_path / "holiday", ["a.png"])
    output = tmp_path / "predictions.csv"
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_PREDICT, str(output)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "ready\n"
        arguments = [
            "--run",
            run.folder,
            "--output",
            output,
            "--num_workers",
            0,
            "--device",
            "cpu",
            "--images",
            tmp_path / "holiday",
        ]
        assert predict.main(parse_config(list(map(str, arguments)), "predict")) == 2
        assert f"another predict.py is writing {output}.unfinished: wait until it ends" in capsys.readouterr().err
        other.communicate("\n", timeout=60)
    finally:
        other.kill()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["predictions.csv.unfinished"]


def test_other_photographs_do_not_join_an_interrupted_prediction(run, holiday, tmp_path, monkeypatch, capsys):
    interrupt(run, tmp_path, monkeypatch, "--images", holiday)
    unfinished = tmp_path / "predictions.csv.unfinished"
    content = unfinished.read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    random_photograph(1).save(other / "x.png")
    for gone in (False, True):  # none of the old photographs are there: still another job
        with pytest.raises(FileNotFoundError):
            predicted(run, tmp_path, "--images", other, "--continue", code=2)
        error = capsys.readouterr().err
        assert (
            f"{unfinished} has predictions of other photographs, such as {holiday / '0.png'}: give the same --images" in error
        )
        assert unfinished.read_bytes() == content
        if not gone:
            holiday.rename(tmp_path / "moved")
    (tmp_path / "moved").rename(holiday)
    random_photograph(9).save(holiday / "new.png")  # a folder that has grown is the same job
    (holiday / "0.png").unlink()  # and one that has shrunk: what was predicted stays
    rows = predicted(run, tmp_path, "--images", holiday, "--continue", "--batch_size", 2)
    assert len(rows) == len({row["path"] for row in rows}) == 8
    assert {str(holiday / "0.png"), str(holiday / "new.png")} < {row["path"] for row in rows}
    out = capsys.readouterr().out
    assert "going on after 2 of 8 photographs" in out
    assert "8  photographs, 1 unreadable" in out
    assert not unfinished.exists()


@pytest.mark.parametrize("how", ["link", "copy"])
def test_a_photograph_that_has_gone_is_left_out_of_the_sorting(run, holiday, tmp_path, monkeypatch, capsys, how):
    words = ("--images", holiday, "--sort_into", tmp_path / "sorted", "--sort_with", how)
    interrupt(run, tmp_path, monkeypatch, *words)
    (holiday / "0.png").unlink()
    assert len(predicted(run, tmp_path, *words, "--continue", "--strict", code=3)) == 7
    out, err = capsys.readouterr()
    assert f"left out of {tmp_path / 'sorted'}: {holiday / '0.png'}: " in err
    assert re.search(r"5 photographs in \d folders? of .*, 1 left out\n", out)
    assert sorted(path.name for path in (tmp_path / "sorted").rglob("*.*")) == [f"{number}.png" for number in range(1, 6)]


def test_a_full_disk_and_an_interruption_while_sorting_cost_no_predictions(run, holiday, tmp_path, monkeypatch, capsys):
    resource = pytest.importorskip("resource")
    for path in holiday.rglob("*.png"):
        Image.effect_noise((200, 200), 64).save(path)
    words = ("--images", holiday, "--sort_into", tmp_path / "sorted", "--sort_with", "copy", "--page")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # a write fails as on a full disk, in the middle of a copy
    try:
        rows = predicted(run, tmp_path, *words, code=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"; the predictions are in {tmp_path / 'predictions.csv'}, and --continue does" in capsys.readouterr().err
    assert len(rows) == 7
    assert not [path for path in (tmp_path / "sorted").rglob("*") if path.is_file()], "a part of a photograph is left"

    parts = sorting._parts

    def interrupted(file):
        yield next(parts(file))[:1000]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sorting, "_parts", interrupted)
        assert predicted(run, tmp_path, *words, "--continue", code=130) == rows
    assert "--continue goes on" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "sorted").rglob("*") if path.is_file()], "a part of a photograph is left"

    assert predicted(run, tmp_path, *words, "--continue") == rows
    copies = {path.name: path.read_bytes() for path in (tmp_path / "sorted").rglob("*.*")}
    assert copies == {path.name: path.read_bytes() for path in holiday.rglob("*.png")}
    assert (tmp_path / "predictions.html").exists()
    assert not (tmp_path / "predictions.csv.unfinished").exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_never_replaces_a_file_that_appears_meanwhile(tmp_path, monkeypatch, links):
    random_photograph(1).save(tmp_path / "a.png")
    place = tmp_path / "sorted" / "cat"
    place.mkdir(parents=True)
    link, parts = os.link, sorting._parts

    def appearing(file):
        (place / "a.png").write_bytes(b"of another process")
        yield from parts(file)

    monkeypatch.setattr(sorting, "_parts", appearing)
    if not links:

        def refusing(*paths):
            raise OSError(95, "Operation not supported")

        link = refusing
    monkeypatch.setattr(os, "link", link)
    records = [Prediction(str(tmp_path / "a.png"), [("cat", 0.9)])]
    assert sort_photographs(records, tmp_path / "sorted", ["cat"], copy=True, left_out=no_reason) == {"cat": 1}
    found = {path.name: path.read_bytes() for path in place.iterdir()}
    assert found == {"a.png": b"of another process", "a_2.png": (tmp_path / "a.png").read_bytes()}


def test_a_name_that_the_folder_cannot_hold_is_left_out(tmp_path, monkeypatch):
    random_photograph(1).save(tmp_path / "12:30.png")
    random_photograph(2).save(tmp_path / "b.png")
    link = os.link

    def as_on_fat(source, target):
        if ":" in os.path.basename(target):
            raise OSError(22, "Invalid argument")
        link(source, target)

    monkeypatch.setattr(os, "link", as_on_fat)
    monkeypatch.setattr(os, "replace", lambda source, target: as_on_fat(source, target))
    records = [Prediction(str(tmp_path / name), [("cat", 0.9)]) for name in ("12:30.png", "b.png")]
    reasons = []
    sort_photographs(records, tmp_path / "sorted", ["cat"], True, lambda path, reason: reasons.append((path, reason)))
    place = tmp_path / "sorted" / "cat"
    assert reasons == [(str(tmp_path / "12:30.png"), f"{place} cannot hold a file of this name")]
    assert [path.name for path in place.iterdir()] == ["b.png"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--output", "."], "output = . is a folder: name a file"),
        (["--output", "/"], "output = / is a folder: name a file"),
        (["--output", "there"], "output = there is a folder: name a file, as in --output there/predictions.csv"),
        (["--output", "new/"], "output = new/ is a folder: name a file"),
        (["--output", os.devnull], f"output = {os.devnull} is no regular file"),
        (["--output", "nowhere/p.csv"], "there is no folder nowhere"),
        (["--output", "x.html", "--page"], "output = x.html: predictions are no web page"),
        (["--output", "page.csv", "--page"], "page: page.html is a folder"),
        (["--output", "p.json", "--format", "csv"], "leave out --format, or name p.csv"),
        (["--sort_into", "file"], "is no folder: choose another place"),
        (["--sort_into", "file/below"], "is no folder: choose another place"),
        (["--sort_into", "holiday"], "sort_into = holiday is inside holiday, whose photographs are predicted"),
        (["--sort_into", "holiday/beach/sorted"], "sort_into = holiday/beach/sorted is inside holiday"),
        (["--sort_into", "link/sorted"], "sort_into = link/sorted is inside holiday"),
    ],
)
def test_places_that_cannot_be_used_are_refused_before_the_first_photograph(
    run, holiday, tmp_path, monkeypatch, capsys, words, text
):
    monkeypatch.chdir(tmp_path)
    for name in ("there", "page.html"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(holiday)
    monkeypatch.setattr(TrainedRun, "predict", lambda *arguments: pytest.fail("a photograph was predicted"))
    before = sorted(tmp_path.rglob("*"))
    arguments = ["--run", str(run.folder), "--images", "holiday", "--num_workers", "0", "--device", "cpu", *words]
    assert predict.main(parse_config(arguments, "predict")) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_suffix_of_the_output_says_its_format(run, holiday, tmp_path):
    for name, words, first in (
        ("p.json", [], "["),
        ("p.JSONL", [], "{"),
        ("p.csv", [], "path,"),
        ("p.txt", [], "path,"),
        ("q.txt", ["--format", "json"], "["),
        ("q.json", ["--format", "json"], "["),
    ):
        arguments = [
            "--run",
            run.folder,
            "--images",
            holiday / "0.png",
            "--output",
            tmp_path / name,
            "--num_workers",
            0,
            *words,
        ]
        assert predict.main(parse_config([*map(str, arguments)], "predict")) == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(first)


def test_names_that_are_not_utf8_come_through_a_pipe(run, holiday, tmp_path, monkeypatch):
    name = os.fsencode(holiday) + b"/a\xff.png"
    try:
        shutil.copy(holiday / "0.png", name)
    except OSError:
        pytest.skip("this file system holds only UTF-8")
    give_on_stdin(monkeypatch, name + b"\n" + os.fsencode(holiday / "0.png") + b"\n")
    rows = predicted(run, tmp_path, "--images", "-", "--sort_into", tmp_path / "sorted", "--page")
    assert [row["reason"] for row in rows] == ["", ""]
    assert rows[0]["path"].endswith("a\\udcff.png")
    assert rows[0]["confidence"] == rows[1]["confidence"]
    assert len([path for path in (tmp_path / "sorted").rglob("*") if path.is_file()]) == 2


def test_a_name_that_is_too_long_is_a_reason(run, holiday, tmp_path):
    rows = predicted(run, tmp_path, "--images", "a" * 300 + ".jpg", holiday / "0.png")
    assert [row["reason"] for row in rows] == ["cannot be read: File name too long", ""]


def test_small_photographs_are_decoded_small_and_keep_their_shape(tmp_path, monkeypatch, capsys):
    sizes, load = [], JpegImagePlugin.JpegImageFile.load
    for name, size in (("wide.jpg", (2400, 1200)), ("high.jpg", (800, 1600)), ("small.jpg", (40, 20))):
        random_photograph(1, size).save(tmp_path / name)

    def recorded(self):
        sizes.append(self.size)
        return load(self)

    records = [Prediction(str(tmp_path / name), [("cat", 0.5)]) for name in ("wide.jpg", "high.jpg", "small.jpg")]
    with monkeypatch.context() as patch:
        patch.setattr(JpegImagePlugin.JpegImageFile, "load", recorded)
        patch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        write_contact_sheet(tmp_path / "page.html", records, 3, "three")
    assert max(max(size) for size in sizes) <= 600
    assert "small photographs 3/3" in capsys.readouterr().out
    encoded = re.findall('base64,([^"]+)', (tmp_path / "page.html").read_text(encoding="utf-8"))
    shapes = [Image.open(io.BytesIO(base64.b64decode(text))).size for text in encoded]
    assert shapes == [(160, 80), (80, 160), (40, 20)]


def test_a_missing_run_is_said_with_the_folder_of_runs(tmp_path, capsys):
    place = tmp_path / "my runs"
    assert predict.main(parse_config(["--images", "x.jpg", "--net", "resnet", "--runs_dir", str(place)], "predict")) == 2
    assert f"python train.py --net resnet --runs_dir '{place}' makes one" in capsys.readouterr().err

"""predict.py: the classes of new photographs, in a file, in folders and on a page."""

import csv
import io
import json
import os
import re

import numpy as np
import pytest
from conftest import CLASSES, random_photograph
from PIL import Image

import eval as eval_script
import predict
from config import Config, parse_config
from prediction import predict_photographs as work
from prediction.predictions import Prediction
from prediction.sorting import sort_photographs
from trained.trained_run import TrainedRun


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
    arguments = ["--run", run.folder, "--output", output, "--num_workers", 0, "--threads", 2, *words]
    assert predict.main(parse_config([*map(str, arguments)], "predict")) == code
    with open(output, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
        for row, (name, confidence) in zip(rows, expected.values()):
            assert row["prediction"] == name
            assert abs(float(row["confidence"]) - confidence) < 2e-6


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
    assert [record["path"] for record in records] == [row["path"] for row in rows]
    for record, row in zip(records, rows):
        assert record.get("reason", "") == row["reason"]
        if not row["reason"]:
            assert record["prediction"] == record["classes"][0]["name"] == row["prediction"]
            assert f"{record['classes'][1]['confidence']:.6f}" == row["confidence_2"]
            assert len(record["classes"]) == 2


def test_paths_come_from_a_pipe(run, holiday, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{holiday / '0.png'}\n\n{holiday / 'nowhere.png'}\r\n"))
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


def test_sorting_copies_overwrites_nothing_and_does_nothing_twice(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        random_photograph(len(folder) + (folder == "two")).save(tmp_path / folder / "a.png")
    records = [Prediction(str(tmp_path / folder / "a.png"), [("cat", 0.9)]) for folder in ("one", "two")]
    for _ in range(2):
        sort_photographs(records, tmp_path / "sorted", ["cat"], copy=True)
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
    sort_photographs(records, tmp_path / "sorted", classes, copy=False)
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

from pathlib import Path

import pytest
from PIL import Image

from config import Config
from data.lists import LABELS
from data.photographs import read_photograph
from show_photographs import main


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: a list of (images with labels, file) for each picture."""
    calls = []
    monkeypatch.setattr("plots.class_grid.draw_photographs", lambda images, path: calls.append((images, path)))
    return calls


def refusal(capsys, **settings):
    assert main(Config(**settings)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("show_photographs.py: error: ")
    return err


def test_a_picture_of_one_photograph_of_each_class_is_drawn(listed_folder, tmp_path, capsys):
    picture = tmp_path / "grid.png"
    assert main(Config(data=str(listed_folder), picture=str(picture))) == 0
    assert capsys.readouterr().out == f"one photograph of each of 3 of 3 classes: {picture}\n"
    with Image.open(picture) as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 200


def test_photographs_are_drawn_with_their_own_labels(listed_folder, drawn):
    assert main(Config(data=str(listed_folder))) == 0
    [(images, path)] = drawn
    assert path == Path("photographs.png")
    assert [label for _, label in images] == ["label: cat", "label: dog", "label: sheep"]
    for (image, _), name in zip(images, ("cat", "dog", "sheep")):
        pixels = [read_photograph(path).tobytes() for path in (listed_folder / name).iterdir()]
        assert image.tobytes() in pixels


def test_the_seed_decides_which_photographs(listed_folder, drawn):
    for seed in (0, 0, 1, 2, 3):
        assert main(Config(data=str(listed_folder), seed=seed)) == 0
    choices = [b"".join(image.tobytes() for image, _ in images) for images, _ in drawn]
    assert choices[0] == choices[1]
    assert len(set(choices)) > 1


def test_a_class_without_photographs_is_passed_over(listed_folder, drawn, capsys):
    (listed_folder / LABELS).write_text("cat\ndog\nsheep\nunicorn\n")
    assert main(Config(data=str(listed_folder))) == 0
    assert len(drawn[0][0]) == 3
    assert "each of 3 of 4 classes" in capsys.readouterr().out


def test_missing_lists_are_refused_with_the_command_that_writes_them(photo_folder, capsys):
    assert f"python train_val_split.py --data {photo_folder}" in refusal(capsys, data=str(photo_folder))


def test_a_damaged_photograph_is_named(listed_folder, capsys):
    for path in (listed_folder / "dog").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    assert f"error: {listed_folder / 'dog'}" in refusal(capsys, data=str(listed_folder))


def test_a_missing_folder_for_the_picture_is_refused(listed_folder, tmp_path, capsys):
    line = refusal(capsys, data=str(listed_folder), picture=str(tmp_path / "missing" / "grid.png"))
    assert f"there is no such folder: {tmp_path / 'missing'}" in line


def test_an_interruption_ends_without_a_traceback(listed_folder, capsys, monkeypatch):
    def interrupt(images, path):
        raise KeyboardInterrupt

    monkeypatch.setattr("plots.class_grid.draw_photographs", interrupt)
    assert main(Config(data=str(listed_folder))) == 130
    assert capsys.readouterr().err.count("\n") <= 1

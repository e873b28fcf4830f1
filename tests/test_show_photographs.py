from pathlib import Path

import numpy as np
import pytest
from cifar10_archive import contents, write_archive
from PIL import Image

from animal_dataset import AnimalDataset
from config import Config, parse_config
from data.lists import LABELS, TRAIN_LIST
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


@pytest.fixture
def views_drawn(monkeypatch):
    """What --augmented drew: a list of rows of (pixels [H, W, 3], label) for each picture."""
    pictures = []

    def keep(images, path, columns):
        cells = [(np.asarray(image), label) for image, label in images]
        pictures.append([cells[start : start + columns] for start in range(0, len(cells), columns)])

    monkeypatch.setattr("explanation.training_views.draw_photographs", keep)
    return pictures


def augmented(folder, *words):
    arguments = ["--augmented", "--data", folder, "--image_size", 24, *words]
    assert main(parse_config([*map(str, arguments)], "show_photographs")) == 0


ALL = ("--augment", "trivialaugment", "--color_jitter", 0.3, "--erasing", 0.7, "--rotation", 15, "--crop_min_area", 0.2)


@pytest.mark.parametrize("words", [(), ALL, ("--train_crop", "letterbox", "--no_flip"), ("--train_size", 16)])
def test_augmented_draws_what_the_first_epochs_of_a_training_see(listed_folder, views_drawn, words, capsys):
    augmented(listed_folder, "--seed", 4, *words)
    list_file = listed_folder / TRAIN_LIST
    assert capsys.readouterr().out == (
        f"6 photographs of {list_file} as a training sees them in its first 6 epochs: photographs.png\n"
    )
    asked = parse_config([*map(str, words)], "show_photographs").resolved_for(12)
    view = {**asked.part("view"), "image_size": asked.train_size or 24}
    training = AnimalDataset(list_file, train=True, seed=4, **view)
    [rows] = views_drawn
    assert sorted(row[0][1] for row in rows) == ["cat", "cat", "dog", "dog", "sheep", "sheep"]
    wholes = [read_photograph(listed_folder / sample.name).tobytes() for sample in training.samples]
    for row in rows:
        index = wholes.index(row[0][0].tobytes())
        for epoch, (shown, label) in enumerate(row[1:]):
            training.set_epoch(epoch)
            np.testing.assert_array_equal(shown, training[index][0].transpose(1, 2, 0))
            assert label == f"epoch {epoch + 1}"
    assert {len(row) for row in rows} == {7}


def test_augmented_says_the_shares_of_mixed_photographs(listed_folder, views_drawn):
    augmented(listed_folder, "--mixup", 1, "--cutmix", 1, "--train_crop", "resize", "--no_flip")
    [rows] = views_drawn
    for column in range(1, 7):
        heavier = set()
        for row in rows:
            shares = [(name, int(share.rstrip("%"))) for name, share in map(str.split, row[column][1].split(", "))]
            assert sum(share for _, share in shares) in (100, 101)
            assert shares == sorted(shares, key=lambda pair: -pair[1])
            assert row[0][1] in [name for name, share in shares] or shares[0][1] > 98
            heavier.add(shares[0][1])
        assert len(heavier - {100}) <= 1  # a batch has one share


def test_augmented_follows_the_seed(listed_folder, views_drawn):
    for seed in (1, 1, 2):
        augmented(listed_folder, "--seed", seed, "--mixup", 0.5)
    flat = [b"".join(pixels.tobytes() for row in rows for pixels, _ in row) for rows in views_drawn]
    assert flat[0] == flat[1] != flat[2]


def test_augmented_names_a_damaged_photograph(listed_folder, capsys):
    for path in (listed_folder / "dog").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    assert f"{listed_folder / 'dog'}" in refusal(capsys, data=str(listed_folder), augmented=True)


def test_augmented_shows_cifar10_too(tmp_path, views_drawn):
    archive = tmp_path / "cifar-10-python.tar.gz"
    write_archive(archive, contents())
    augmented(archive, "--dataset", "cifar10")
    assert views_drawn[0][0][1][0].shape == (24, 24, 3)


def test_augmented_writes_one_file(listed_folder, tmp_path, quick_pictures):
    (tmp_path / "out").mkdir()
    augmented(listed_folder, "--picture", tmp_path / "out" / "views.png")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["views.png"]

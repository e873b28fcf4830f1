from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from drawing import drawn_dataset
from drawing.animals import CLASSES
from drawing.drawn_dataset import draw_dataset
from sample_animals import main

PER_CLASS = 8


def read_files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("animals") / "dataset"
    assert draw_dataset(folder, PER_CLASS, seed=1) == PER_CLASS * len(CLASSES)
    return folder


def test_every_class_has_a_folder_of_readable_rgb_jpegs(dataset):
    assert list(CLASSES) == sorted(CLASSES)
    assert len(CLASSES) == 10
    expected = {f"{name}/{name}_{number:04d}.jpg" for name in CLASSES for number in range(1, PER_CLASS + 1)}
    assert set(read_files(dataset)) == expected
    for path in expected:
        with Image.open(dataset / path) as image:
            image.load()
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert 160 <= min(image.size) <= max(image.size) <= 224


def test_a_seed_gives_the_same_bytes_and_more_images_keep_the_earlier_ones(dataset, tmp_path):
    draw_dataset(tmp_path / "fewer", 2, seed=1)
    fewer, all_files = read_files(tmp_path / "fewer"), read_files(dataset)
    assert len(fewer) == 20
    assert fewer == {path: all_files[path] for path in fewer}


def test_all_images_differ_and_so_do_those_of_another_seed(dataset, tmp_path):
    draw_dataset(tmp_path / "other", 1, seed=2)
    images = [*read_files(dataset).values(), *read_files(tmp_path / "other").values()]
    assert len(set(images)) == len(images)


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path, capsys):
    folder = tmp_path / "photographs"
    (folder / "dog").mkdir(parents=True)
    (folder / "dog" / "mine.jpg").write_bytes(b"a photograph")
    with pytest.raises(ValueError, match=r"photographs already holds something; give --data a new or an empty folder"):
        draw_dataset(folder, 1, seed=0)
    assert main(SimpleNamespace(data=str(folder), per_class=1, seed=0)) == 2
    assert capsys.readouterr().err.startswith("sample_animals.py: error: ")
    assert read_files(tmp_path) == {"photographs/dog/mine.jpg": b"a photograph"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "dataset").write_text("notes")
    with pytest.raises(ValueError, match="dataset already holds something"):
        draw_dataset(tmp_path / "dataset", 1, seed=0)
    assert (tmp_path / "dataset").read_text() == "notes"


def test_no_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="per_class = 0"):
        draw_dataset(tmp_path / "dataset", 0, seed=0)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_no_data_set_and_the_next_one_succeeds(tmp_path, monkeypatch, capsys):
    def interrupt(name, rng):
        if name == "cow":
            raise KeyboardInterrupt
        return Image.new("RGB", (8, 8))

    folder = tmp_path / "dataset"
    with monkeypatch.context() as patched:
        patched.setattr(drawn_dataset, "draw_animal", interrupt)
        with pytest.raises(KeyboardInterrupt):
            draw_dataset(folder, 2, seed=0)
        assert main(SimpleNamespace(data=str(folder), per_class=1, seed=0)) == 130
        assert capsys.readouterr().err.count("\n") <= 1
    assert not folder.exists()

    assert draw_dataset(folder, 1, seed=0) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
    assert len(read_files(folder)) == 10


def test_a_folder_of_the_user_named_partial_is_not_deleted(tmp_path, capsys):
    (tmp_path / "dataset.partial").mkdir()
    (tmp_path / "dataset.partial" / "mine.jpg").write_bytes(b"a photograph")
    assert main(SimpleNamespace(data=str(tmp_path / "dataset"), per_class=1, seed=0)) == 2
    assert "dataset.partial" in capsys.readouterr().err
    assert read_files(tmp_path) == {"dataset.partial/mine.jpg": b"a photograph"}


def test_main_fills_an_empty_folder_and_names_the_next_command(tmp_path, capsys):
    folder = tmp_path / "my data"
    folder.mkdir()
    assert main(SimpleNamespace(data=str(folder), per_class=1, seed=0)) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Drew 10 images of 10 classes in {folder}")
    assert out.endswith(f"python train_val_split.py --data '{folder}'\n")
    assert len(read_files(folder)) == 10


def test_colour_alone_does_not_tell_the_classes_apart(dataset):
    paths = sorted(dataset.rglob("*.jpg"))
    labels = np.array([path.parent.name for path in paths])
    bins = [np.asarray(Image.open(path)).reshape(-1, 3) // 64 @ [16, 4, 1] for path in paths]
    histograms = np.array([np.bincount(each, minlength=64) / len(each) for each in bins])
    distances = np.abs(histograms[:, None] - histograms).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).mean() < 0.4  # one in ten by chance

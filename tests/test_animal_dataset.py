from pathlib import Path

import numpy as np
import pytest
from conftest import random_photograph, resize_then_crop
from PIL import Image

from animal_dataset import AnimalDataset
from data import photograph_dataset, photographs
from data.boxes import random_box
from data.lists import TRAIN_LIST, VAL_LIST, DataError, write_lists
from data.photographs import read_crop


@pytest.fixture
def one_photograph(tmp_path):
    """A list of eight lines that all name the same square photograph."""
    random_photograph(1, (64, 64)).save(tmp_path / "photo.png")
    write_lists(tmp_path, ["cat", "dog"], [("photo.png", 0)] * 8, [])
    return tmp_path / TRAIN_LIST


def read_all(dataset):
    return [dataset[index][0].tobytes() for index in range(len(dataset))]


@pytest.mark.parametrize("train", [False, True])
def test_an_item_is_a_uint8_image_channels_first_and_its_label(listed_folder, train):
    dataset = AnimalDataset(listed_folder / VAL_LIST, 32, train)
    assert len(dataset) == 6
    assert dataset.classes == ["cat", "dog", "sheep"]
    for index, expected in enumerate([0, 0, 1, 1, 2, 2]):
        image, label = dataset[index]
        assert (image.shape, image.dtype, image.flags.c_contiguous) == ((3, 32, 32), np.uint8, True)
        assert (label, label.dtype) == (expected, np.int64)


def test_channels_are_red_green_blue_and_rows_run_down(tmp_path):
    image = Image.new("RGB", (40, 40), (255, 128, 0))
    image.paste((0, 0, 0), (0, 20, 40, 40))
    image.save(tmp_path / "photo.png")
    write_lists(tmp_path, ["cat", "dog"], [("photo.png", 1)], [])
    pixels, _ = AnimalDataset(tmp_path / TRAIN_LIST, 16, train=False)[0]
    assert pixels[:, 0, 15].tolist() == [255, 128, 0]
    assert pixels[:, 15, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [(300, 450), (450, 300), (1803, 1202)])
def test_evaluation_shows_the_resized_photograph_s_central_crop(tmp_path, size):
    photo = random_photograph(1, size)
    photo.save(tmp_path / "photo.jpg", quality=95)
    write_lists(tmp_path, ["cat", "dog"], [], [("photo.jpg", 1)])
    pixels, _ = AnimalDataset(tmp_path / VAL_LIST, 56, train=False)[0]
    expected = np.asarray(resize_then_crop(photo, 56)).transpose(2, 0, 1)
    assert np.abs(pixels.astype(int) - expected).mean() < 1.5


def test_evaluation_is_the_same_whatever_seed_and_epoch(listed_folder):
    datasets = [AnimalDataset(listed_folder / VAL_LIST, 32, train=False, seed=seed) for seed in (0, 1)]
    datasets[1].set_epoch(3)
    assert read_all(datasets[0]) == read_all(datasets[1])


def test_no_two_epochs_photographs_or_seeds_augment_alike(one_photograph):
    seen = []
    for seed in (0, 1):
        dataset = AnimalDataset(one_photograph, 16, train=True, seed=seed)
        for epoch in range(4):
            dataset.set_epoch(epoch)
            seen += read_all(dataset)
    assert len(set(seen)) == len(seen) == 64


def test_the_seed_decides_and_not_the_order_of_reading(listed_folder):
    expected = AnimalDataset(listed_folder / TRAIN_LIST, 16, train=True, seed=5)
    expected.set_epoch(2)
    expected = read_all(expected)
    np.random.seed(1)
    again = AnimalDataset(listed_folder / TRAIN_LIST, 16, train=True, seed=5)
    again.set_epoch(2)
    assert [again[index][0].tobytes() for index in reversed(range(12))][::-1] == expected


def test_training_mirrors_every_other_photograph_and_crops_as_little_as_asked(one_photograph):
    dataset = AnimalDataset(one_photograph, 64, train=True, crop_min_area=1.0)
    upright = np.asarray(Image.open(one_photograph.parent / "photo.png")).transpose(2, 0, 1)
    mirrored = 0
    for epoch in range(25):
        dataset.set_epoch(epoch)
        for index in range(len(dataset)):
            image = dataset[index][0]
            is_mirrored = (image == upright[:, :, ::-1]).all()
            assert is_mirrored or (image == upright).all()
            mirrored += is_mirrored
    assert 70 < mirrored < 130  # of 200


def test_a_plain_resize_shows_the_whole_photograph_in_training_and_evaluation(listed_folder):
    whole = Image.open(listed_folder / "cat" / "cat_0.jpg").resize((32, 32), Image.Resampling.BILINEAR)
    for train in (True, False):
        dataset = AnimalDataset(listed_folder / TRAIN_LIST, 32, train, train_crop="resize", eval_crop="resize", flip=False)
        dataset.set_epoch(3)
        np.testing.assert_array_equal(dataset[0][0], np.asarray(whole).transpose(2, 0, 1))


def test_crops_and_mirrors_are_drawn_as_ever_whether_photographs_turn_or_not(listed_folder, monkeypatch):
    turned = []
    monkeypatch.setattr(photograph_dataset, "rotate", lambda image, degrees: turned.append(degrees) or image)
    datasets = [AnimalDataset(listed_folder / TRAIN_LIST, 16, train=True, seed=5, **view) for view in ({}, {"rotation": 10.0})]
    for epoch in range(10):
        for index, sample in enumerate(datasets[0].samples):
            rng = np.random.default_rng((5, epoch, index))
            box, mirrored = random_box(rng, 0.08), bool(rng.random() < 0.5)
            expected = np.asarray(read_crop(listed_folder / sample.name, box, 16, mirrored)).transpose(2, 0, 1)
            for dataset in datasets:
                dataset.set_epoch(epoch)
                image, its_label = dataset[index]
                np.testing.assert_array_equal(image, expected)
                assert its_label == sample.label
    assert len(set(turned)) == len(turned) == 120
    assert -10 <= min(turned) < -8
    assert 8 < max(turned) <= 10


def test_without_mirroring_the_crops_stay_the_same(listed_folder):
    mirroring, not_mirroring = (AnimalDataset(listed_folder / TRAIN_LIST, 16, train=True, flip=flip) for flip in (True, False))
    mirrored = [not (one[0] == other[0]).all() for one, other in zip(mirroring, not_mirroring)]
    assert 0 < sum(mirrored) < 12
    for index in range(12):
        expected = mirroring[index][0][:, :, ::-1] if mirrored[index] else mirroring[index][0]
        assert np.abs(not_mirroring[index][0].astype(int) - expected).max() <= 1


def test_evaluation_never_turns_or_mirrors(listed_folder):
    plain = AnimalDataset(listed_folder / VAL_LIST, 16, train=False)
    assert read_all(AnimalDataset(listed_folder / VAL_LIST, 16, train=False, rotation=90.0, flip=True)) == read_all(plain)


@pytest.mark.parametrize("train", [False, True])
def test_a_photograph_is_opened_once_for_each_access(listed_folder, monkeypatch, train):
    dataset = AnimalDataset(listed_folder / TRAIN_LIST, 16, train)
    opened = []
    original = photographs.open_regular
    monkeypatch.setattr(photographs, "open_regular", lambda path, most: opened.append(Path(path)) or original(path, most))
    dataset[7]
    assert opened == [listed_folder / "dog" / "dog_3.jpg"]


@pytest.mark.parametrize("train", [False, True])
def test_a_bad_photograph_is_named_with_list_file_and_line(listed_folder, train):
    dataset = AnimalDataset(listed_folder / VAL_LIST, 16, train)
    path = listed_folder / "dog" / "dog_4.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError) as error:
        dataset[2]
    assert str(error.value).startswith(f"{listed_folder / VAL_LIST} line 3: {path}: ")
    path.unlink()
    with pytest.raises(DataError, match=r"val_list.txt line 3: .*dog_4.jpg: there is no such file"):
        dataset[2]
    assert dataset[3][1] == 1


def test_a_bad_list_is_refused_at_once_with_file_and_line(listed_folder):
    list_file = listed_folder / VAL_LIST
    list_file.write_text(list_file.read_text() + "sheep/sheep_0.jpg 3\n")
    with pytest.raises(DataError, match=r"val_list.txt line 7: label 3, but labels.txt names 3 classes"):
        AnimalDataset(list_file, 16, train=False)

"""The cache of decoded photographs: what it shows, when it is made, and that it is whole."""

import collections
import os
import pickle
import shutil

import numpy as np
import pytest
from conftest import random_photograph
from PIL import Image

import animal_dataset
import train
from animal_dataset import AnimalDataset
from config import load_config, parse_config
from data import photograph_cache
from data.boxes import random_box
from data.data_source import DataSource
from data.lists import TRAIN_LIST, VAL_LIST, DataError, write_lists
from data.photograph_cache import by_columns, cut
from data.photographs import read_reduced
from data.splitting import split_folder
from ops import crops
from trained.result import read_result

SIZE = 32


@pytest.fixture
def folder(tmp_path):
    """Large photographs, a small one, one that lies on its side, and one that is no JPEG; each in both lists."""
    root = tmp_path / "photographs"
    root.mkdir()
    for number, size in enumerate([(300, 200), (120, 340), (20, 25), (36, 36)]):
        random_photograph(number, size).save(root / f"{number}.jpg", quality=95)
    turned = Image.Exif()
    turned[0x0112] = 6
    random_photograph(4, (200, 100)).save(root / "4.jpg", quality=95, exif=turned)
    random_photograph(5, (90, 160)).save(root / "5.png")
    entries = [(path.name, number % 2) for number, path in enumerate(sorted(root.iterdir()))]
    write_lists(root, ["cat", "dog"], entries, entries)
    return root


def opened(folder, train=True, cache=True, **view):
    dataset = AnimalDataset(folder / (TRAIN_LIST if train else VAL_LIST), SIZE, train, **view)
    if cache:
        dataset.use_cache(str(folder.parent / "cache"), SIZE)
    return dataset


def images(dataset, epoch=0):
    dataset.set_epoch(epoch)
    return np.stack([dataset[index][0] for index in range(len(dataset))])


def made(folder):
    return sorted((folder.parent / "cache").glob("*.photographs"))


@pytest.mark.skipif(not crops.usable(), reason="no compiler")
def test_a_crop_is_pillow_s_up_to_two_levels():
    rng = np.random.default_rng(0)
    for _ in range(60):
        width, height, size = rng.integers(2, 150, 3)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        (left, right), (top, bottom) = (np.sort(rng.uniform(0, side, 2)) for side in (width, height))
        if right - left < 0.1 or bottom - top < 0.1:
            continue
        box, mirrored = (left, top, right, bottom), bool(rng.integers(2))
        expected = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box)).transpose(2, 0, 1).astype(int)
        found = crops.resized_crop(by_columns(image), box, int(size), mirrored)
        difference = np.abs(found - (expected[:, :, ::-1] if mirrored else expected))
        assert difference.max() <= 2
        assert difference.mean() < 0.5


@pytest.mark.skipif(not crops.usable(), reason="no compiler")
@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_an_even_surface_keeps_its_level(level):
    planes = np.full((3, 70, 90), level, np.uint8)
    for box, size in (((0, 0, 70, 90), 13), ((1.3, 2.7, 66.6, 80.1), 64), ((10, 10, 11, 11), 8)):
        assert (crops.resized_crop(planes, box, size) == level).all()


@pytest.mark.skipif(not crops.usable(), reason="no compiler")
@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 11, 5), (3, 0, 3, 5), (float("nan"), 0, 5, 5)])
def test_a_part_beyond_the_photograph_is_refused(box):
    with pytest.raises(ValueError, match="box"):
        crops.resized_crop(np.zeros((3, 10, 10), np.uint8), box, 4)


def test_training_crops_are_nearly_those_from_the_files(folder):
    view = {"seed": 3, "crop_min_area": 0.5, "color_jitter": 0.2, "erasing": 0.5}
    from_files, cached = opened(folder, cache=False, **view), opened(folder, **view)
    for epoch in range(3):
        difference = np.abs(images(from_files, epoch).astype(int) - images(cached, epoch)).mean((1, 2, 3))
        assert (difference < 4).all(), difference
    assert (images(cached, 0) != images(cached, 1)).any()


@pytest.mark.parametrize(
    "view", [{}, {"train_crop": "resize"}, {"train_crop": "letterbox"}, {"augment": "trivialaugment", "rotation": 10.0}]
)
def test_a_photograph_that_is_not_reduced_gives_the_crops_of_its_file(folder, view):
    from_files, cached = opened(folder, cache=False, **view), opened(folder, **view)
    for index in (2, 3):  # no larger than evaluation needs
        for epoch in range(10):
            of_file, of_cache = images(from_files, epoch)[index], images(cached, epoch)[index]
            if "augment" in view:  # an equalised or solarised photograph turns a level into many
                assert np.median(np.abs(of_file.astype(int) - of_cache)) <= 2
            else:
                assert np.abs(of_file.astype(int) - of_cache).max() <= 2


def test_without_a_compiler_pillow_cuts_the_same(folder, monkeypatch):
    cached = opened(folder)
    expected = images(cached, 1)
    monkeypatch.setattr(crops, "usable", lambda: False)
    assert np.abs(expected.astype(int) - images(cached, 1)).max() <= 2


@pytest.mark.parametrize("eval_crop", ["center", "resize", "letterbox"])
def test_validation_sees_the_same_bits(folder, eval_crop):
    from_files, cached = (opened(folder, train=False, cache=cache, eval_crop=eval_crop) for cache in (False, True))
    assert (images(from_files) == images(cached)).all()


def test_photographs_are_decoded_once(folder, monkeypatch):
    first = [images(opened(folder, train)) for train in (True, False)]
    files = made(folder)
    read = collections.Counter()
    for name in ("read_reduced", "read_crop"):
        monkeypatch.setattr(animal_dataset, name, lambda *arguments: read.update(["read"]))
    again = [images(opened(folder, train)) for train in (True, False)]
    assert not read
    assert files == made(folder)
    assert len(files) == 2
    assert all((before == after).all() for before, after in zip(first, again))


def test_lists_of_many_photographs_that_no_split_has_recorded_are_cached_too(tmp_path):
    root = tmp_path / "photographs"
    root.mkdir()
    entries = [(f"{number}.png", number % 2) for number in range(300)]
    for name, _ in entries:
        Image.new("RGB", (2, 3), "olive").save(root / name)
    write_lists(root, ["cat", "dog"], entries, entries)
    cached, again = opened(root), opened(root)
    assert len(cached.cache) == 300
    assert (images(cached) == images(again)).all()


def test_all_folds_share_one_cache_of_what_they_train_on(tmp_path):
    root = tmp_path / "photographs"
    for number in range(12):
        (root / f"kind {number % 2}").mkdir(parents=True, exist_ok=True)
        random_photograph(number, (50, 36)).save(root / f"kind {number % 2}" / f"{number}.png")
    split_folder(root, 0.25, folds=3)
    sources = [DataSource("animals", str(root), fold=fold) for fold in (1, 2, 3)]
    for source in sources:
        from_files, cached = (AnimalDataset.open_side(source, "train", SIZE) for _ in range(2))
        cached.use_cache(str(tmp_path / "cache"), SIZE)
        assert len(cached) == 8
        assert np.abs(images(from_files).astype(int) - images(cached)).max() <= 2
        val = AnimalDataset.open_side(source, "val", SIZE)
        expected = images(val)
        val.use_cache(str(tmp_path / "cache"), SIZE)
        assert (images(val) == expected).all()
    assert sorted(path.name.split("-")[0] for path in made(root)) == ["folds", "val_list", "val_list", "val_list"]


def test_a_changed_photograph_is_decoded_again(folder):
    before = images(opened(folder))
    random_photograph(9, (300, 200)).save(folder / "0.jpg", quality=95)
    after = images(opened(folder))
    assert (before[0] != after[0]).any()
    assert (before[1:] == after[1:]).all()


def test_another_size_is_another_file(folder):
    opened(folder)
    AnimalDataset(folder / TRAIN_LIST, 16, True).use_cache(str(folder.parent / "cache"), 16)
    assert len(made(folder)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: b"",
        lambda content: b"{}" + content[2:],
        lambda content: content[:4096] + b"\xff" * 24 + content[4120:],
    ],
)
def test_a_damaged_file_is_made_anew(folder, damage, capfd):
    expected = images(opened(folder))
    (file,) = made(folder)
    file.write_bytes(damage(file.read_bytes()))
    assert (images(opened(folder)) == expected).all()
    assert f"{file} is made anew" in capfd.readouterr().err


def test_without_room_on_the_disk_nothing_is_written(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"kB for 6 photographs, 1.00kB are free; give another folder"):
        opened(folder)
    assert made(folder) == []


def test_a_photograph_that_cannot_be_read_is_named_and_leaves_nothing(folder):
    (folder / "3.jpg").write_bytes(b"no photograph")
    with pytest.raises(DataError, match=r"train_list.txt line 4: .*3.jpg"):
        opened(folder)
    assert [path.name for path in (folder.parent / "cache").iterdir()] == [".lock"]


def test_what_a_killed_process_left_is_removed(folder):
    left = folder.parent / "cache" / ".unfinished-abc.photographs"
    left.parent.mkdir()
    left.write_bytes(b"half")
    opened(folder)
    assert not left.exists()


def test_a_folder_that_cannot_be_made_is_named(folder):
    with pytest.raises(DataError, match=r"cache = .*0\.jpg"):
        AnimalDataset(folder / TRAIN_LIST, SIZE, True).use_cache(str(folder / "0.jpg" / "cache"), SIZE)


def test_another_process_opens_the_file_itself(folder):
    dataset = opened(folder)
    sent = pickle.dumps(dataset)
    assert len(sent) < 20_000
    assert (images(pickle.loads(sent)) == images(dataset)).all()


def test_the_reduced_photograph_is_upright_and_in_proportion(folder):
    assert read_reduced(folder / "4.jpg", 50).size == (50, 100)
    assert read_reduced(folder / "0.jpg", 37).size == (56, 37)
    assert read_reduced(folder / "2.jpg", 37).size == (20, 25)


def test_a_random_box_that_exceeds_the_photograph_by_a_rounding_is_cut():
    image = random_photograph(1, (40, 30))
    pixels = cut(by_columns(image), lambda width, height: (0, 0, width + 1e-12, height), 8)
    assert pixels.shape == (3, 8, 8)
    for seed in range(200):
        assert cut(by_columns(image), random_box(np.random.default_rng(seed), 0.9), 8).shape == (3, 8, 8)


def train_on(folder, tmp_path, *options):
    config = parse_config(
        [
            f"--data={folder}", "--net=resnet", "--epochs=1", "--image_size=32", "--batch_size=2", "--threads=1",
            "--num_workers=0", f"--runs_dir={tmp_path / 'runs'}", *options,
        ],
        script="train",
    )  # fmt: skip
    assert train.main(config) == 0
    return max((tmp_path / "runs" / "resnet").iterdir())


def test_a_training_says_where_its_crops_come_from_and_goes_on_so(folder, tmp_path, register_tiny_network, monkeypatch):
    write_lists(folder, ["cat", "dog"], [(f"{n}.jpg", n % 2) for n in range(4)], [("4.jpg", 0), ("5.png", 1)])
    cache = f"--cache={tmp_path / 'cache'}"
    from_files = train_on(folder, tmp_path)
    exact = train_on(folder, tmp_path, cache, "--crops_from=files")
    best = [read_result(run)["best"] for run in (from_files, exact)]
    assert [best[0][name] for name in ("train_loss", "val_loss", "val_acc")] == [
        best[1][name] for name in ("train_loss", "val_loss", "val_acc")
    ]
    assert len(made(folder)) == 1  # of the validation list, which is the same to the bit
    cached = train_on(folder, tmp_path, cache)
    assert [load_config(run / "config.yaml").crops_from for run in (from_files, exact, cached)] == ["files", "files", "cache"]
    read = []
    monkeypatch.setattr(photograph_cache, "_make", lambda *arguments: read.append(arguments))
    assert train.main(parse_config([f"--resume={cached}", "--epochs=2"], script="train")) == 0
    assert read_result(cached)["status"] == "finished"
    assert not read


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crops_from=cache"], "crops_from = 'cache' without cache: give --cache DIR"),
        (["--dataset=cifar10", "--cache=x"], "cache = 'x': it is for photographs in a folder"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(options, message, capfd):
    with pytest.raises(SystemExit):
        parse_config(options, script="train")
    assert message in capfd.readouterr().err


def test_a_full_disk_is_noticed_before_anything_is_decoded(folder, monkeypatch):
    def full(handle, start, length):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"No space left on device|disk is full"):
        opened(folder)
    assert made(folder) == []

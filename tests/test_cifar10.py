"""CIFAR-10's archive: read as it is, refused where it is not what it should be, nothing in it run or unpacked."""

import gzip
import io
import os
import pickle
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cifar10_archive import CLASSES, FOLDER, contents, pictures, python2_pickle, write_archive
from PIL import Image
from test_plain_pickle import Touches

import show_photographs
import train_val_split
from animal_dataset import AnimalDataset
from config import Config
from data import DATASETS, LazyDataset, cifar10
from data.cifar10 import FILE_NAME, Cifar10Dataset, find_file
from data.data_sets import count_classes, digests, find_data, open_side
from data.data_source import DataSource
from data.lists import DataError, Sample, write_lists
from data.loader import PhotographLoader
from data.photograph_dataset import PhotographDataset

MINI = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "cifar-10-mini.tar.gz"


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / FILE_NAME, contents())


def refused(path, **options):
    """The one line with which an archive is refused, whichever side of it is read."""
    with pytest.raises(DataError) as error:
        Cifar10Dataset(path, 32, **{"train": True, **options})
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert f"Give another copy of {FILE_NAME} with --data FILE" in str(error.value)
    return str(error.value)


# What is read


@pytest.mark.parametrize(
    "pickled", [python2_pickle, lambda value: pickle.dumps(value, protocol=2)], ids=["python 2", "python 3"]
)
def test_both_sides_are_read_with_names_labels_and_classes(tmp_path, pickled):
    path = write_archive(tmp_path / FILE_NAME, contents(12, pickled))
    train, val = Cifar10Dataset(path, 40, train=True), Cifar10Dataset(path, 40, train=False)
    assert (len(train), len(val), train.classes) == (60, 12, list(CLASSES))
    assert train.samples[12:14] == [Sample("data_batch_2/0", 0, 0), Sample("data_batch_2/1", 1, 1)]
    assert val.samples[11] == Sample("test_batch/11", 1, 11)
    assert [sample.label for sample in val.samples] == pictures(12, 5)[1]
    image, label = val[3]
    assert (image.shape, image.dtype, image.flags.c_contiguous) == ((3, 40, 40), np.uint8, True)
    assert (label, label.dtype) == (3, np.int64)


def test_a_photograph_is_shown_red_green_blue_upright_and_enlarged(archive):
    pixels = pictures(10, 5)[0].reshape(-1, 3, 32, 32)
    as_it_is = Cifar10Dataset(archive, 32, train=False, eval_crop="resize")
    enlarged = Cifar10Dataset(archive, 56, train=False, eval_crop="resize")
    for index in range(10):
        np.testing.assert_array_equal(as_it_is[index][0], pixels[index])
        expected = Image.fromarray(pixels[index].transpose(1, 2, 0)).resize((56, 56), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(enlarged[index][0], np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("train", [False, True])
def test_photographs_are_shown_as_those_of_a_folder_are(archive, tmp_path, train):
    dataset = Cifar10Dataset(archive, 24, train, seed=3, rotation=20.0)
    entries = []
    for place, sample in enumerate(dataset.samples):
        pixels = dataset.images[place].reshape(3, 32, 32).transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"{place}.png")
        entries.append((f"{place}.png", sample.label))
    write_lists(tmp_path, CLASSES, entries, entries)
    folder = AnimalDataset(tmp_path / "train_list.txt", 24, train, seed=3, rotation=20.0)
    for epoch in (0, 4):
        folder.set_epoch(epoch)
        dataset.set_epoch(epoch)
        for index in range(len(dataset)):
            np.testing.assert_array_equal(dataset[index][0], folder[index][0])
            assert dataset[index][1] == folder[index][1]


def test_the_loader_reads_it_with_and_without_workers(archive):
    def images(workers):
        loader = PhotographLoader(Cifar10Dataset(archive, 16, train=True), 8, workers, shuffle=True)
        loader.set_epoch(1)
        return [(batch.numpy().tobytes(), labels.numpy().tolist()) for batch, labels in loader]

    assert images(0) == images(2)


def test_the_digest_tells_contents_apart_and_not_archives(archive, tmp_path):
    first = {side: Cifar10Dataset(archive, 32, side == "train").digest() for side in ("train", "val")}
    parts = contents(pickled=lambda value: pickle.dumps(value, protocol=2))
    repacked = write_archive(tmp_path / "again.tar.gz", dict(reversed(parts.items())), compresslevel=1)
    assert digests(DataSource("cifar10", str(repacked))) == digests(DataSource("cifar10", str(archive))) == (first, None)
    assert first["train"] != first["val"]
    for old, new in (
        (b"airplane", b"aeroplan"),
        (pictures(10, 5)[0][0, :64].tobytes(), bytes(64)),
        (b"](K\x00K\x01", b"](K\x01K\x01"),
    ):
        changed = {name: data.replace(old, new, 1) for name, data in contents().items()}
        assert changed != contents()
        assert Cifar10Dataset(write_archive(tmp_path / "changed.tar.gz", changed), 32, False).digest() != first["val"]


@pytest.mark.skipif(not MINI.is_file(), reason="needs shared/data/cifar-10-mini.tar.gz beside the project")
def test_real_photographs_are_read():
    train, val = (Cifar10Dataset(MINI, 32, train, eval_crop="resize") for train in (True, False))
    assert (len(train), len(val), train.classes) == (3000, 600, list(CLASSES))
    with tarfile.open(MINI) as unpacked:
        batch = pickle.load(unpacked.extractfile(f"{FOLDER}/test_batch"), encoding="bytes")
    np.testing.assert_array_equal(np.array([val[index][0] for index in range(600)]).reshape(600, -1), batch[b"data"])
    assert [sample.label for sample in val.samples] == batch[b"labels"]


# What is refused


def test_code_in_an_archive_is_not_run(tmp_path):
    for name in ("data_batch_3", "batches.meta"):
        parts = {**contents(), name: pickle.dumps({b"data": Touches(tmp_path / "touched")}, protocol=2)}
        assert f"{name}: it asks for '" in refused(write_archive(tmp_path / FILE_NAME, parts))
    assert not (tmp_path / "touched").exists()


def changed_batch(name="data_batch_2", **changes):
    data, labels = pictures(10, 1)
    batch = {b"labels": labels, b"data": data, **{key.encode(): value for key, value in changes.items()}}
    return {name: python2_pickle({key: value for key, value in batch.items() if value is not None})}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (changed_batch(data=np.zeros((10, 3071), np.uint8)), "data_batch_2: data of shape (10, 3071); expected (N, 3072)"),
        (changed_batch(data=np.zeros((0, 3072), np.uint8), labels=[]), "data of shape (0, 3072); expected (N, 3072)"),
        (changed_batch(data=np.zeros(3072, np.uint8)), "data of shape (3072,); expected (N, 3072)"),
        (changed_batch(data=[1, 2]), "data of shape None; expected (N, 3072)"),
        (changed_batch(data=None), "data of shape None; expected (N, 3072)"),
        (changed_batch(labels=[0] * 9), "data_batch_2: expected a list of 10 labels, one per photograph"),
        (changed_batch(labels=None), "expected a list of 10 labels"),
        (changed_batch(labels=[0] * 9 + [10]), "data_batch_2/9: label 10, but there are 10 classes"),
        (changed_batch(labels=[0] * 9 + [-1]), "data_batch_2/9: label -1, but there are 10 classes"),
        (changed_batch(labels=[b"0"] * 10), "data_batch_2/0: label of type bytes, but there are 10 classes"),
        ({"data_batch_2": python2_pickle([1])}, "data_batch_2 holds no dict"),
        ({"data_batch_2": b""}, "data_batch_2: damaged"),
        ({"data_batch_2": contents()["data_batch_2"][:-40]}, "data_batch_2: damaged"),
        ({"batches.meta": python2_pickle({b"label_names": [b"cat"]})}, "batches.meta does not name the classes"),
        ({"batches.meta": python2_pickle({b"label_names": [b"cat", b"cat"]})}, "batches.meta does not name the classes"),
        ({"batches.meta": python2_pickle({b"label_names": [b"cat", b"a\nb"]})}, "batches.meta does not name the classes"),
        ({"batches.meta": python2_pickle({b"label_names": 3})}, "batches.meta does not name the classes"),
        ({"batches.meta": python2_pickle({})}, "batches.meta does not name the classes"),
    ],
)  # fmt: skip
def test_wrong_contents_are_refused_with_their_place(tmp_path, changes, complaint):
    assert complaint in refused(write_archive(tmp_path / FILE_NAME, {**contents(), **changes}))


def test_a_missing_batch_is_named(tmp_path):
    parts = contents()
    del parts["data_batch_4"]
    path = write_archive(tmp_path / FILE_NAME, parts)
    assert f"has no {FOLDER}/data_batch_4" in refused(path)
    assert len(Cifar10Dataset(path, 32, train=False)) == 10


def test_an_archive_cut_anywhere_or_changed_is_refused(archive):
    whole = archive.read_bytes()
    for length in [0, 1, 9, 10, 11, *range(20, len(whole), 997), len(whole) - 9, len(whole) - 1]:
        archive.write_bytes(whole[:length])
        assert f"is not a complete {FILE_NAME}" in refused(archive) or "has no" in refused(archive)
    checksum = bytearray(whole)
    checksum[-6] ^= 1
    archive.write_bytes(checksum)
    assert f"is not a complete {FILE_NAME}" in refused(archive)


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no archive" * 100, mtime=0), b"\x1f\x8b"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    refused(tmp_path / FILE_NAME)


def archive_with(path, *entries):
    """An archive whose first entries are ``entries``, (TarInfo, content) pairs, before the usual ones."""
    with tarfile.open(path, "w:gz") as out:
        usual = [(tarfile.TarInfo(f"{FOLDER}/{name}"), data) for name, data in contents().items()]
        for entry, data in [*entries, *usual]:
            entry.size = entry.size or len(data)
            out.addfile(entry, io.BytesIO(data) if entry.isreg() else None)
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("target", ["secret", "../secret", "/etc/passwd", f"{FOLDER}/data_batch_2"])
def test_links_and_devices_are_not_followed(tmp_path, kind, target):
    (tmp_path / "secret").write_bytes(contents()["data_batch_1"])
    link = tarfile.TarInfo(f"{FOLDER}/data_batch_1")
    link.type, link.linkname = kind, target
    assert "data_batch_1 is not a plain file, or appears twice" in refused(archive_with(tmp_path / FILE_NAME, (link, b"")))


def test_paths_lead_nowhere_and_nothing_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = [
        f"../{FOLDER}/data_batch_1",
        f"/{FOLDER}/data_batch_1",
        f"{FOLDER}/../evil",
        f"{FOLDER}/data_batch_1/x",
        "data_batch_1",
    ]
    path = archive_with(tmp_path / FILE_NAME, *((tarfile.TarInfo(name), b"evil") for name in odd))
    assert len(Cifar10Dataset(path, 32, train=True)) == 50
    assert os.listdir(tmp_path) == [FILE_NAME]
    assert not (tmp_path.parent / FOLDER).exists()


def test_a_batch_that_is_there_twice_is_refused(tmp_path):
    again = tarfile.TarInfo(f"{FOLDER}/data_batch_1")
    assert "appears twice" in refused(archive_with(tmp_path / FILE_NAME, (again, contents()["data_batch_2"])))


@pytest.mark.parametrize("name", [f"{FOLDER}/data_batch_1", "something else"])
def test_a_huge_part_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, name):
    monkeypatch.setattr(cifar10, "MAX_BYTES", 100_000)
    huge = archive_with(tmp_path / FILE_NAME, (tarfile.TarInfo(name), bytes(100_001)))
    assert f"{name!r} of 100,001 bytes is more than CIFAR-10 holds" in refused(huge)


def test_a_header_that_claims_more_than_follows_is_refused(tmp_path):
    entry = tarfile.TarInfo(f"{FOLDER}/data_batch_1")
    entry.size = 60_000_000
    header = entry.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / FILE_NAME).write_bytes(gzip.compress(header + bytes(5000)))
    assert f"is not a complete {FILE_NAME}" in refused(tmp_path / FILE_NAME)


def test_keys_that_are_no_utf_8_are_passed_over(tmp_path):
    parts = contents(pickled=lambda value: pickle.dumps({**value, "\ud800": 1}, protocol=2))
    assert len(Cifar10Dataset(write_archive(tmp_path / FILE_NAME, parts), 32, train=True)) == 50


@pytest.mark.parametrize("name", [f"{FOLDER}/data_batch_1", "x" * 5000])
@pytest.mark.parametrize("size", [-1, -(2**60), 2**90])
def test_a_size_that_cannot_be_is_refused_in_a_short_line(tmp_path, name, size):
    entry = tarfile.TarInfo(name)
    entry.size, entry.pax_headers = 0, {"size": str(size)}
    (tmp_path / FILE_NAME).write_bytes(gzip.compress(entry.tobuf(tarfile.PAX_FORMAT) + bytes(1024)))
    assert f"bytes is {'less' if size < 0 else 'more'} than CIFAR-10 holds" in (shown := refused(tmp_path / FILE_NAME))
    assert len(shown) < 1000


def test_a_record_of_a_length_that_no_number_of_the_machine_holds_is_refused(tmp_path):
    record = f"{10**30} path={FOLDER}/batches.meta\nabc=d\n".encode()
    entry = tarfile.TarInfo("record")
    entry.type, entry.size = tarfile.XHDTYPE, len(record)
    (tmp_path / FILE_NAME).write_bytes(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + record.ljust(1536, b"\0")))
    assert f"is not a complete {FILE_NAME}" in refused(tmp_path / FILE_NAME)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_huge_name_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(cifar10, "MAX_BYTES", 100_000)
    entry = tarfile.TarInfo("name")
    entry.type, entry.size = kind, 2_000_000
    (tmp_path / FILE_NAME).write_bytes(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(2_000_384)))
    assert "more than CIFAR-10 holds" in refused(tmp_path / FILE_NAME)


def test_an_archive_of_very_many_parts_or_endless_padding_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MAX_PARTS", 20)
    monkeypatch.setattr(cifar10, "MAX_BYTES", 2**20)
    many = archive_with(tmp_path / FILE_NAME, *((tarfile.TarInfo(str(number)), b"") for number in range(20)))
    assert "is more than CIFAR-10 holds" in refused(many)
    padded = write_archive(tmp_path / FILE_NAME, contents())
    padded.write_bytes(gzip.compress(gzip.decompress(padded.read_bytes()) + bytes(30 * 2**20)))
    assert "unpacks to more than CIFAR-10 holds" in refused(padded)


# Where the archive is


def test_the_archive_is_found_as_a_file_or_in_a_folder(archive, tmp_path):
    assert find_file(archive) == find_file(tmp_path) == archive
    assert find_data(DataSource("cifar10", str(tmp_path))) == DataSource("cifar10", str(archive))
    assert find_data(DataSource("folder", "anything")) == DataSource("folder", "anything")


def test_a_wrong_place_is_named_and_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "_download", lambda: pytest.fail("downloaded"))
    for path, complaint in (
        (tmp_path, f"there is no {FILE_NAME} in the folder {tmp_path}"),
        (tmp_path / "x", f"no {tmp_path / 'x'}"),
    ):
        with pytest.raises(DataError) as error:
            find_file(path)
        assert complaint in str(error.value)
        assert "without --data lets Paddle download it" in str(error.value)


@pytest.fixture
def paddle_download(monkeypatch, tmp_path):
    """Stands in for Paddle's download function; what it was asked for."""
    from paddle.dataset import common

    asked = []
    monkeypatch.setattr(common, "DATA_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(common, "download", lambda *arguments: asked.append(arguments) or str(tmp_path / "fetched"))
    return asked


def test_paddle_downloads_it_with_its_own_address_and_checksum(paddle_download, tmp_path, capsys):
    from paddle.vision.datasets import cifar

    assert find_file(tmp_path, may_download=True) == tmp_path / "fetched"
    assert paddle_download == [(cifar.CIFAR10_URL, "cifar", cifar.CIFAR10_MD5)]
    assert f"into {tmp_path / 'cache' / 'cifar'}" in capsys.readouterr().out


def test_a_failed_download_says_where_to_put_the_file(monkeypatch, paddle_download, tmp_path, capsys):
    from paddle.dataset import common

    def fail(url, module, md5):
        print("Cache file not found, downloading", file=sys.stderr)
        raise RuntimeError("Cannot download it within retry limit 3")

    monkeypatch.setattr(common, "download", fail)
    with pytest.raises(DataError) as error:
        find_file(tmp_path, may_download=True)
    message = str(error.value)
    assert message.startswith(f"{FILE_NAME} could not be downloaded (Cannot download it within retry limit 3): ")
    assert f"put it into {tmp_path / 'cache' / 'cifar'}" in message
    assert "\n" not in message
    assert capsys.readouterr().err == ""


# The data sets by name


def test_data_sets_are_opened_by_name(archive, listed_folder):
    assert tuple(DATASETS) == ("folder", "cifar10")
    assert open_side(DataSource("cifar10", archive), "val", 16).source == f"{archive} (test_batch)"
    assert open_side(DataSource("cifar10", archive), "train", 16).source == f"{archive} (data_batch_1 to data_batch_5)"
    assert open_side(DataSource("folder", listed_folder), "val", 16).source == str(listed_folder / "val_list.txt")
    with pytest.raises(ValueError, match="dataset = 'imagenet': expected one of folder, cifar10"):
        open_side(DataSource("imagenet", archive), "train", 16)


def test_classes_are_counted_where_they_are_known(listed_folder, tmp_path):
    assert count_classes(DataSource("cifar10", str(tmp_path / "not there yet"))) == 10
    assert count_classes(DataSource("folder", str(listed_folder))) == 3
    assert count_classes(DataSource("folder", str(tmp_path / "not there yet"))) is None


class Greys(PhotographDataset):
    """What a user writes who brings a data set: four grey photographs, two of each class."""

    def __init__(self, data, image_size, train, seed=0, **view):
        super().__init__(image_size, train, seed, **view)
        self.classes, self.data, self.source = ["dark", "bright"], data, f"{data} {train}"
        self.samples = [Sample(f"{train}/{place}", place % 2, place) for place in range(4)]

    @classmethod
    def find(cls, data, may_download=False):
        return f"{data}/greys"

    @classmethod
    def open_side(cls, source, side, image_size, seed=0, **view):
        return cls(source.data, image_size, side == "train", seed, **view)

    @classmethod
    def count_classes(cls, source):
        return 2

    def digest(self):
        return self.source

    def photograph(self, index):
        return Image.new("RGB", (20, 20), (200 * (index % 2),) * 3)

    def __getitem__(self, index):
        image = self.photograph(index)
        return self.show(lambda box, size, flip: image.resize((size, size)), index), np.int64(self.samples[index].label)


def test_a_data_set_of_ones_own_takes_one_file_and_one_line(monkeypatch, capsys):
    monkeypatch.setitem(DATASETS, "greys", LazyDataset(__name__, "Greys"))
    source = find_data(DataSource("greys", "here"))
    assert (source.data, count_classes(source)) == ("here/greys", 2)
    assert digests(source) == ({"train": "here/greys True", "val": "here/greys False"}, None)
    dataset = open_side(source, "val", 16)
    assert [(image.shape, image.max(), label) for image, label in (dataset[0], dataset[1])] == [
        ((3, 16, 16), 0, 0),
        ((3, 16, 16), 200, 1),
    ]
    chosen = SimpleNamespace(data_source=lambda: source, seed=0, part=lambda name: {})
    assert train_val_split.main(chosen) == 2
    assert "only a folder can be split" in capsys.readouterr().err


@pytest.mark.parametrize("script", [train_val_split, show_photographs])
def test_scripts_that_need_a_folder_say_so(script, archive, capsys):
    assert script.main(Config(dataset="cifar10", data=str(archive))) == 2
    assert capsys.readouterr().err.startswith(f"{script.__name__}.py: error: dataset = 'cifar10': only ")

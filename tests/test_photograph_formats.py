"""What a file is told by its content, and what a user reads about formats that are not read."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import random_photograph
from damaged_photographs import OTHER_FORMATS, encoded, tiff
from PIL import Image, features
from test_photographs import AS_STORED, ORIENTATION_TAG, difference
from test_train_val_split import paths, report

from data import photograph_formats, splitting
from data.class_folders import SplitError
from data.photograph_formats import OTHER_SUFFIXES, kind_of, left_out_lines, may_be_photograph
from data.photographs import PhotographError, read_crop, read_photograph

HEIC_HEAD, AVIF_HEAD = OTHER_FORMATS["heic"], OTHER_FORMATS["avif"]
RAW_FILES = {
    "canon.cr2": OTHER_FORMATS["canon raw"],
    "canon.cr3": b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom",
    "fuji.raf": OTHER_FORMATS["fuji raw"],
    "panasonic.rw2": b"IIU\x00\x18\x00\x00\x00" + bytes(64),
    "olympus.orf": b"IIRO\x08\x00\x00\x00" + bytes(64),
    "adobe.dng": tiff({50706: 0x0401}),
    "adobe.tif": tiff({50706: 0x0401}),
    "nikon.nef": tiff({254: 1, 330: 200}),  # the first page is a thumbnail, the photograph is in a page inside
    "sony.tif": tiff({254: 1, 330: 200}),
    "pentax.pef": tiff({262: 32803}),  # a mosaic of colours, which Pillow knows nothing of
    "unknown.nef": OTHER_FORMATS["nikon raw"],
}


@pytest.fixture
def no_readers(monkeypatch):
    monkeypatch.setattr(photograph_formats, "_can_read", lambda kind: False)


@pytest.fixture
def threads(monkeypatch):
    """The split reads in threads of this process, where the tests have changed something."""
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))


def reason(path):
    with pytest.raises(PhotographError) as error:
        read_photograph(path)
    return str(error.value)


def encoder(kind):
    """Pillow's name of a format that can be written here; skips the test where it cannot."""
    if kind == "HEIC":
        pytest.importorskip("pillow_heif").register_heif_opener()
        return "HEIF"
    if not features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    return "AVIF"


@pytest.mark.parametrize("orientation", AS_STORED)
@pytest.mark.parametrize(("kind", "name"), [("HEIC", "photo.heic"), ("HEIC", "photo.jpg"), ("AVIF", "photo.avif")])
def test_heic_and_avif_are_turned_upright_once(tmp_path, kind, name, orientation):
    upright, exif = random_photograph(1, (96, 64)), Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    stored = Image.fromarray(np.ascontiguousarray(AS_STORED[orientation](np.asarray(upright))))
    stored.save(tmp_path / name, encoder(kind), exif=exif.tobytes(), quality=95)
    assert difference(read_photograph(tmp_path / name), upright) < 5
    box = (7.5, 20, 60.25, 58)
    part = read_crop(tmp_path / name, lambda width, height: box, 16)
    assert difference(part, upright.resize((16, 16), Image.Resampling.BILINEAR, box=box)) < 6


def test_a_heic_that_its_reader_turned_is_not_turned_by_the_exif_data_it_left(tmp_path, monkeypatch):
    photo = random_photograph(1, (96, 64))
    photo.save(tmp_path / "a.heic", encoder("HEIC"), quality=95)
    monkeypatch.setattr(Image.Image, "getexif", lambda image: {ORIENTATION_TAG: 6})
    assert difference(read_photograph(tmp_path / "a.heic"), photo) < 5


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_a_cut_heic_or_avif_is_refused(tmp_path, kind):
    file = io.BytesIO()
    random_photograph(1, (200, 160), cells=60).save(file, encoder(kind))
    for share in (0.3, 0.7):
        (tmp_path / "photo").write_bytes(file.getvalue()[: int(len(file.getvalue()) * share)])
        assert reason(tmp_path / "photo").startswith("damaged")


def test_without_a_reader_heic_and_avif_say_what_to_install_and_what_they_are(tmp_path, no_readers):
    for name, content, expected in (
        ("a.heic", HEIC_HEAD, "HEIC: pip install pillow-heif, or convert it to JPEG"),
        ("a.jpg", HEIC_HEAD, "HEIC, whatever its name says (.jpg): pip install pillow-heif, or convert it to JPEG"),
        ("a", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC, whatever its name says (no suffix): pip install pillow-heif"),
        ("a.avif", AVIF_HEAD, 'AVIF: pip install --upgrade "pillow>=11.3", or convert it to JPEG'),
        ("b.avif", b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", 'AVIF: pip install --upgrade "pillow>=11.3"'),
    ):
        (tmp_path / name).write_bytes(content)
        assert reason(tmp_path / name).startswith(expected)


def test_a_pillow_heif_for_another_pillow_is_not_called_damage(tmp_path, monkeypatch):
    class Outdated:
        def __init__(self, file, name):
            raise AttributeError("can't set attribute")

    monkeypatch.setattr(photograph_formats, "_can_read", lambda kind: True)
    monkeypatch.setitem(Image.OPEN, "HEIF", (Outdated, None))
    (tmp_path / "a.heic").write_bytes(HEIC_HEAD)
    assert reason(tmp_path / "a.heic") == "HEIC: this pillow-heif does not fit Pillow: pip install --upgrade pillow-heif"


def test_the_split_counts_the_photographs_that_a_package_would_read(photo_folder, no_readers, threads, capsys):
    for number in range(3):
        (photo_folder / "cat" / f"{number}.HEIC").write_bytes(HEIC_HEAD)
    (photo_folder / "dog" / "one.avif").write_bytes(AVIF_HEAD)
    (photo_folder / "dog" / "one.dng").write_bytes(RAW_FILES["adobe.dng"])
    splitting.split_folder(photo_folder)
    lines = capsys.readouterr().out.splitlines()
    assert "3 HEIC photographs left out: pip install pillow-heif" in lines
    assert '1 AVIF photograph left out: pip install --upgrade "pillow>=11.3"' in lines
    assert "1 camera RAW photograph left out: convert them to JPEG" in lines
    assert len(report(photo_folder)) == 5


def test_a_class_of_heic_photographs_alone_is_not_lost_silently(photo_folder, no_readers, threads):
    (photo_folder / "bird").mkdir()
    for number in range(3):
        (photo_folder / "bird" / f"{number}.heic").write_bytes(HEIC_HEAD)
    with pytest.raises(SplitError, match=r"class bird has 0 different .*\(3 files .*0\.heic: HEIC: pip install pillow-heif"):
        splitting.split_folder(photo_folder)


def test_no_line_where_nothing_is_to_be_installed():
    assert left_out_lines(["damaged: its pixels are wrong or incomplete", "not an image: a video"]) == []


@pytest.mark.parametrize("name", ["a.mpo", "a", "a.jpg_large", "a.jpeg~orig", "a.jp2", "a.heic", "a.cr2", "a.png"])
def test_a_jpeg_of_any_name_is_read(photo_folder, threads, name):
    from explanation.photograph_choice import photographs_in

    photo = random_photograph((9, 9))
    photo.save(photo_folder / "cat" / name, "JPEG", quality=95)
    splitting.split_folder(photo_folder)
    assert f"cat/{name}" in paths(photo_folder, "train") + paths(photo_folder, "val")
    assert difference(read_photograph(photo_folder / "cat" / name), photo) < 4
    assert photo_folder / "cat" / name in photographs_in(photo_folder / "cat")


def test_files_of_other_kinds_are_not_even_opened(tmp_path, monkeypatch):
    for suffix in (".txt", ".csv", ".json", ".xml", ".mp4", ".pth", ".PTH"):
        random_photograph(1).save(tmp_path / f"a{suffix}", "JPEG")
        assert suffix.lower() in OTHER_SUFFIXES
    (tmp_path / "README").write_text("no photograph")
    (tmp_path / "data.bin").write_bytes(bytes(99))
    assert not any(may_be_photograph(path) for path in tmp_path.iterdir())

    def refuse(*args, **options):
        raise AssertionError("opened")

    monkeypatch.setattr(photograph_formats, "open_regular", refuse)
    for path in tmp_path.glob("a.*"):
        may_be_photograph(path)
    assert may_be_photograph(tmp_path / "missing.jpg")


@pytest.mark.parametrize("name", RAW_FILES)
def test_camera_raw_is_named_and_its_thumbnail_not_taken(tmp_path, name):
    (tmp_path / name).write_bytes(RAW_FILES[name])
    assert may_be_photograph(tmp_path / name)
    assert reason(tmp_path / name) == "camera RAW, which has no finished colours: convert it to JPEG"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not an image: an empty file"),
        (b"no photograph at all", "not an image, or in a format that is not read"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE HTML><html>", "not an image: a web page"),
        (OTHER_FORMATS["svg"], "not an image: an SVG drawing"),
        (OTHER_FORMATS["pdf"], "not an image: a PDF"),
        (OTHER_FORMATS["mp4"], "not an image: a video"),
        (OTHER_FORMATS["zip"], "not an image: an archive"),
        (OTHER_FORMATS["jpeg 2000"], "JPEG 2000, which is not read: convert it to JPEG or PNG"),
        (b"\xff\x0a" + bytes(40), "JPEG XL, which is not read: convert it to JPEG or PNG"),
        (b"GIF89a", "damaged: its header is wrong or incomplete"),
        (b"II*\0\x08\0\0\0", "damaged, or a rare kind of TIFF that is not read: convert it to JPEG or PNG"),
    ],
)
def test_what_is_no_readable_photograph_is_named(tmp_path, content, expected):
    (tmp_path / "photo.jpg").write_bytes(content)
    assert reason(tmp_path / "photo.jpg") == expected


def test_every_format_that_is_read_is_told_by_its_content():
    photo = random_photograph(1)
    kinds = {".jpg": "JPEG", ".png": "PNG", ".gif": "GIF", ".webp": "WebP", ".bmp": "BMP", ".tif": "TIFF"}
    assert {suffix: kind_of(encoded(photo, suffix)[:64]) for suffix in kinds} == kinds
    assert {kind_of(HEIC_HEAD), kind_of(AVIF_HEAD), *kinds.values()} == set(photograph_formats.FORMATS)


def grey_tiff(values, bits, kind=1, white=1):
    """A TIFF of one row of grey ``values``; ``kind``: 1 unsigned, 2 signed, 3 floating point; ``white``: 0 if 0 is white."""
    if bits == 12:
        packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in zip(values[::2], values[1::2]))
    else:
        packed = np.asarray(values).astype({16: "<u2", 32: "<i4"}[bits]).tobytes()
    tags = {256: len(values), 257: 1, 258: bits, 259: 1, 262: white, 273: 200, 277: 1, 278: 1, 279: len(packed), 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag > 258 or tag < 258 else 3, 1, value) for tag, value in tags.items())
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(200, b"\0") + packed


@pytest.mark.parametrize(("bits", "kind"), [(32, 1), (32, 2), (16, 2)])
def test_a_tiff_of_unknown_brightness_is_refused_not_black(tmp_path, bits, kind):
    (tmp_path / "a.tif").write_bytes(grey_tiff([0, 1000, 30000], bits, kind))
    assert reason(tmp_path / "a.tif") == (
        "a TIFF of signed or 32-bit integers, whose brightness range is unknown: convert it to 8 or 16 bits"
    )


@pytest.mark.parametrize(
    ("bits", "white", "expected"),
    [(12, 1, [0, 64, 128, 255]), (16, 1, [0, 4, 8, 15]), (16, 0, [255, 251, 247, 240])],
)
def test_a_tiff_of_12_bits_or_with_white_as_zero_has_its_brightness(tmp_path, bits, white, expected):
    (tmp_path / "a.tif").write_bytes(grey_tiff([0, 1024, 2048, 4095], bits, white=white))
    try:
        Image.open(tmp_path / "a.tif").close()
    except OSError:
        pytest.skip("this Pillow cannot read such a file")
    assert np.asarray(read_photograph(tmp_path / "a.tif"))[0, :, 0].tolist() == expected

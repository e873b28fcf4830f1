"""Scans are counted as the decoder meets them: neither more, which refuses good photographs, nor fewer, which lets bombs in."""

import struct
import time

import pytest
from conftest import random_photograph
from damaged_photographs import encoded, many_scans, segment
from PIL import Image
from test_photographs import difference

from data import photographs
from data.boxes import central_box
from data.jpeg_segments import count_scans, decodes_in_one_pass
from data.photographs import PhotographError, read_crop, read_photograph

SCAN = b"\xff\xda"
VIDEO = struct.pack(">I", 32) + b"ftypmp42" + bytes(20) + (SCAN + b"\x00\x0c" + bytes(60)) * 400


def blocks():
    """Segments as cameras and editors write them, full of what looks like scans and ends."""
    looks = SCAN * 200 + b"\xff\xd9" * 3
    thumbnail = encoded(random_photograph(2, (64, 48)), ".jpg") * 20
    return (
        segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail)
        + segment(0xE2, b"ICC_PROFILE\0\x01\x01" + looks * 20)
        + segment(0xEC, looks)
        + segment(0xFE, looks)
    )


@pytest.fixture
def all_counted(monkeypatch):
    monkeypatch.setattr(photographs, "QUICK", 0)  # otherwise small photographs are not looked at


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("motion", [False, True])
@pytest.mark.parametrize("large_blocks", [False, True])
def test_motion_photographs_and_large_blocks_are_read(tmp_path, all_counted, progressive, motion, large_blocks):
    photo = random_photograph(1, (320, 240), cells=40)
    whole = encoded(photo, ".jpg", quality=95, progressive=progressive, restart_marker_blocks=7)
    content = whole[:2] + (blocks() if large_blocks else b"") + whole[2:] + (VIDEO if motion else b"")
    assert count_scans(content) == count_scans(whole) == (10 if progressive else 1)
    (tmp_path / "photo.jpg").write_bytes(content)
    assert difference(read_photograph(tmp_path / "photo.jpg"), photo) < 4
    assert read_crop(tmp_path / "photo.jpg", central_box(56), 56).size == (56, 56)


def test_blocks_between_scans_are_passed_over(tmp_path, all_counted):
    photo = random_photograph(1, (320, 240), cells=40)
    whole = encoded(photo, ".jpg", quality=95, progressive=True)
    last = whole.rfind(b"\xff\xc4")
    content = whole[:last] + segment(0xFE, SCAN * 200 + b"\xff\xd9") + whole[last:]
    assert count_scans(content) == 10
    (tmp_path / "photo.jpg").write_bytes(content)
    assert difference(read_photograph(tmp_path / "photo.jpg"), photo) < 4


MOST_SECONDS = 1.5  # of the processor; to decode BOMB takes two or three times as long, to count its scans none
BOMB = many_scans(3000, 800)


def hidden_bombs():
    bomb = BOMB
    scan = bomb.rfind(b"\xff\xc4")
    yield "plain", bomb
    yield "after a fake end in a segment", bomb[:2] + segment(0xE1, b"\xff\xd9" * 9) + bomb[2:]
    yield "a fake end between scans", bomb[:scan] + segment(0xFE, b"\xff\xd9" * 9) + bomb[scan:]
    yield "after a segment too short", bomb[:2] + b"\xff\xfe\x00\x00" + bomb[2:]
    yield "after a segment of length 1", bomb[:2] + b"\xff\xec\x00\x01" + bomb[2:]
    yield "filled up", bomb.replace(SCAN, b"\xff" * 5 + SCAN)
    yield "noise between scans", bomb[:scan] + b"\x00\x17noise" + bomb[scan:]
    yield "with restarts between", bomb[:scan] + (b"\xff\xd3\xff\xd0\xff\x01" + bomb[scan:-2]) * 60
    yield "escaped bytes before", bomb[:2] + b"\xff\x00\xff\x00" + bomb[2:]
    yield "a video after it", bomb + VIDEO
    yield "a whole photograph after it", bomb + encoded(random_photograph(1), ".jpg")


@pytest.mark.parametrize(("name", "content"), hidden_bombs(), ids=[name for name, _ in hidden_bombs()])
def test_a_bomb_of_scans_is_found_wherever_it_hides(tmp_path, name, content):
    assert count_scans(content) >= 60
    (tmp_path / "bomb.jpg").write_bytes(content)
    for read in (read_photograph, lambda path: read_crop(path, central_box(32), 32)):
        started = time.process_time()
        with pytest.raises(PhotographError, match=r"^a JPEG of \d+ scans, more than 50: save it anew$"):
            read(tmp_path / "bomb.jpg")
        assert time.process_time() - started < MOST_SECONDS


def test_a_bomb_that_no_decoder_reaches_is_no_reason_to_refuse(tmp_path, all_counted):
    photo = random_photograph(1, (320, 240))
    (tmp_path / "photo.jpg").write_bytes(encoded(photo, ".jpg", quality=95) + BOMB)
    started = time.process_time()
    assert difference(read_photograph(tmp_path / "photo.jpg"), photo) < 4
    assert time.process_time() - started < MOST_SECONDS


def test_a_bomb_in_the_second_picture_of_an_mpo_costs_nothing(tmp_path, all_counted):
    Image.init()
    if "MPO" not in Image.SAVE_ALL:
        pytest.skip("this Pillow cannot write MPO")
    first = random_photograph(1, (320, 240))
    first.save(tmp_path / "two.mpo", "MPO", save_all=True, append_images=[random_photograph(2, (320, 240))], quality=95)
    whole = (tmp_path / "two.mpo").read_bytes()
    (tmp_path / "two.mpo").write_bytes(whole[: whole.rfind(b"\xff\xd8\xff")] + BOMB)
    started = time.process_time()
    assert difference(read_photograph(tmp_path / "two.mpo"), first) < 4
    assert time.process_time() - started < MOST_SECONDS


def test_what_decodes_in_one_pass_is_known():
    photo = random_photograph(1)
    assert decodes_in_one_pass(encoded(photo, ".jpg"))
    assert decodes_in_one_pass(encoded(photo.convert("L"), ".jpg") + VIDEO)
    assert not decodes_in_one_pass(encoded(photo, ".jpg", progressive=True))
    assert not decodes_in_one_pass(encoded(photo, ".jpg")[:40])
    parts = bytearray(encoded(photo, ".jpg"))
    parts[parts.rfind(SCAN) + 4] = 1  # a scan of one of three components
    assert not decodes_in_one_pass(bytes(parts))

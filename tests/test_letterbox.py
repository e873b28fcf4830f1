"""--eval_crop letterbox: the whole photograph in its own proportions, in every place that shows photographs to a network."""

import numpy as np
import pytest
from color_profile_files import rgb_profile
from conftest import random_photograph
from PIL import Image, ImageOps

from data.boxes import letterbox
from data.photographs import GREY, crop, read_crop, read_photograph


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("size", [(60, 30), (20, 64), (50, 50), (301, 207)])
def test_a_letterbox_shows_the_whole_photograph_in_its_proportions_between_grey_bars(tmp_path, size):
    photo = random_photograph(1, size)
    photo.save(tmp_path / "photo.png")
    shown = read_crop(tmp_path / "photo.png", letterbox, 32)
    inside = photo.resize([max(1, round(32 * side / max(size))) for side in size], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels(shown), pixels(ImageOps.pad(inside, (32, 32), color=GREY)))
    flipped = read_crop(tmp_path / "photo.png", letterbox, 32, flip=True)
    np.testing.assert_array_equal(pixels(flipped), pixels(shown)[:, ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_letterbox_is_that_of_the_upright_photograph(tmp_path, orientation):
    photo, exif = random_photograph(1, (61, 30)), Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "turned.png", exif=exif)
    read_photograph(tmp_path / "turned.png").save(tmp_path / "upright.png")
    shown, expected = (read_crop(tmp_path / f"{name}.png", letterbox, 25) for name in ("turned", "upright"))
    assert np.abs(pixels(shown).astype(int) - pixels(expected)).max() <= 1  # resizing rounds before or after the turn
    assert (pixels(shown) == GREY).all(axis=2).sum() == (pixels(expected) == GREY).all(axis=2).sum() == 25 * (25 - 12)


def test_a_letterbox_of_a_large_jpeg_is_decoded_smaller(tmp_path, monkeypatch):
    photo = random_photograph(1, (1600, 1000))
    photo.save(tmp_path / "photo.jpg", quality=95)
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *args, **more: sizes.append(self.size) or resize(self, *args, **more)
    )
    shown = read_crop(tmp_path / "photo.jpg", letterbox, 64)
    assert sizes == [(200, 125)]  # an eighth, not more than is needed
    monkeypatch.undo()
    expected = ImageOps.pad(photo.resize((64, 40), Image.Resampling.BILINEAR), (64, 64), color=GREY)
    assert np.abs(pixels(shown).astype(int) - pixels(expected)).mean() < 1.5


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (2, 3)])
def test_a_letterbox_of_the_thinnest_photograph_shows_a_line(size):
    shown = pixels(crop(Image.new("RGB", size, "white"), letterbox, 16))
    seen = (shown == 255).all(axis=2)
    assert seen.sum() == (16 if 1 in size else 16 * 11)
    assert (shown[~seen] == GREY).all()


def test_the_colours_of_a_letterbox_s_photograph_are_converted_and_its_bars_are_not(tmp_path):
    random_photograph(2, (40, 20)).save(tmp_path / "adobe.png", icc_profile=rgb_profile())
    shown = pixels(read_crop(tmp_path / "adobe.png", letterbox, 40))
    assert (shown[:10] == GREY).all()
    assert (shown[30:] == GREY).all()
    np.testing.assert_array_equal(shown[10:30], pixels(read_photograph(tmp_path / "adobe.png")))

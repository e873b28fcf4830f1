"""Colours follow the embedded profile, wherever a photograph is read."""

import random

import numpy as np
import pytest
from color_profile_files import cmyk_profile, grey_profile, rgb_profile, to_srgb
from conftest import random_photograph
from PIL import Image, ImageCms

from data import color_profiles
from data.boxes import whole_box
from data.color_profiles import transform_to_srgb
from data.photographs import read_crop, read_photograph

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def save(image, path, **options):
    lossless = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}
    image.save(path, **lossless.get(path.suffix, {}), **options)


def pixels(image):
    return np.asarray(image).reshape(-1, 3).astype(int)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
@pytest.mark.parametrize("primaries", ["Adobe RGB", "Display P3"])
def test_colours_of_another_profile_become_srgb_whole_and_in_part(tmp_path, primaries, suffix):
    path = tmp_path / f"photo{suffix}"
    photo = random_photograph(1, (32, 32))
    save(photo, path, icc_profile=rgb_profile(primaries))
    expected = to_srgb(pixels(photo), primaries)
    for read in (read_photograph(path), read_crop(path, whole_box, 32)):
        errors = np.abs(pixels(read) - expected)
        assert errors.mean() < 1.5
        assert suffix == ".jpg" or errors.max() < 1.5
    assert np.abs(pixels(photo) - expected).mean() > 6  # what a reader gives that leaves the profile out


@pytest.mark.parametrize("mode", ["RGBA", "P", "RGB"])
def test_the_profile_holds_also_with_transparency_and_in_a_palette(tmp_path, mode):
    colour = (30, 200, 60)
    image = Image.new("RGB", (4, 4), colour)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "a.png", icc_profile=rgb_profile())
    assert np.abs(pixels(read_photograph(tmp_path / "a.png")) - to_srgb(np.array([colour]))).max() < 1.5


@pytest.mark.parametrize(("mode", "dtype"), [("L", np.uint8), ("LA", np.uint8), ("I;16", np.uint16)])
def test_grey_follows_a_grey_profile(tmp_path, mode, dtype):
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    image = Image.fromarray(np.arange(256, dtype=np.uint16)[None] * 257) if dtype == np.uint16 else ramp.convert(mode)
    image.save(tmp_path / "a.png", icc_profile=grey_profile(1.8))
    linear = (np.arange(256) / 255) ** 1.8
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(pixels(read_photograph(tmp_path / "a.png")) - expected[:, None]).max() < 1.5


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_follows_the_press(tmp_path, suffix):
    for ink, expected in (((0, 0, 0, 0), [255, 255, 255]), ((255, 0, 0, 0), [0, 141, 0])):
        save(Image.new("CMYK", (16, 16), ink), tmp_path / f"a{suffix}", icc_profile=cmyk_profile())
        for read in (read_photograph(tmp_path / f"a{suffix}"), read_crop(tmp_path / f"a{suffix}", whole_box, 8)):
            assert np.abs(pixels(read) - expected).max() <= 6


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", SRGB),
        ("RGB", b"\xff" * 999),
        ("RGB", rgb_profile()[:300]),
        ("RGB", rgb_profile()[:132] + random.Random(1).randbytes(360)),
        ("RGB", rgb_profile()[:300] + random.Random(1).randbytes(5 * 2**20)),
        ("RGB", grey_profile(1.0)),
        ("RGB", cmyk_profile()),
        ("L", rgb_profile()),
    ],
    ids=["srgb", "noise", "cut", "spoilt", "huge", "for grey", "for cmyk", "for colours"],
)
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_profile_that_is_srgb_damaged_huge_or_for_other_pixels_changes_nothing(tmp_path, mode, profile, suffix):
    if (mode, suffix) == ("L", ".webp"):
        pytest.skip("WebP has no grey")
    photo = random_photograph(1).convert(mode)
    save(photo, tmp_path / f"a{suffix}", icc_profile=profile)
    save(photo, tmp_path / f"plain{suffix}")
    assert (pixels(read_photograph(tmp_path / f"a{suffix}")) == pixels(read_photograph(tmp_path / f"plain{suffix}"))).all()


def test_a_transform_is_built_once_and_few_are_kept(monkeypatch):
    built = []
    build = color_profiles._build
    monkeypatch.setattr(color_profiles, "_build", lambda *arguments: built.append(arguments) or build(*arguments))
    monkeypatch.setattr(color_profiles, "_kept", {})
    for _ in range(3):
        assert transform_to_srgb(rgb_profile(), "RGB") is not None
        assert transform_to_srgb(SRGB, "RGB") is None
    assert len(built) == 2
    for number in range(40):
        transform_to_srgb(rgb_profile(gamma=1 + number / 64), "RGB")
    assert len(color_profiles._kept) == 16
    transform_to_srgb(rgb_profile(gamma=1 + 39 / 64), "RGB")
    assert len(built) == 42


def test_any_damage_of_a_profile_leaves_the_pixels_usable():
    for profile, mode in ((rgb_profile(), "RGB"), (grey_profile(1.8), "L"), (cmyk_profile(), "CMYK")):
        for seed in range(30):
            rng, damaged = random.Random(seed), bytearray(profile)
            for _ in range(rng.randrange(1, 9)):
                damaged[rng.randrange(20, min(len(profile), 300))] = rng.randrange(256)
            transform = transform_to_srgb(bytes(damaged), mode)
            assert transform is None or transform.apply(Image.new(mode, (2, 2))).mode == "RGB"

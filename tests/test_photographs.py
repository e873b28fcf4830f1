import numpy as np
import pytest
from conftest import random_photograph, resize_then_crop
from PIL import Image, ImageFile

from data.boxes import central_box, random_box, whole_box
from data.photograph_formats import SUFFIXES
from data.photographs import PhotographError, crop, read_crop, read_photograph, rotate

ORIENTATION_TAG = 0x0112
AS_STORED = {  # EXIF orientation -> what the camera stored of an upright photograph [H, W, 3]
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def pixels(image):
    return np.asarray(image).astype(int)


def difference(image, expected):
    """Mean absolute difference of two images, in grey levels of 0 to 255."""
    assert pixels(image).shape == pixels(expected).shape
    return np.abs(pixels(image) - pixels(expected)).mean()


@pytest.mark.parametrize("orientation", AS_STORED)
@pytest.mark.parametrize(("suffix", "options"), [(".jpg", {"quality": 95}), (".png", {}), (".tif", {}), (".webp", {})])
def test_the_camera_s_orientation_is_applied_to_the_whole_and_to_parts(tmp_path, suffix, options, orientation):
    upright = random_photograph(1, (93, 61))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    stored = Image.fromarray(np.ascontiguousarray(AS_STORED[orientation](np.asarray(upright))))
    stored.save(tmp_path / f"photo{suffix}", exif=exif, **options)

    assert difference(read_photograph(tmp_path / f"photo{suffix}"), upright) < 4
    box = (7.5, 20, 60.25, 58)
    part = read_crop(tmp_path / f"photo{suffix}", lambda width, height: box, 16)
    assert difference(part, upright.resize((16, 16), Image.Resampling.BILINEAR, box=box)) < 4


def test_the_box_is_chosen_on_the_upright_size(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    random_photograph(1, (30, 20)).save(tmp_path / "photo.jpg", exif=exif)
    sizes = []
    read_crop(tmp_path / "photo.jpg", lambda width, height: sizes.append((width, height)) or (0, 0, width, height), 8)
    assert sizes == [(20, 30)]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_leave_the_photograph_readable(tmp_path):
    photo = random_photograph(1)
    photo.save(tmp_path / "photo.jpg", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03damaged")
    assert difference(read_photograph(tmp_path / "photo.jpg"), photo) < 4


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_format_becomes_rgb(tmp_path, suffix, mode):
    photo = random_photograph(1).convert(mode)
    photo.save(tmp_path / f"photo{suffix}", **({"quality": 95} if suffix == ".jpg" else {}))
    read = read_photograph(tmp_path / f"photo{suffix}")
    assert read.mode == "RGB"
    assert suffix in SUFFIXES
    assert difference(read, photo.convert("RGB")) < 8  # a GIF has 256 colours


@pytest.mark.parametrize(("mode", "suffix", "tolerance"), [("CMYK", ".tif", 0), ("CMYK", ".jpg", 4), ("1", ".png", 0)])
def test_other_colour_modes_become_rgb(tmp_path, mode, suffix, tolerance):
    photo = random_photograph(1).convert(mode)
    photo.save(tmp_path / f"photo{suffix}", **({"quality": 95} if suffix == ".jpg" else {}))
    assert difference(read_photograph(tmp_path / f"photo{suffix}"), photo.convert("RGB")) <= tolerance


def test_a_palette_becomes_its_colours(tmp_path):
    photo = random_photograph(1).quantize(64)
    photo.save(tmp_path / "photo.png")
    assert difference(read_photograph(tmp_path / "photo.png"), photo.convert("RGB")) == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    image = Image.new("RGBA", (3, 1), (90, 90, 90, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    if mode == "P":
        image = image.quantize(8)
    else:
        image.putpixel((1, 0), (0, 0, 0, 128))
        image = image.convert(mode)
    image.save(tmp_path / "photo.png")
    read = pixels(read_photograph(tmp_path / "photo.png"))
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[0, 2].tolist() == [90, 90, 90]
    if mode != "P":
        assert read[0, 1] == pytest.approx([127, 127, 127], abs=1)


@pytest.mark.parametrize(("name", "dtype"), [("grey.png", "<u2"), ("grey.tif", "<u2"), ("grey.tif", ">u2")])
def test_16_bit_greyscale_is_scaled_to_8_bit(tmp_path, name, dtype):
    grey = np.arange(0, 65536, 7).reshape(1, -1).astype(dtype)
    Image.fromarray(grey).save(tmp_path / name)
    assert np.abs(pixels(read_photograph(tmp_path / name)) - grey[..., None] / 257).max() <= 1


def test_16_bit_greyscale_with_a_transparent_value_is_scaled_as_well(tmp_path):
    grey = np.arange(0, 65536, 7, dtype=np.uint16).reshape(1, -1)
    try:
        Image.fromarray(grey).save(tmp_path / "grey.png", transparency=5)
    except OSError:
        pytest.skip("this Pillow cannot write such a file")
    assert np.abs(pixels(read_photograph(tmp_path / "grey.png")) - grey[..., None] / 257).max() <= 1


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "photo.gif", save_all=True, append_images=frames[1:])
    assert pixels(read_photograph(tmp_path / "photo.gif"))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif"])
def test_a_truncated_file_is_refused_whole_or_in_part(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    random_photograph(1, (200, 160), cells=60).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for read in (read_photograph, lambda path: read_crop(path, central_box(8), 8)):
        with pytest.raises(PhotographError):
            read(path)


@pytest.mark.parametrize("content", [b"", b"not a photograph", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_a_file_that_is_no_photograph_is_refused_with_the_reason(tmp_path, content):
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(PhotographError, match=r"not an image|damaged"):
        read_photograph(tmp_path / "photo.jpg")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(PhotographError, match="no such file"):
        read_photograph(tmp_path / "photo.jpg")


def test_a_file_without_permission_is_not_called_damaged(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied", "photo.jpg")

    monkeypatch.setattr("data.photographs.open_regular", refuse)
    with pytest.raises(PhotographError, match=r"^no permission to read it$"):
        read_photograph(tmp_path / "photo.jpg")


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "photo.tif")
    with pytest.raises(PhotographError, match="floating-point"):
        read_photograph(tmp_path / "photo.tif")


def test_a_photograph_of_unreasonable_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    random_photograph(1).save(tmp_path / "photo.png")
    with pytest.raises(PhotographError, match=r"^48 x 40 pixels, more than 200 in all: make it smaller$"):
        read_photograph(tmp_path / "photo.png")


@pytest.mark.parametrize("orientation", [1, 3])
@pytest.mark.parametrize("image_size", [56, 112])
@pytest.mark.parametrize("size", [(300, 450), (515, 515), (1803, 1202), (2013, 1342)])
def test_evaluation_agrees_with_resize_then_crop_also_where_a_jpeg_is_decoded_smaller(tmp_path, size, image_size, orientation):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    photo = random_photograph(1, size, cells=20)
    stored = photo.transpose(Image.Transpose.ROTATE_180) if orientation == 3 else photo
    stored.save(tmp_path / "photo.jpg", quality=95, exif=exif)
    expected = resize_then_crop(photo, image_size)
    shift_of_one_pixel = np.abs(np.diff(pixels(expected), axis=1)).mean()
    crop = read_crop(tmp_path / "photo.jpg", central_box(image_size), image_size)
    assert difference(crop, expected) < 0.12 * shift_of_one_pixel


def test_a_large_jpeg_is_decoded_smaller(tmp_path, monkeypatch):
    random_photograph(1, (1600, 1600)).save(tmp_path / "photo.jpg")
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *args, **kw: sizes.append(self.size) or resize(self, *args, **kw))
    read_crop(tmp_path / "photo.jpg", central_box(64), 64)
    assert sizes == [(200, 200)]


def test_flip_mirrors_the_crop(tmp_path):
    random_photograph(1).save(tmp_path / "photo.png")
    box = lambda width, height: (3, 4, 30, 31)  # noqa: E731
    crop, flipped = (pixels(read_crop(tmp_path / "photo.png", box, 16, flip)) for flip in (False, True))
    assert (flipped == crop[:, ::-1]).all()
    assert (flipped != crop).any()


def test_a_photograph_in_memory_is_cut_as_its_file_is(tmp_path):
    photo = random_photograph(1)
    photo.save(tmp_path / "photo.png")
    for box in (central_box(16), whole_box, lambda width, height: (3, 4, 30, 31)):
        assert (pixels(crop(photo, box, 16, True)) == pixels(read_crop(tmp_path / "photo.png", box, 16, True))).all()


def test_the_whole_photograph_is_squeezed_into_the_square(tmp_path):
    photo = random_photograph(1, (90, 30))
    photo.save(tmp_path / "photo.png")
    expected = photo.resize((24, 24), Image.Resampling.BILINEAR)
    assert (pixels(read_crop(tmp_path / "photo.png", whole_box, 24)) == pixels(expected)).all()


@pytest.mark.parametrize("degrees", [-10.0, 3.7, 45.0])
def test_turning_is_paddle_s_rotation_and_leaves_black_corners(degrees):
    from paddle.vision import transforms

    photo = Image.new("RGB", (40, 40), (250, 200, 150))
    photo.paste(random_photograph(1, (24, 24)), (8, 8))
    turned = rotate(photo, degrees)
    assert turned.size == (40, 40)
    assert (pixels(turned) == pixels(transforms.rotate(photo, degrees))).all()
    assert pixels(turned)[0, 0].tolist() == [0, 0, 0]
    assert pixels(turned)[20, 2].tolist() == [250, 200, 150]


@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (1, 1), (1, 2000), (3000, 2)])
def test_random_parts_lie_inside_and_are_as_large_as_asked(width, height):
    shapes = []
    for seed in range(200):
        left, top, right, bottom = random_box(np.random.default_rng(seed), 0.25)(width, height)
        assert 0 <= left < right <= width + 1e-6
        assert 0 <= top < bottom <= height + 1e-6
        shapes.append(((right - left) * (bottom - top) / (width * height), (right - left) / (bottom - top)))
    areas, aspects = np.array(shapes).T
    assert (aspects >= 3 / 4 - 1e-6).all()
    assert (aspects <= 4 / 3 + 1e-6).all()
    if max(width, height) < 2 * min(width, height):
        assert areas.min() >= 0.25 - 1e-6
        assert areas.min() < 0.35
        assert areas.max() > 0.8


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (3000, 2)])
def test_the_smallest_and_longest_photographs_can_be_cropped(tmp_path, size):
    Image.new("RGB", size, (200, 0, 0)).save(tmp_path / "photo.jpg", quality=95)
    for box in (central_box(16), random_box(np.random.default_rng(1), 0.08)):
        assert np.abs(pixels(read_crop(tmp_path / "photo.jpg", box, 16)) - [200, 0, 0]).max() < 8


SPOILT = {  # formats with checksums, or whose rules leave little room -> options of PIL.Image.save
    "plain.png": {},
    "palette.png": {},
    "with EXIF.png": {"exif": b"MM\0*\0\0\0\x08\0\0\0\0\0\0"},
    "deflate.tif": {"compression": "tiff_adobe_deflate"},
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_pixels_are_named(tmp_path, name):
    for seed in range(60):
        rng, photo = np.random.default_rng(seed), random_photograph(seed, (96, 80), cells=20)
        (photo.quantize(64) if "palette" in name else photo).save(tmp_path / name, **SPOILT[name])
        content = bytearray((tmp_path / name).read_bytes())
        first, last = (content.find(b"IDAT") + 4, len(content) - 24) if ".png" in name else (300, len(content) - 400)
        start = rng.integers(first, last - 8)
        content[start : start + 8] = bytes(byte ^ 0xFF for byte in content[start : start + 8])
        (tmp_path / name).write_bytes(content)
        for read in (read_photograph, lambda path: read_crop(path, central_box(8), 8)):
            with pytest.raises(
                PhotographError, match=r"^damaged: (its pixels are wrong or incomplete|the file ends too early)$"
            ):
                read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("options", [{}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}])
def test_what_a_file_says_about_itself_hides_no_error_of_its_pixels(tmp_path, monkeypatch, suffix, options):
    path = tmp_path / f"photo{suffix}"
    random_photograph(1).save(path, **options)
    load = ImageFile.ImageFile.load
    first = []

    def fail_once(image):
        if not first:
            first.append(True)
            load(image)
            raise OSError("broken data stream when reading image file")
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail_once)
    with pytest.raises(PhotographError, match="pixels are wrong or incomplete"):
        read_photograph(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_checksums_are_right_where_nothing_is_wrong(tmp_path, suffix):
    photo = random_photograph(1, (300, 200), cells=60)
    for number, options in enumerate(({"compression": "tiff_deflate"}, {"compression": "tiff_adobe_deflate"})):
        options = options if suffix == ".tif" else {"compress_level": 9 * number}
        photo.save(tmp_path / f"{number}{suffix}", **options)
        assert difference(read_photograph(tmp_path / f"{number}{suffix}"), photo) == 0


@pytest.fixture
def limit_of_1000_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_over_the_limit_is_read_at_half_its_size(tmp_path, limit_of_1000_pixels, mode, orientation):
    photo, exif = random_photograph(1), Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    stored = Image.fromarray(np.ascontiguousarray(AS_STORED[orientation](np.asarray(photo))))
    stored.convert(mode).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    expected = photo.convert(mode).convert("RGB")
    half = expected.resize((24, 20), Image.Resampling.BOX)
    assert difference(read_photograph(tmp_path / "photo.jpg"), half) < 4
    sizes = []
    box = lambda width, height: sizes.append((width, height)) or (4, 8, 44, 38)  # noqa: E731
    part = read_crop(tmp_path / "photo.jpg", box, 32)  # which the half has too few pixels for
    assert sizes == [(48, 40)]
    assert difference(part, half.resize((32, 32), Image.Resampling.BILINEAR, box=(2, 4, 22, 19))) < 5


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("photo.png", (48, 40), {}),
        ("photo.tif", (48, 40), {}),
        ("photo.webp", (48, 40), {}),
        ("photo.jpg", (48, 40), {"progressive": True}),  # a decoder keeps all of it
        ("photo.jpg", (48, 60), {}),
    ],
)
def test_other_photographs_over_the_limit_are_refused_with_their_size(tmp_path, limit_of_1000_pixels, name, size, options):
    random_photograph(1, size).save(tmp_path / name, **options)
    with pytest.raises(PhotographError) as error:
        read_photograph(tmp_path / name)
    whole = f"{size[0]} x {size[1]} pixels, more than 1,000 in all: make it smaller"
    assert str(error.value) in (whole, "more than 1,000 pixels: make it smaller")  # of WebP Pillow says no size then


def test_a_photograph_of_200_megapixels_is_read(tmp_path):
    Image.new("L", (16320, 12240), 200).save(tmp_path / "photo.jpg", quality=75)
    crop = read_crop(tmp_path / "photo.jpg", central_box(56), 56)
    assert np.abs(pixels(crop) - 200).max() < 3


def test_a_png_with_a_long_text_is_read(tmp_path):
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 3_000_000, zip=True)
    random_photograph(1).save(tmp_path / "photo.png", pnginfo=text)
    assert difference(read_photograph(tmp_path / "photo.png"), random_photograph(1)) == 0


def test_a_webp_of_a_huge_canvas_is_refused_before_its_decoder_is_asked(tmp_path, monkeypatch):
    file = tmp_path / "canvas.webp"
    random_photograph(1).save(file, save_all=True, append_images=[random_photograph(2)])
    content = bytearray(file.read_bytes())
    assert content[12:16] == b"VP8X"
    content[24:30] = (59_999).to_bytes(3, "little") * 2
    file.write_bytes(content)
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: pytest.fail("it would allocate 29 GB"))
    with pytest.raises(PhotographError, match="60,000 x 60,000 pixels, more than 178,956,970 in all"):
        read_photograph(file)

import numpy as np
import pytest
from PIL import Image

from data.lists import write_lists
from machine.whole_file import whole_file

CLASSES = ("cat", "dog", "sheep")


def random_photograph(seed, size=(48, 40), cells=6):
    """A smooth random pattern, about ``cells`` blotches high, as an RGB PIL.Image."""
    rng = np.random.default_rng(seed)
    blotches = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    return blotches.resize(size, Image.Resampling.BICUBIC)


def resize_then_crop(image, image_size):
    """The crop of evaluation in two separate steps: shorter side to image_size * 256 / 224, then the central square."""
    scale = image_size * 256 / 224 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - image_size) // 2, (image.height - image_size) // 2
    return image.crop((left, top, left + image_size, top + image_size))


@pytest.fixture(scope="module")
def quick_pictures():
    """Pictures are composed as ever, and noise of as many bytes is written: drawing takes longer than training a tiny network.

    The value is the function that draws, for a test that looks at its picture.
    """
    from plots import figures

    noise = Image.effect_noise((220, 220), 64)

    def save_noise(figure, path):
        with whole_file(path) as temporary:
            noise.save(temporary, "PNG")

    with pytest.MonkeyPatch.context() as patch:
        draw = figures.save_figure
        patch.setattr(figures, "save_figure", save_noise)
        yield draw


@pytest.fixture
def weights_not_drawn(monkeypatch):
    """The convolutions of a ResNet are zero: where a network's parts and shapes matter, drawing values is most of the time."""
    import sa_resnet

    monkeypatch.setattr(sa_resnet, "KaimingNormal", lambda **options: sa_resnet.nn.initializer.Constant(0.0))


@pytest.fixture
def photo_folder(tmp_path):
    """Three class folders of six different JPEG photographs each."""
    folder = tmp_path / "photographs"
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            random_photograph((label, number)).save(folder / name / f"{name}_{number}.jpg", quality=90)
    return folder


@pytest.fixture
def listed_folder(photo_folder):
    """photo_folder with its lists: of each class four photographs for training, two for validation."""
    sides = [], []
    for label, name in enumerate(CLASSES):
        for number in range(6):
            sides[number >= 4].append((f"{name}/{name}_{number}.jpg", label))
    write_lists(photo_folder, CLASSES, *sides)
    return photo_folder

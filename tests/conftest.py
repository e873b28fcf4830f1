import os
import shutil

import numpy as np
import pytest
from PIL import Image

from data.lists import write_lists
from data.splitting import split_folder
from machine.temporary_folder import remove_temporary_folder
from machine.whole_file import whole_file

CLASSES = ("cat", "dog", "sheep")


def random_photograph(seed, size=(48, 40), cells=6):
    """A smooth random pattern, about ``cells`` blotches high, as an RGB PIL.Image."""
    rng = np.random.default_rng(seed)
    blotches = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    return blotches.resize(size, Image.Resampling.BICUBIC)


def fill(folder, names, first_seed=0):
    """Write a different photograph under each name; returns the folder."""
    for seed, name in enumerate(names, start=first_seed):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random_photograph(seed, (16, 12)).save(path)
    return folder


def write_listed_photographs(folder, classes=CLASSES, of_each_class=6, suffix=".png"):
    """Write photographs of ``classes`` and their lists into ``folder``: the first four of each class are to train on."""
    sides = [], []
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(of_each_class):
            random_photograph((label, number)).save(folder / name / f"{number}{suffix}")
            sides[number >= 4].append((f"{name}/{number}{suffix}", label))
    write_lists(folder, classes, *sides)


def split_photographs(root):
    """Write three classes of ten photographs into ``root``, and split them: 24 to train on, 6 to validate; returns it."""
    for label in range(3):
        folder = root / f"kind {label}"
        folder.mkdir()
        for index in range(10):
            random_photograph((label, index)).save(folder / f"{index}.png")
    split_folder(root, 0.2)
    return root


def printed(capfd):
    """(stdout, stderr) since the last call, without what Paddle 2.6's first predictor says in a process with our operators.

    Whether a test before this one has loaded them into this process is chance.
    """
    out, err = capfd.readouterr()
    return out, "".join(line for line in err.splitlines(True) if "has been registered. Therefore" not in line)


def resize_then_crop(image, image_size):
    """The crop of evaluation in two separate steps: shorter side to image_size * 256 / 224, then the central square."""
    scale = image_size * 256 / 224 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - image_size) // 2, (image.height - image_size) // 2
    return image.crop((left, top, left + image_size, top + image_size))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """What passed tests wrote goes, gigabytes in all. pytest has a policy for that, which removes folders too early."""
    of_session = getattr(session.config, "_tmp_path_factory", None)
    if exitstatus == 0 and of_session and not hasattr(session.config, "workerinput"):
        shutil.rmtree(of_session.getbasetemp(), ignore_errors=True)


@pytest.fixture(autouse=True)
def working_directory_stays():
    """A test that changes the working directory and leaves it would fail another test, in another file, at another time."""
    before = os.getcwd()
    yield
    after = os.getcwd()
    os.chdir(before)
    assert after == before, "the test changed the working directory: use monkeypatch.chdir"


@pytest.fixture(autouse=True, scope="module")
def temporary_folder_ends():
    """The temporary folder that scripts make, and tell the processes that they start of, ends with each file of tests."""
    yield
    remove_temporary_folder()


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


def _register_tiny_network(patch):
    import networks

    patch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))


@pytest.fixture
def register_tiny_network(monkeypatch):
    """The name resnet stands for tiny_network.TinyNetwork."""
    _register_tiny_network(monkeypatch)


@pytest.fixture(scope="module")
def tiny_run_place(tmp_path_factory):
    """A folder with ``data`` and ``runs`` with one run, resnet/001, of a tiny network, which shows whole photographs and
    normalises in its own way."""
    import train
    from config import Config

    folder = tmp_path_factory.mktemp("trained")
    write_listed_photographs(folder / "data")
    config = Config(
        net="resnet", data=str(folder / "data"), runs_dir=str(folder / "runs"), image_size=32, epochs=1, batch_size=4,
        num_workers=0, threads=2, eval_crop="resize", mean=(0.5, 0.25, 0.75), std=(0.5, 0.25, 1.0),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        _register_tiny_network(patch)
        assert train.main(config) == 0
    return folder


@pytest.fixture
def fused_on():
    """The fused operators must run: where they cannot, the test fails."""
    from ops import fused

    fused.set_mode("on")
    yield
    fused.set_mode("auto")


@pytest.fixture
def lanes(fused_on):
    """Channels in a block of the layout that oneDNN convolves in on this processor."""
    import paddle

    from ops import fused

    found = fused.lanes(paddle.ones([1, 64, 1, 1]))
    if not found:
        pytest.skip("oneDNN is not there, or has another layout on this processor")
    return found

"""The size of training images from epoch to epoch, and batch norm's statistics at the size of evaluation."""

import numpy as np
import paddle
import pytest
from conftest import split_photographs
from PIL import Image
from tiny_network import TinyNetwork, outcome

import networks
import train
from attention import ATTENTIONS
from config import Config, parse_config
from data.data_sets import open_side
from data.splitting import split_folder
from networks.classifier import Classifier
from sa_resnet import BlockAttention, Bottleneck, ResNet
from trained.history import read_history
from trained.trained_run import TrainedRun
from training import model as training_model
from training.batch_statistics import MAX_PHOTOGRAPHS, NORMS, estimate_statistics, photographs_for_statistics
from training.image_sizes import next_size, size_of_epoch
from training.model import TrainingModel

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.python_independent]


def sizes(epochs, full, progressive):
    return [size_of_epoch(epoch, epochs, full, progressive) for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("epochs", "full", "progressive", "expected"),
    [
        (10, 224, 0.5, [128, 128, 128, 160, 160, 192, 192, 224, 224, 224]),
        (10, 64, 0.5, [32, 40, 40, 48, 48, 56, 56, 64, 64, 64]),
        (5, 100, 0.5, [48, 64, 72, 88, 100]),
        (5, 300, 0.6, [192, 224, 256, 256, 300]),
        (4, 20, 0.1, [8, 8, 16, 20]),
        (1, 224, 0.5, [224]),
        (2, 224, 0.5, [128, 224]),
        (3, 224, 1.0, [224] * 3),
        (4, 8, 0.1, [8] * 4),
    ],
)
def test_images_grow_evenly_to_the_full_size_over_four_fifths_of_the_epochs(epochs, full, progressive, expected):
    assert sizes(epochs, full, progressive) == expected


@pytest.mark.parametrize("full", [8, 12, 31, 64, 127, 128, 129, 224, 256, 299, 4096])
def test_sizes_never_shrink_never_exceed_the_full_one_and_reach_it(full):
    for epochs in range(1, 40):
        for progressive in (0.1, 0.37, 0.5, 0.99):
            found = sizes(epochs, full, progressive)
            assert found == sorted(found)
            assert found[-1] == full
            assert min(found) >= 8
            multiple = 32 if full >= 128 else 8
            assert all(size % multiple == 0 for size in found if size != full)
            assert found.count(full) >= epochs // 5


def test_with_more_epochs_images_do_not_shrink_again():
    history = [{"train_size": size} for size in sizes(5, 64, 0.5)]
    assert history[-1]["train_size"] == 64
    assert [next_size(history, epochs, 64, 0.5) for epochs in (5, 10, 100)] == [64] * 3
    assert next_size(history[:3], 100, 64, 0.5) == history[2]["train_size"] == 48
    assert next_size([{"train_size": None}], 10, 64, 0.5) == 40, "a row from before the column existed"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of ten photographs: 24 to train on, 6 to validate."""
    return split_photographs(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))


def settings(data, runs_dir, **changes):
    chosen = {
        "net": "resnet", "data": str(data), "runs_dir": str(runs_dir), "image_size": 48, "epochs": 5, "batch_size": 6,
        "num_workers": 0, "threads": 2, "device": "cpu",
    }  # fmt: skip
    return Config(**{**chosen, **changes})


def seen_sizes(monkeypatch):
    """A list that each training step and each step of evaluation adds the side of its images to."""
    found = []

    def watch(method, original):
        def step(self, images, *arguments, **options):
            found.append((method, *images.shape[2:]))
            return original(self, images, *arguments, **options)

        monkeypatch.setattr(TrainingModel, method, step)

    for method in ("train_batch", "eval_batch"):
        watch(method, getattr(TrainingModel, method))
    return found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"progressive": 0.5}, [24, 32, 40, 40, 48]),
        ({"train_size": 40, "progressive": 0.5, "epochs": 3, "num_workers": 2}, [24, 32, 40]),
        ({"train_size": 40, "epochs": 2}, [40, 40]),
        ({"train_size": 56, "epochs": 1}, [56]),
        ({"epochs": 2}, [48, 48]),
    ],
)
def test_the_network_is_trained_at_the_sizes_that_the_history_names(data, tmp_path, monkeypatch, capsys, changes, expected):
    seen = seen_sizes(monkeypatch)
    assert train.main(settings(data, tmp_path, **changes)) == 0
    assert [row["train_size"] for row in read_history(tmp_path / "resnet" / "001")] == expected
    assert seen == [step for size in expected for step in [("train_batch", size, size)] * 4 + [("eval_batch", 48, 48)]]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    for size, line in zip(expected, lines):
        assert (f" images/s at {size} px  " in line) is (size != 48), line


GROWS = {"progressive": 0.5, "train_size": 40, "save_every_steps": 2, "epochs": 3, "ema_epochs": 0.5}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The outcome of a training whose images grow, and that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
        assert train.main(settings(data, folder, **GROWS)) == 0
    return outcome(folder / "resnet" / "001")


@pytest.mark.parametrize(
    ("place", "method", "times"),
    [
        (TrainingModel, "train_batch", 3),  # within the first epoch, at the smallest size
        (TrainingModel, "train_batch", 6),  # within the second
        (training_model, "estimate_statistics", 2),  # before the validation
        (TrainingModel, "eval_batch", 2),
    ],
)
def test_a_training_whose_images_grow_goes_on_exactly(data, tmp_path, monkeypatch, whole, place, method, times):
    original, calls = getattr(place, method), []

    def interrupted(*arguments, **options):
        found = original(*arguments, **options)
        calls.append(method)
        if len(calls) == times:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(place, method, interrupted)
        assert train.main(settings(data, tmp_path, **GROWS)) == 130
    run = tmp_path / "resnet" / "001"
    assert train.main(parse_config(["--resume", str(run), "--num_workers", "2"], "train")) == 0
    assert outcome(run) == whole


def test_a_training_with_more_epochs_keeps_the_size_that_it_has_reached(data, tmp_path):
    assert train.main(settings(data, tmp_path, progressive=0.5, epochs=2)) == 0
    run = tmp_path / "resnet" / "001"
    assert train.main(parse_config(["--resume", str(run), "--epochs", "6"], "train")) == 0
    assert [row["train_size"] for row in read_history(run)] == [24, 48, 48, 48, 48, 48]


def test_equal_sizes_cost_no_pass_over_photographs(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training_model, "estimate_statistics", lambda *arguments: pytest.fail("a pass that nobody needs"))
    assert train.main(settings(data, tmp_path, epochs=2, train_size=48)) == 0


# batch norm's statistics


def running(network):
    return {
        name: value.numpy().copy() for name, value in network.state_dict().items() if name.endswith(("._mean", "._variance"))
    }


def batches(*counts, size=32):
    rng = np.random.default_rng(0)
    return [
        [paddle.to_tensor(rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8)), paddle.arange(count)]
        for count in counts
    ]


def test_statistics_are_the_mean_and_variance_over_all_photographs_together():
    paddle.seed(1)
    classifier = Classifier(TinyNetwork(3))
    found = batches(5, 3, 4, size=20)
    before = {name: value.numpy().copy() for name, value in classifier.state_dict().items()}
    generator = paddle.get_rng_state()[0].current_seed()
    estimate_statistics(classifier, found)
    images = paddle.concat([images for images, _ in found])
    scaled = (images.astype("float32") / 255 - classifier.mean) / classifier.std
    maps = classifier.network.features[0](scaled).numpy()
    np.testing.assert_allclose(classifier.network.features[1]._mean.numpy(), maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(classifier.network.features[1]._variance.numpy(), maps.var((0, 2, 3)), rtol=1e-4)
    changed = {name for name, value in classifier.state_dict().items() if not np.array_equal(value.numpy(), before[name])}
    assert changed == {f"network.features.{place}.{part}" for place in (1, 4) for part in ("_mean", "_variance")}
    assert paddle.get_rng_state()[0].current_seed() == generator
    assert all(layer._momentum == 0.9 for layer in classifier.sublayers() if isinstance(layer, NORMS))


@pytest.mark.parametrize("attention", [None, *ATTENTIONS])
@pytest.mark.parametrize("form", ["NCHW", "NHWC"])
def test_every_batch_norm_of_every_attention_is_estimated_and_one_batch_gives_what_training_computes(attention, form):
    options = {"groups": 32} if attention == "shuffle" else {}
    layer = BlockAttention(attention, **options) if attention else None
    classifier = Classifier(ResNet((1, 1, 1, 1), 3, layer, block=Bottleneck, data_format=form))
    found = batches(4, size=64)
    before = running(classifier)
    estimate_statistics(classifier, found)
    after = running(classifier)
    assert all(not np.array_equal(after[name], before[name]) for name in before)
    assert len(before) == 2 * sum(isinstance(layer, NORMS) for layer in classifier.sublayers())
    in_evaluation = classifier(found[0][0]).numpy()
    classifier.train()
    np.testing.assert_allclose(classifier(found[0][0]).numpy(), in_evaluation, rtol=2e-3, atol=2e-3)


def test_frozen_batch_norms_keep_their_statistics():
    classifier = Classifier(TinyNetwork(3))
    classifier.freeze(classifier.network.stages()[0])
    before = running(classifier)
    estimate_statistics(classifier, batches(4))
    changed = {name for name, value in running(classifier).items() if not np.array_equal(value, before[name])}
    assert changed == {"network.features.4._mean", "network.features.4._variance"}


def test_the_photographs_follow_from_seed_and_epoch_and_look_as_in_evaluation(data, tmp_path):
    config = settings(data, tmp_path, seed=3, train_crop="random", rotation=20.0).resolved()
    shown = open_side(config.data_source(), "train", seed=3, **{**config.part("view"), "image_size": 24})
    plain = open_side(config.data_source(), "train", **{**config.part("view"), "train_crop": "resize", "rotation": 0.0})
    plain.train, plain.crop = False, "center"
    expected = {plain[index][0].tobytes() for index in range(len(plain))}

    def pictures(epoch):
        return [image.numpy().tobytes() for images, _ in photographs_for_statistics(shown, config, epoch) for image in images]

    assert set(pictures(0)) == expected
    assert pictures(0) == pictures(0)
    assert pictures(0) != pictures(1)
    assert len(expected) < MAX_PHOTOGRAPHS
    assert (shown.train, shown.image_size) == (True, 24), "the training's own data set is as it was"
    many = open_side(config.data_source(), "train", **config.part("view"))
    many.samples = many.samples * 20
    assert photographs_for_statistics(many, config, 0).batches.length == MAX_PHOTOGRAPHS


@pytest.fixture(scope="module")
def fine_patterns(tmp_path_factory):
    """Noise of single pixels, in one colour more than in the others: at a smaller size its contrast is a fraction."""
    root = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir()
        for index in range(14):
            strength = np.where(np.arange(3) == label, 60, 25)
            pixels = 128 + rng.normal(0, 1, (64, 64, 3)) * strength
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
    split_folder(root, 0.4)
    return root


@pytest.mark.parametrize("ema_epochs", [0.0, 0.25])
def test_evaluation_at_another_size_is_right_with_new_statistics_and_wrong_without(
    fine_patterns, tmp_path, monkeypatch, ema_epochs
):
    def trained(place):
        chosen = {"image_size": 56, "train_size": 16, "train_crop": "resize", "epochs": 8, "optimizer": "adam"}
        chosen |= {"flip": True, "label_smoothing": 0.1}
        assert train.main(settings(fine_patterns, place, learning_rate=0.05, ema_epochs=ema_epochs, **chosen)) == 0
        return read_history(place / "resnet" / "001")[-1]

    right = trained(tmp_path / "right")
    run = TrainedRun.open(tmp_path / "right" / "resnet" / "001")
    images = [run.read_photograph(path) for path in sorted(fine_patterns.glob("*/*.png"))]
    answers = run.predict(np.stack(images)).argmax(axis=1)
    assert (answers == np.repeat([0, 1, 2], 14)).mean() > 0.9, "the best weights are saved with the statistics that suit them"

    monkeypatch.setattr(training_model, "estimate_statistics", lambda *arguments: None)
    wrong = trained(tmp_path / "wrong")
    assert right["val_acc"] > 0.9 > 0.75 > wrong["val_acc"]
    assert 2 * right["val_loss"] < wrong["val_loss"]

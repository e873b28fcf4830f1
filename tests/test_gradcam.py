"""Grad-CAM, the gates of Shuffle Attention, and the script that draws both."""

import errno
import os
import shutil

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from cifar10_archive import contents, write_archive
from conftest import CLASSES as CLASSES_THERE
from conftest import random_photograph, write_listed_photographs
from paddle import nn
from PIL import Image
from safetensors.numpy import load_file

import gradcam
import networks
import train
from attention.shuffle_attention import ShuffleAttention
from config import Config
from data.data_folder import DataFolder
from data.data_source import DataSource
from data.lists import write_lists
from data.splitting import split_folder
from explanation import explain_photographs
from explanation.photograph_choice import true_classes
from explanation.shuffle_gates import shuffle_gates, stage_gates
from networks import NETWORKS, NetworkError, build_network
from networks.class_activation import grad_cam
from networks.classifier import Classifier
from ops.fused import plain_operators
from sa_resnet import BlockAttention, ResNet

CLASSES = ("dog", "sheep", "猫")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Glyph"),
    pytest.mark.python_independent,
]  # where no font has Chinese characters


class Quadrants(nn.Layer):
    """The logit of class k is the mean brightness of quadrant k, times ``signs``; 4 x 4 pixels to a position."""

    def __init__(self, signs=(1, 1, 1, 1), side=32):
        super().__init__()
        masks = np.zeros((1, 4, side // 4, side // 4), "float32")
        for quadrant in range(4):
            masks[0, quadrant][quadrant_of(side // 4, quadrant)] = 1
        self.register_buffer("masks", paddle.to_tensor(masks))
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.head = nn.Linear(4, 4)
        self.head.weight.set_value(paddle.to_tensor(np.diag(np.array(signs, "float32"))))

    def forward(self, images):
        brightness = F.avg_pool2d(images.astype("float32").mean(axis=1, keepdim=True), 4)
        return self.head(self.pool(brightness * self.masks).flatten(1))


def quadrant_of(side, quadrant):
    row, column = divmod(quadrant, 2)
    return slice(row * side // 2, (row + 1) * side // 2), slice(column * side // 2, (column + 1) * side // 2)


def random_images(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def tiny_resnet(num_classes, attention=None):
    return ResNet((1, 1, 1, 1), num_classes, attention)


def tiny_sa_resnet(num_classes):
    return ResNet((1, 2, 1, 1), num_classes, BlockAttention("shuffle", groups=8))


def randomised(network, seed=0):
    """Every parameter, and batch norm's statistics, away from where training starts."""
    rng = np.random.default_rng(seed)
    for name, value in network.state_dict().items():
        if value.ndim == 1 or ".sa." in name:
            low, high = (0.5, 1.5) if name.endswith(("_variance", "weight")) else (-0.5, 0.5)
            value.set_value(paddle.to_tensor(rng.uniform(low, high, value.shape).astype("float32")))
    return network


@pytest.fixture(autouse=True)
def seeded():
    paddle.seed(1)


# The maps


@pytest.mark.parametrize("quadrant", range(4))
def test_the_quadrant_that_decides_lights_up_and_no_other(quadrant):
    maps, _ = grad_cam(Quadrants(), np.full((1, 3, 32, 32), 200, np.uint8), [quadrant])
    inside = np.zeros((32, 32), bool)
    inside[quadrant_of(32, quadrant)] = True
    rows, columns = quadrant_of(32, quadrant)
    core = maps[0][rows, columns][4:-4, 4:-4]
    np.testing.assert_allclose(core, 1, rtol=1e-5)
    fading = F.max_pool2d(paddle.to_tensor(inside[None, None].astype("float32")), 5, 1, padding=2).numpy()[0, 0] > 0
    assert maps[0][~fading].max() == 0, "enlarging spreads a map by half a position at most"


def test_what_speaks_against_a_class_gives_a_map_of_zeros():
    images = np.full((2, 3, 32, 32), 200, np.uint8)
    maps, probabilities = grad_cam(Quadrants(signs=(1, -1, 1, 1)), images, [1, 2])
    assert maps[0].max() == 0
    assert maps[1].max() == pytest.approx(1)
    assert probabilities.shape == (2, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_for_a_resnet_it_is_the_weighted_sum_that_its_linear_layer_computes():
    """After global average pooling and one linear layer, dy / dA_k is w_k / (h w) everywhere: section 3.1 of the paper."""
    network = randomised(tiny_resnet(5))
    classifier, images, classes = Classifier(network), random_images(3, 96), np.array([4, 0, 2])
    maps, probabilities = grad_cam(classifier, images, classes)
    features = []
    handle = network.layer4.register_forward_post_hook(lambda layer, inputs, output: features.append(output.numpy()))
    network.eval()
    logits = classifier(paddle.to_tensor(images))
    handle.remove()
    weights = network.fc.weight.numpy()[:, classes]  # [K, N]
    coarse = np.maximum(np.einsum("kn,nkhw->nhw", weights, features[0]), 0)
    assert coarse.shape == (3, 3, 3)
    expected = F.interpolate(paddle.to_tensor(coarse[:, None]), size=[96, 96], mode="bilinear").numpy()[:, 0]
    largest = expected.max(axis=(1, 2), keepdims=True)
    assert (largest > 0).all()
    np.testing.assert_allclose(maps, expected / largest, atol=1e-4)
    np.testing.assert_allclose(probabilities, F.softmax(logits).numpy(), rtol=1e-5)


def test_without_classes_it_explains_the_predicted_ones():
    classifier, images = Classifier(randomised(tiny_resnet(5))), random_images(3, 64)
    maps, probabilities = grad_cam(classifier, images)
    np.testing.assert_array_equal(maps, grad_cam(classifier, images, probabilities.argmax(axis=1))[0])


def test_a_batch_gives_what_single_photographs_give():
    classifier, images, classes = Classifier(randomised(tiny_sa_resnet(5))), random_images(4, 64), [3, 1, 1, 0]
    maps, probabilities = grad_cam(classifier, images, classes)
    for i, label in enumerate(classes):
        alone, its_probabilities = grad_cam(classifier, images[i : i + 1], [label])
        np.testing.assert_allclose(maps[i], alone[0], atol=1e-4)
        np.testing.assert_allclose(probabilities[i], its_probabilities[0], rtol=1e-4)


def test_fused_and_plain_operators_give_the_same_maps_and_gates():
    classifier, images = Classifier(randomised(tiny_sa_resnet(5))), random_images(2, 64)
    maps, gates = grad_cam(classifier, images, [0, 1])[0], stage_gates(classifier, images)
    with plain_operators():
        np.testing.assert_allclose(grad_cam(classifier, images, [0, 1])[0], maps, atol=1e-3)
        for plain, other in zip(stage_gates(classifier, images), gates):
            np.testing.assert_allclose(plain.channel, other.channel, atol=1e-4)
            np.testing.assert_allclose(plain.spatial, other.spatial, atol=1e-4)


def test_the_network_is_left_as_it_was():
    classifier, images = Classifier(randomised(tiny_sa_resnet(5))), random_images(2, 64)
    classifier.train()
    classifier.network.layer2.eval()
    classifier(paddle.to_tensor(images)).sum().backward()
    before = {name: value.numpy().copy() for name, value in classifier.state_dict().items()}
    gradients = {name: p.grad.numpy().copy() for name, p in classifier.named_parameters() if p.grad is not None}
    modes = [layer.training for layer in classifier.sublayers(include_self=True)]
    with paddle.no_grad():
        assert grad_cam(classifier, images)[0].max() == pytest.approx(1)
    stage_gates(classifier, images)
    assert len(gradients) > 20
    for name, value in classifier.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name], name)
    for name, parameter in classifier.named_parameters():
        if name in gradients:
            np.testing.assert_array_equal(parameter.grad.numpy(), gradients[name], name)
    assert [layer.training for layer in classifier.sublayers(include_self=True)] == modes
    assert not any(layer._forward_pre_hooks or layer._forward_post_hooks for layer in classifier.sublayers())


def test_frozen_parameters_do_not_matter():
    classifier, images = Classifier(randomised(tiny_resnet(5))), random_images(2, 64)
    maps, _ = grad_cam(classifier, images)
    for parameter in classifier.parameters():
        parameter.stop_gradient = True
    np.testing.assert_allclose(grad_cam(classifier, images)[0], maps, atol=1e-5)


TWICE_THERE = ("sa_resnet50", "resnet50", "sa_resnet101", "sa_resnet152", "resnet101", "resnet152", "epsanet101")


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in TWICE_THERE])
def test_every_network_has_maps(name):
    side = 128 if name == "tower_net" else 64
    paddle.seed(0)
    maps, probabilities = grad_cam(Classifier(build_network(name, 3)), random_images(1, side), [1])
    assert (maps.shape, maps.dtype, probabilities.shape) == ((1, side, side), np.float32, (1, 3))
    assert np.isfinite(maps).all()
    assert 0 <= maps.min() <= maps.max() <= 1
    assert maps.max() in (0, pytest.approx(1))


class MeanOfAConvolution(nn.Layer):
    """A network without a pooling layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)

    def forward(self, images):
        return self.conv(images.astype("float32")).mean(axis=[2, 3])


class BrightnessOfChannels(nn.Layer):
    """A network none of whose layers gives a map."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, images):
        return self.head(images.astype("float32").mean(axis=[2, 3]))


def test_a_network_without_pooling_is_explained_at_its_last_map():
    maps, _ = grad_cam(MeanOfAConvolution(), random_images(2, 16), [0, 3])
    assert maps.shape == (2, 16, 16)
    assert maps.max() == pytest.approx(1)


def test_what_cannot_be_explained_is_refused():
    with pytest.raises(NetworkError, match="no layer of this network gives feature maps"):
        grad_cam(BrightnessOfChannels(), random_images(1, 16), [0])
    for classes, complaint in (([0], "one for each of 2"), ([0, 4], "the network has 4"), ([-1, 0], "the network has 4")):
        with pytest.raises(ValueError, match=complaint):
            grad_cam(Quadrants(), random_images(2, 32), classes)


# The gates


def numpy_gates(layer, x):
    """Equations 2 and 3 of the SA-Net paper, plane by plane."""
    count, channels = x.shape[:2]
    half = channels // (2 * layer.groups)
    sigmoid = lambda value: 1 / (1 + np.exp(-value))  # noqa: E731
    w1, b1, w2, b2 = (getattr(layer, name).numpy().ravel() for name in ("cweight", "cbias", "sweight", "sbias"))
    gamma, beta = layer.gn.weight.numpy(), layer.gn.bias.numpy()
    channel, spatial = np.zeros((count, channels // 2)), np.zeros((count, channels // 2, *x.shape[2:]))
    for n in range(count):
        for group in range(layer.groups):
            for k in range(half):
                first, second = x[n, group * 2 * half + k], x[n, group * 2 * half + half + k]
                normalised = (second - second.mean()) / np.sqrt(second.var() + 1e-5) * gamma[k] + beta[k]
                channel[n, group * half + k] = sigmoid(w1[k] * first.mean() + b1[k])
                spatial[n, group * half + k] = sigmoid(w2[k] * normalised + b2[k])
    return channel, spatial


def random_layer(gate):
    paddle.seed(0)
    layer = ShuffleAttention(24, groups=3, gate=gate)
    for parameter in layer.parameters():
        parameter.set_value(paddle.uniform(parameter.shape, min=-1.5, max=1.5))
    return layer


def test_gates_are_those_of_the_paper_s_equations():
    layer, x = random_layer("scale"), np.random.default_rng(0).normal(size=(2, 24, 5, 4)).astype("float32")
    for found, expected in zip(shuffle_gates(layer, paddle.to_tensor(x)), numpy_gates(layer, x)):
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("gate", ["scale", "conv"])
def test_gates_are_those_that_the_layer_applies(gate):
    layer, x = random_layer(gate), paddle.randn([2, 24, 5, 4])
    channel, spatial = shuffle_gates(layer, x)
    channel = channel.reshape([2, 3, 1, 4, 1, 1]).expand([2, 3, 1, 4, 5, 4])
    gates = paddle.concat([channel, spatial.reshape([2, 3, 1, 4, 5, 4])], axis=2).reshape([2, 24, 5, 4])
    np.testing.assert_allclose(F.channel_shuffle(x * gates, 2).numpy(), layer(x).numpy(), atol=1e-5)


def test_gates_of_a_network_are_those_of_its_layers_on_normalised_maps():
    classifier, images = Classifier(randomised(tiny_sa_resnet(5))), random_images(3, 64)
    stages = stage_gates(classifier, images, batch_size=2)
    assert [stage.stage for stage in stages] == ["layer1", "layer2", "layer3", "layer4"]
    assert [stage.channel.shape for stage in stages] == [(3, 1, 128), (3, 2, 256), (3, 1, 512), (3, 1, 1024)]
    assert [stage.spatial.shape for stage in stages] == [(3, 16, 16), (3, 8, 8), (3, 4, 4), (3, 2, 2)]
    block, seen = classifier.network.layer2[1], []
    classifier.eval()
    with plain_operators():
        handle = block.bn3.register_forward_post_hook(lambda layer, inputs, output: seen.append(output.numpy()))
        classifier(paddle.to_tensor(images))
        handle.remove()
    channel, spatial = numpy_gates(block.sa, seen[0])
    np.testing.assert_allclose(stages[1].channel[:, 1], channel, atol=1e-4)
    np.testing.assert_allclose(stages[1].spatial, spatial.mean(axis=1), atol=1e-4)


def test_without_shuffle_attention_there_are_no_gates():
    assert stage_gates(Classifier(tiny_resnet(3)), random_images(1, 64)) == []


def test_a_layer_outside_of_blocks_is_a_stage_of_its_own():
    network = build_network("tower_net", 3, attention="shuffle")
    stages = stage_gates(Classifier(network), random_images(1, 128))
    assert len(stages) == 4
    assert all(stage.stage.startswith("features.") and stage.channel.shape == (1, 1, 128) for stage in stages)
    np.testing.assert_allclose(stages[0].spatial, 1 / (1 + np.exp(-1)), rtol=1e-5)  # as training starts


# The script


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """The names "resnet" and "sa_resnet" stand for networks of four and five blocks."""
    register(monkeypatch)


def register(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "resnet", networks.Lazy(__name__, "tiny_resnet"))
    monkeypatch.setitem(networks.NETWORKS, "sa_resnet", networks.Lazy(__name__, "tiny_sa_resnet"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data folder of three classes with lists, and the folder of a run of either network on it."""
    folder = tmp_path_factory.mktemp("gradcam")
    write_listed_photographs(folder / "data", CLASSES, of_each_class=8, suffix=".jpg")
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        for net in ("resnet", "sa_resnet"):
            config = Config(net=net, data=str(folder / "data"), runs_dir=str(folder / "runs"), image_size=64, epochs=1,
                            batch_size=6, num_workers=0, threads=2, learning_rate=0.01)  # fmt: skip
            assert train.main(config) == 0
    return folder


def settings(trained, **changes):
    values = {"runs_dir": str(trained / "runs"), **changes}
    values = {name: tuple(map(str, value)) if isinstance(value, (list, tuple)) else value for name, value in values.items()}
    return Config(**values, given=frozenset(values))


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: the arguments of each call of draw_gradcam."""
    calls = []
    monkeypatch.setattr(explain_photographs, "draw_gradcam", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(explain_photographs, "draw_shuffle_gates", lambda *arguments: None)
    return calls


def refusal(capsys, config):
    assert gradcam.main(config) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("gradcam.py: error: ")
    return lines[-1]


def size(picture):
    with Image.open(picture) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def test_pictures_of_one_network_go_into_its_run(trained, capsys):
    run = trained / "runs" / "sa_resnet" / "001"
    before = load_file(run / "best.safetensors")
    heights = []
    for sample in (1, 3):
        assert gradcam.main(settings(trained, net="sa_resnet", sample=sample)) == 0
        heights.append(size(run / "gradcam.png")[1])
    assert heights[1] - heights[0] == pytest.approx(2 * 2.35 * 120, abs=2), "two rows more"
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines[0] == f"3 of 12 photographs of {trained / 'data' / 'val_list.txt'}"
    assert lines[1].startswith("sa_resnet: ")
    assert lines[1].endswith(" of 3 predictions right")
    assert lines[2:] == [
        f"Grad-CAM: {run / 'gradcam.png'}",
        f"gates of Shuffle Attention: {run / 'gradcam_attention.png'}",
    ]
    assert size(run / "gradcam_attention.png")[1] > size(run / "gradcam.png")[1]
    for name, value in load_file(run / "best.safetensors").items():
        np.testing.assert_array_equal(value, before[name])


def test_several_networks_stand_side_by_side_in_a_folder_of_their_own(trained, tmp_path, capsys):
    both = settings(trained, nets=("resnet", "sa_resnet"), sample=2)
    assert gradcam.main(both) == 0
    folder = trained / "runs" / "gradcam" / "001"
    assert {entry.name for entry in folder.iterdir()} == {"gradcam.png", "gradcam_attention_sa_resnet.png"}
    runs = [trained / "runs" / net / "001" for net in ("resnet", "sa_resnet")]
    picture = tmp_path / "both.png"
    assert gradcam.main(settings(trained, runs=runs, sample=2, picture=str(picture))) == 0
    assert picture.read_bytes() == (folder / "gradcam.png").read_bytes(), "the same photographs of the same networks"
    assert gradcam.main(both) == 0
    assert (folder.parent / "002").is_dir(), "nothing is overwritten"
    alone = tmp_path / "alone.png"
    assert gradcam.main(settings(trained, run=str(runs[0]), sample=2, picture=str(alone))) == 0
    assert size(alone)[0] < size(picture)[0]
    assert size(alone)[1] == size(picture)[1]
    assert not (tmp_path / "alone_attention.png").exists()


def test_rows_are_the_validation_photographs_as_evaluation_shows_them(trained, drawn):
    assert gradcam.main(settings(trained, net="resnet")) == 0
    [(labels, [(name, images, explanations)], _)] = drawn
    assert name == "resnet"
    assert labels == [(f"{kind}/{number}.jpg", kind) for kind in CLASSES for number in range(4, 8)]
    assert (images.shape, images.dtype, len(explanations)) == ((12, 64, 64, 3), np.uint8, 12)
    for explanation, (_, true_class) in zip(explanations, labels):
        assert explanation.right == (explanation.predicted.name == true_class)
        assert (explanation.true is None) == explanation.right
        if explanation.true:
            assert explanation.true.name == true_class
            assert explanation.true.probability <= explanation.predicted.probability
            assert explanation.true.heat.shape == (64, 64)


def test_photographs_of_an_archive_are_explained(tmp_path, drawn):
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", contents(6))
    config = Config(net="resnet", dataset="cifar10", data=str(archive), runs_dir=str(tmp_path / "runs"), image_size=32,
                    epochs=1, batch_size=16, num_workers=0, train_crop="resize", eval_crop="resize")  # fmt: skip
    assert train.main(config) == 0
    assert gradcam.main(settings(tmp_path, net="resnet", sample=3)) == 0
    [(labels, [(_, images, _)], _)] = drawn
    assert all(name.startswith("test_batch/") and true_class for name, true_class in labels)
    assert images.shape == (3, 32, 32, 3)


def test_the_seed_decides_the_sample(trained, drawn):
    for seed in (0, 0, 1):
        assert gradcam.main(settings(trained, net="resnet", sample=4, seed=seed)) == 0
    rows = [labels for labels, _, _ in drawn]
    assert rows[0] == rows[1] != rows[2]


def test_files_and_folders_are_explained_and_their_classes_known_where_they_are(trained, tmp_path, drawn, capsys):
    strange = tmp_path / "strange"
    (strange / "inside").mkdir(parents=True)
    random_photograph(1).save(strange / "inside" / "one.PNG")
    random_photograph(2).save(strange / ".hidden.png")
    (strange / "notes.txt").write_text("no photograph")
    os.symlink(trained / "data" / "sheep" / "0.jpg", strange / "linked.jpg")
    unlisted = trained / "data" / "dog" / "new.png"
    random_photograph(3).save(unlisted)
    images = [trained / "data" / "猫" / "5.jpg", unlisted, strange]
    assert gradcam.main(settings(trained, net="resnet", images=images)) == 0
    unlisted.unlink()
    [(labels, [(_, _, explanations)], _)] = drawn
    assert labels == [("猫/5.jpg", "猫"), ("dog/new.png", "dog"), ("inside/one.PNG", None), ("strange/linked.jpg", "sheep")]
    assert [explanation.right is None for explanation in explanations] == [False, False, True, False]
    assert explanations[2].true is None
    assert "of 3 predictions right" in capsys.readouterr().out


def test_a_class_that_the_network_has_not_is_no_wrong_prediction():
    images = np.zeros((3, 3, 32, 32), np.uint8)
    for index, quadrant in enumerate((2, 1, 3)):
        images[index][(slice(None), *quadrant_of(32, quadrant))] = 250
    found = explain_photographs.explain(Quadrants(), images, ["c", "unicorn", "a"], ["a", "b", "c", "d"])
    assert [explanation.predicted.name for explanation in found] == ["c", "b", "d"]
    assert [explanation.right for explanation in found] == [True, None, False]
    assert [explanation.true and explanation.true.name for explanation in found] == [None, None, "a"]
    assert found[2].true.heat.max() == 0, "quadrant a is dark"


def test_unreadable_photographs_are_named_and_left_out(trained, tmp_path, drawn, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"no picture at all")
    good = trained / "data" / "dog" / "1.jpg"
    images = [tmp_path / "bad.jpg", good, tmp_path / "missing.jpg"]
    assert gradcam.main(settings(trained, net="resnet", images=images)) == 0
    assert [label for label, _ in drawn[0][0]] == ["dog/1.jpg"]
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("running on the processor")] == [
        f"left out: {tmp_path / 'bad.jpg'}: not an image, or in a format that is not read",
        f"left out: {tmp_path / 'missing.jpg'}: there is no such file",
    ]


def runs_and_files(trained):
    return sorted(path for path in (trained / "runs").rglob("*"))


@pytest.mark.parametrize("nets", [("resnet",), ("resnet", "sa_resnet")])
def test_where_no_photograph_can_be_read_one_line_says_why_and_nothing_is_left(trained, tmp_path, capsys, nets):
    folder = tmp_path / "holiday"
    (folder / "album").mkdir(parents=True)
    for number in range(5):
        (folder / "album" / f"{number}.jpg").write_bytes(b"no picture at all")
    before = runs_and_files(trained)
    for images, said in (
        ([folder], f"none of 5 photographs can be read: {folder / 'album' / '0.jpg'}: not an image, or in a format"),
        ([folder], "read, and 2 more"),
        ([tmp_path / "gone"], f"none of 1 photographs can be read: {tmp_path / 'gone'}: there is no such file"),
    ):
        assert gradcam.main(settings(trained, nets=nets, images=images)) == 2
        [line] = lines_about_photographs(capsys)
        assert line.startswith("gradcam.py: error: none of ")
        assert said in line
    assert runs_and_files(trained) == before


def lines_about_photographs(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running on the processor")]


def test_a_folder_without_photographs_is_named(trained, tmp_path, drawn, capsys):
    empty = tmp_path / "empty"
    (empty / "notes").mkdir(parents=True)
    (empty / "notes" / "list.txt").write_text("milk")
    assert gradcam.main(settings(trained, net="resnet", images=[empty])) == 2
    [line] = lines_about_photographs(capsys)
    assert line == f"gradcam.py: error: images = {empty}: no photograph there or in folders below"
    good = trained / "data" / "dog" / "1.jpg"
    assert gradcam.main(settings(trained, net="resnet", images=[empty, good])) == 0
    [line] = lines_about_photographs(capsys)
    assert line == f"left out: {empty}: no photograph there or in folders below"
    assert [label for label, _ in drawn[0][0]] == ["dog/1.jpg"]


def test_a_folder_that_cannot_be_read_is_named(trained, tmp_path, drawn, monkeypatch, capsys):
    folder = tmp_path / "some"
    (folder / "locked").mkdir(parents=True)
    random_photograph(1).save(folder / "one.png")
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert gradcam.main(settings(trained, net="resnet", images=[folder])) == 0
    assert lines_about_photographs(capsys) == [f"left out: {folder / 'locked'} cannot be read: Permission denied"]
    assert [label for label, _ in drawn[0][0]] == ["some/one.png"]


def test_a_grid_that_cannot_be_written_leaves_no_folder(trained, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = runs_and_files(trained)
    monkeypatch.setattr(explain_photographs, "draw_gradcam", full)
    assert "No space left" in refusal(capsys, settings(trained, nets=("resnet", "sa_resnet"), sample=2))
    assert set(runs_and_files(trained)) - set(before) <= {trained / "runs" / "gradcam"}


def test_networks_are_named_in_one_way_only(trained, capsys):
    run = str(trained / "runs" / "resnet" / "001")
    assert "run and nets are both given" in refusal(capsys, settings(trained, run=run, nets=("resnet",)))
    assert "holds resnet, not sa_resnet" in refusal(capsys, settings(trained, run=run, net="sa_resnet"))
    assert "a run is given twice" in refusal(capsys, settings(trained, runs=(run, run)))
    assert "there is no checkpoint" in refusal(capsys, settings(trained, run=str(trained)))
    assert "python train.py --net vgg19 --runs_dir" in refusal(capsys, settings(trained, net="vgg19"))


def test_another_validation_list_is_refused_unless_asked_for(trained, tmp_path, drawn, capsys):
    other = tmp_path / "other"
    for name in CLASSES[1:]:
        (other / name).mkdir(parents=True)
        random_photograph(name.encode()[0]).save(other / name / "1.jpg")
    write_lists(other, CLASSES[1:], [("sheep/1.jpg", 0)], [("猫/1.jpg", 1)])
    os.rename(trained / "data", trained / "moved")
    try:
        assert "there is no" in refusal(capsys, settings(trained, net="resnet"))
    finally:
        os.rename(trained / "moved", trained / "data")
    assert gradcam.main(settings(trained, net="resnet", data=str(other))) == 0
    assert drawn[0][0] == [("猫/1.jpg", "猫")], "a class is known by its name, whatever its label is there"
    listed = trained / "data" / "val_list.txt"
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace("dog/4.jpg 0\n", ""), encoding="utf-8")
    try:
        assert "is not the list that" in refusal(capsys, settings(trained, net="resnet"))
    finally:
        listed.write_text(text, encoding="utf-8")


def test_the_data_folder_itself_has_no_class(listed_folder):
    assert true_classes(DataSource("folder", str(listed_folder)), {"cat"})(listed_folder) is None


def split_already(listed_folder):
    """The photographs of listed_folder in PART/CLASS, with one in a folder that no list has."""
    root = listed_folder.with_name("split already")
    for name in CLASSES_THERE:
        for number in range(6):
            part = ("train", "train", "valid", "test", "test", "unlisted")[number]
            (root / part / name / "dog").mkdir(parents=True, exist_ok=True)
            shutil.copy(listed_folder / name / f"{name}_{number}.jpg", root / part / name)
    return root


def test_the_classes_of_a_folder_that_is_split_already_are_known(listed_folder, capsys):
    root = split_already(listed_folder)
    split_folder(root)
    classes = DataFolder(root).class_of_paths()
    assert sum(path.startswith("test/") for path in classes) == 6
    known = true_classes(DataSource("folder", str(root)), set(CLASSES_THERE))
    for part, number in (("train", 0), ("valid", 2), ("test", 4), ("unlisted", 5)):
        for name in CLASSES_THERE:
            assert known(root / part / name / f"{name}_{number}.jpg") == name
    # class folders alone: the folder of a class may be below others, and has the photographs at any depth
    assert known(root / "test" / "cat" / "dog" / "new.jpg") == "cat"
    assert known(root / "test" / "new.jpg") is None
    assert known(root / "test" / "cat") is None, "a file with the name of a class"


def test_a_class_known_from_the_test_list_needs_no_class_folder(listed_folder):
    (listed_folder / "others").mkdir()
    (listed_folder / "cat" / "cat_5.jpg").rename(listed_folder / "others" / "1.jpg")
    listed = listed_folder / "val_list.txt"
    listed.write_text(listed.read_text().replace("cat/cat_5.jpg 0\n", ""))
    known = true_classes(DataSource("folder", str(listed_folder)), set(CLASSES_THERE))
    assert known(listed_folder / "others" / "1.jpg") is None
    (listed_folder / "test_list.txt").write_text("others/1.jpg 0\n")
    known = true_classes(DataSource("folder", str(listed_folder)), set(CLASSES_THERE))
    assert known(listed_folder / "others" / "1.jpg") == "cat"


def test_class_folders_of_an_archive_count_where_its_lists_are_bad(photo_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (photo_folder / "labels.txt").write_text("cat\n\ndog\n")
    archive = shutil.make_archive(str(tmp_path / "photographs"), "zip", photo_folder)
    root = DataFolder.open(archive).root
    assert true_classes(DataSource("folder", archive), {"cat"})(root / "cat" / "cat_0.jpg") == "cat"
    assert "labels.txt line 2 is blank" in capsys.readouterr().err

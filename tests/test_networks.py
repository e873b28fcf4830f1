"""The table of networks, and the classifier that takes raw pixels."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from attention import ATTENTIONS, attention_layer
from attention.cbam import CBAM
from attention.spatial_group import SpatialGroupEnhance
from config import Config, config_of_checkpoint, load_config
from networks import NETWORKS, WITHOUT_NORM, NetworkError, build_network
from networks.classifier import Classifier
from training.losses import TrainingLoss
from training.model import TrainingModel
from training.state import seed_generators

pytestmark = pytest.mark.python_independent


SAME = ("sa_resnet50", "resnet50")  # as sa_resnet and resnet
DEEPER = ("resnet34", "resnet101", "resnet152", "sa_resnet101", "sa_resnet152", "epsanet101")  # more of the same blocks


def build_seeded(name):
    paddle.seed(3)
    network = build_network(name, 5)
    if name == "vgg19":  # 120 of its 140 million weights are those of two linear layers, Paddle's own
        network.classifier[0], network.classifier[3] = paddle.nn.Linear(25088, 32), paddle.nn.Linear(32, 4096)
    return network


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in SAME + DEEPER])
def test_every_network_learns_saves_and_repeats(name, tmp_path):
    smallest = 128 if name == "tower_net" else 32
    generator = np.random.default_rng(0)
    images, labels = paddle.to_tensor(generator.normal(size=(5, 3, smallest, smallest)).astype("float32")), paddle.arange(5)
    network, again = build_seeded(name), build_seeded(name)
    norms = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
    assert (name in WITHOUT_NORM) == (not norms), "the default learning rate goes by it"
    network.eval()
    assert network(paddle.randn([1, 3, smallest + 32, smallest + 5])).shape == [1, 5]
    before = network(images).numpy()
    again.eval()
    np.testing.assert_array_equal(again(images).numpy(), before, err_msg="the seed decides the weights")

    network.train()
    loss = F.cross_entropy(_without_dropout(network)(images), labels)
    loss.backward()
    without = [n for n, p in network.named_parameters() if not p.stop_gradient and p.grad is None]
    assert without == []
    gradients = [p for p in network.parameters() if not p.stop_gradient]
    # a step along the negative gradient, short enough for the loss to follow it
    norm = sum(float(p.grad.square().sum()) for p in gradients) ** 0.5
    optimizer = paddle.optimizer.SGD(0.02 * float(loss) / norm**2, parameters=network.parameters())
    optimizer.step()
    optimizer.clear_grad()
    assert float(F.cross_entropy(network(images), labels)) < float(loss)

    network.eval()
    save_network(network, tmp_path / "network.safetensors")
    again.set_state_dict(load_file(tmp_path / "network.safetensors"))
    np.testing.assert_array_equal(again(images).numpy(), network(images).numpy())

    for trained in (network, again):  # with dropout, where there is one
        paddle.rand([1 + (trained is again)])  # the generator's state must not matter
        model = TrainingModel(trained)
        model.prepare(paddle.optimizer.Momentum(1e-3, parameters=trained.parameters()), TrainingLoss())
        seed_generators(3, epoch=0, step=0)
        model.train_batch(images, [labels])
    for (tensor, value), other in zip(network.state_dict().items(), again.state_dict().values()):
        assert value.numpy().tobytes() == other.numpy().tobytes(), f"{tensor}: the seed decides what training makes of it"


@pytest.mark.version_independent  # they have the layers of the others
@pytest.mark.parametrize("name", DEEPER)
def test_a_deeper_network_trains_every_parameter_saves_and_repeats(name, tmp_path):
    images, labels = paddle.randn([2, 3, 32, 37]), paddle.to_tensor([0, 3])
    network, steps = build_seeded(name), []
    start = {tensor: value.numpy().copy() for tensor, value in network.state_dict().items()}
    for _ in range(2):
        network.set_state_dict(start)
        model = TrainingModel(network)
        model.prepare(paddle.optimizer.Momentum(1e-3, parameters=network.parameters()), TrainingLoss())
        seed_generators(3, epoch=0, step=0)
        model.train_batch(images, [labels], update=False)
        assert [n for n, p in network.named_parameters() if not p.stop_gradient and p.grad is None] == []
        model.train_batch(images, [labels])
        steps.append({tensor: value.numpy().copy() for tensor, value in network.state_dict().items()})
    for tensor, value in steps[0].items():
        assert value.tobytes() == steps[1][tensor].tobytes(), f"{tensor}: the seed decides what training makes of it"
    network.eval()
    assert network(images).shape == [2, 5]
    save_network(network, tmp_path / "network.safetensors")
    loaded = load_file(tmp_path / "network.safetensors")
    assert all(np.array_equal(loaded[tensor], value) for tensor, value in steps[1].items())


def _without_dropout(network):
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.eval()
    return network


def save_network(network, path):
    save_file({name: value.numpy() for name, value in network.state_dict().items()}, path)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.usefixtures("weights_not_drawn")
def test_any_depth_takes_any_attention(name, attention):
    options = {"sa_groups": 32} if attention == "shuffle" and name in ("resnet18", "resnet34") else {}
    network = build_network(name, 3, attention=attention, **options)
    layers = [layer for layer in network.sublayers() if isinstance(layer, attention_layer(attention))]
    assert len(layers) == {"resnet18": 8, "resnet34": 16, "resnet50": 16, "resnet101": 33}[name]


def test_a_network_of_a_name_is_the_general_form():
    paddle.seed(1)
    named = build_network("cbam_resnet50", 3)
    paddle.seed(1)
    general = build_network("resnet50", 3, attention="cbam")
    for name, value in named.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), general.state_dict()[name].numpy(), err_msg=name)


def test_tower_net_refuses_photographs_that_its_poolings_would_empty():
    with pytest.raises(ValueError, match="images of 64 x 96 pixels: tower_net needs at least 128 a side"):
        build_network("tower_net", 3)(paddle.zeros([1, 3, 96, 64]))


def test_tower_net_without_attention_has_the_same_parameters():
    plain, attentive = (build_network("tower_net", 3, attention=a).state_dict() for a in ("none", "simam"))
    assert sum(v.size for v in plain.values()) == sum(v.size for v in attentive.values())
    assert len(plain) == len(attentive)


def test_unknown_network_lists_the_names():
    with pytest.raises(
        ValueError, match=r"unknown network 'sa_resnt', did you mean sa_resnet\?; one of: sa_resnet, .*resnet152"
    ):
        build_network("sa_resnt", 10)


def test_option_of_another_network_is_refused():
    with pytest.raises(ValueError, match="resnet has no option 'depth'; it has: attention, zero_init_residual, sa_groups"):
        build_network("resnet", 10, depth=18)
    with pytest.raises(ValueError, match="sa_resnet has no option 'attention'; it has: zero_init_residual, sa_groups"):
        build_network("sa_resnet", 10, attention="se")
    with pytest.raises(ValueError, match="resnet: without attention there is no option sa_groups"):
        build_network("resnet", 10, sa_groups=32)
    with pytest.raises(ValueError, match="se_resnet50: se has no option 'sa_groups': leave it out"):
        build_network("se_resnet50", 10, sa_groups=32)


def test_groups_reach_the_attention_layers():
    network = build_network("sa_resnet", 10, sa_groups=32)
    assert network.layer1[0].sa.cweight.shape == [1, 4, 1, 1]
    with pytest.raises(ValueError, match="multiple of 2 \\* groups = 512"):
        build_network("sa_resnet", 10, sa_groups=128 + 128)  # the first stage has 256 channels, 512 would be needed


def test_a_function_of_ones_own_is_a_network(monkeypatch):
    def my_net(num_classes, width=4):
        if width > 8:
            raise ValueError(f"width = {width}: at most 8")
        return paddle.nn.Linear(width, num_classes)

    monkeypatch.setitem(NETWORKS, "my_net", my_net)
    assert build_network("my_net", 3, width=5).weight.shape == [5, 3]
    with pytest.raises(NetworkError, match="my_net: width = 9: at most 8"):
        build_network("my_net", 3, width=9)


@pytest.mark.usefixtures("weights_not_drawn")
@pytest.mark.parametrize(
    ("settings", "earlier"),
    [
        ({"net": "sge_resnet50"}, True),
        ({"net": "cbam_resnet50"}, True),
        ({"net": "resnet18", "attention": "sge"}, True),
        ({"net": "tower_net", "attention": "sge"}, True),
        ({"net": "sge_resnet50", "earlier_attention": False}, False),
        ({"net": "se_resnet50"}, False),
        ({"net": "resnet"}, False),
        ({"net": "vgg19"}, False),
    ],
)
def test_runs_from_before_the_corrections_keep_what_they_were_trained_with(tmp_path, settings, earlier):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    for config in (load_config(tmp_path / "config.yaml"), config_of_checkpoint({"config": settings}, "last.safetensors")):
        assert config.earlier_attention is earlier
        if config.net == "vgg19":
            continue
        network = build_network(config.net, 3, **config.network_options())
        found = {getattr(layer, "earlier", None) for layer in network.sublayers() if isinstance(layer, SpatialGroupEnhance)}
        found |= {layer.bn._momentum < 0.95 for layer in network.sublayers() if isinstance(layer, CBAM)}
        assert found == ({earlier} if config.attention_of_network() in ("sge", "cbam") else set())
    assert not Config(net=settings["net"]).earlier_attention, "a new run"


class Identity(paddle.nn.Layer):
    def forward(self, x):
        return x


def test_classifier_normalises_raw_pixels_by_its_own_mean_and_deviation():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    normalised = Classifier(Identity(), mean, std)(paddle.to_tensor(images)).numpy()
    expected = (images / 255.0 - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    np.testing.assert_allclose(normalised, expected, rtol=1e-5, atol=1e-5)


def test_classifier_saves_its_preprocessing_but_does_not_learn_it():
    classifier = Classifier(paddle.nn.Linear(2, 2))
    assert {"mean", "std"} <= set(classifier.state_dict())
    assert {name for name, _ in classifier.named_parameters()} == {"network.weight", "network.bias"}


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (1, 1, 1)), ((0, 0, 0), (1, 0, 1)), ((0, 0, 0), (1, 1))])
def test_classifier_refuses_unusable_preprocessing(mean, std):
    with pytest.raises(ValueError, match="expected three values each"):
        Classifier(Identity(), mean, std)

"""Stages of networks, and trainings that keep the first ones as they start."""

import re

import numpy as np
import paddle
import pytest
from conftest import split_photographs
from safetensors.numpy import load_file, save_file
from tiny_network import TinyNetwork, outcome

import networks
import train
from attention import ATTENTIONS
from config import Config, ConfigError, parse_config
from networks import NETWORKS, NetworkError, build_network
from networks.classifier import Classifier
from networks.stages import first_stages, last_linear
from sa_resnet import BasicBlock, BlockAttention, Bottleneck, ResNet
from training.losses import TrainingLoss
from training.model import TrainingModel
from training.optimization import build_optimizer
from training.session import build_classifier

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.python_independent]

STAGES = {"vgg19": 6, "mobilenet_v2": 5, "tower_net": 6}
BUILT_ALIKE = ("sa_resnet50", "resnet50", "resnet101", "resnet152", "sa_resnet101", "sa_resnet152", "epsanet101")


@pytest.mark.usefixtures("weights_not_drawn")
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in BUILT_ALIKE])
def test_the_stages_of_a_network_hold_all_but_its_last_layer_once_and_in_order(name):
    network = build_network(name, 3)
    stages = network.stages()
    assert len(stages) == STAGES.get(name, 4)
    found = [parameter.name for stage in stages for layer in stage for parameter in layer.parameters()]
    last = {parameter.name for parameter in last_linear(network)[1].parameters()}
    assert sorted(found) == sorted(parameter.name for parameter in network.parameters() if parameter.name not in last)
    assert len(last) == 2
    order = [parameter.name for parameter in network.parameters()]
    assert sorted(found, key=order.index) == found


def one_block_a_stage(block, **options):
    return lambda: ResNet((1, 1, 1, 1), 3, block=block, **options)


SMALL = {
    "basic": one_block_a_stage(BasicBlock),
    "bottleneck": one_block_a_stage(Bottleneck),
    "bottleneck in NHWC": one_block_a_stage(Bottleneck, data_format="NHWC"),
    **{name: one_block_a_stage(Bottleneck, attention=BlockAttention(name, **({"groups": 32} if name == "shuffle" else {})))
       for name in ATTENTIONS},
    "epsanet50": lambda: build_network("epsanet50", 3),
    "tower_net": lambda: build_network("tower_net", 3, attention="cbam"),
    "mobilenet_v2": lambda: build_network("mobilenet_v2", 3),
    "tiny": lambda: TinyNetwork(3),
}  # fmt: skip


def bits(tensors):
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("all_of_them", [False, True])
def test_frozen_weights_and_statistics_keep_their_bits_and_all_others_change(name, all_of_them):
    paddle.seed(2)
    network = SMALL[name]()
    frozen = first_stages(network, len(network.stages()) if all_of_them else 1, name)
    classifier = Classifier(network)
    classifier.freeze(frozen)
    model = TrainingModel(classifier)
    model.prepare(build_optimizer(classifier, 3, 1, learning_rate=0.05, head_lr=0.2, weight_decay=0.1), TrainingLoss())
    kept = {parameter.name for layer in frozen for parameter in layer.parameters()}
    before, size = bits(network.state_dict()), {"tower_net": 128, "tiny": 32}.get(name, 64)
    for step in range(3):
        images = paddle.to_tensor(np.random.default_rng(step).integers(0, 256, (3, 3, size, size), dtype=np.uint8))
        model.train_batch(images, [paddle.arange(3)])
    for tensor, value in network.state_dict().items():
        assert (value.numpy().tobytes() == before[tensor]) is (value.name in kept), tensor
        assert not (value.name in kept and value.grad is not None), f"{tensor}: a gradient that nobody needs"
    owners = {name.rpartition("_")[0] for name in model._optimizer.state_dict()}
    assert not any(owner.startswith(f"{parameter}_") for owner in owners for parameter in kept)


def test_a_frozen_layer_computes_in_training_what_it_computes_in_evaluation():
    network = TinyNetwork(3)
    classifier = Classifier(network)
    classifier.freeze(first_stages(network, 2, "tiny"))  # with its dropout
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))
    classifier.train()
    in_training = classifier(images).numpy()
    classifier.eval()
    np.testing.assert_array_equal(classifier(images).numpy(), in_training)


def test_more_stages_than_there_are_and_a_network_without_any_are_refused():
    with pytest.raises(NetworkError, match=r"^freeze = 5: resnet18 has 4 stages, so give at most --freeze 4$"):
        first_stages(ResNet((1, 1, 1, 1), 3), 5, "resnet18")
    with pytest.raises(NetworkError, match=r"^freeze = 1: my_net does not name its stages; leave --freeze out$"):
        first_stages(paddle.nn.Linear(2, 2), 1, "my_net")


def test_random_weights_are_not_frozen():
    with pytest.raises(ConfigError, match=r"^freeze = 2 without init_from: .*; give --init_from FILE or --pretrained$"):
        Config(freeze=2)
    assert Config(freeze=2, pretrained=True).freeze == 2


@pytest.mark.parametrize(
    ("attention", "refused"),
    [("shuffle", False), ("sge", False), ("simam", False), ("se", True), ("cbam", True)],
)
def test_frozen_stages_whose_weights_are_not_in_the_file_are_refused(tmp_path, monkeypatch, capsys, attention, refused):
    options = {"groups": 32} if attention == "shuffle" else {}
    monkeypatch.setitem(
        NETWORKS, "resnet", lambda num_classes: ResNet((1, 1, 1, 1), num_classes, BlockAttention(attention, **options))
    )
    plain = ResNet((1, 1, 1, 1), 5)
    save_file({name: value.numpy() for name, value in plain.state_dict().items()}, tmp_path / "plain.safetensors")
    config = Config(net="resnet", init_from=str(tmp_path / "plain.safetensors"), freeze=2).resolved()
    if refused:
        with pytest.raises(ValueError, match=r"tensors of the frozen stages are not in it and would stay random: layer1\.0\."):
            build_classifier(config, 5)
    else:
        assert len(build_classifier(config, 5).frozen) == 4


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three classes of ten photographs, and the weights of a TinyNetwork for other classes."""
    root = split_photographs(tmp_path_factory.mktemp("data"))
    paddle.seed(5)
    weights = {name: value.numpy() for name, value in TinyNetwork(4).state_dict().items()}
    save_file(weights, tmp_path_factory.mktemp("weights") / "start.safetensors")
    return root, tmp_path_factory.getbasetemp() / "weights0" / "start.safetensors"


def settings(place, runs_dir, **changes):
    chosen = {
        "net": "resnet", "data": str(place[0]), "runs_dir": str(runs_dir), "image_size": 32, "epochs": 2, "batch_size": 8,
        "num_workers": 0, "threads": 2, "save_every_steps": 2, "init_from": str(place[1]), "freeze": 1, "head_lr": 0.05,
        "device": "cpu",
    }  # fmt: skip
    return Config(**{**chosen, **changes})


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw"])
def test_a_fine_tuning_goes_on_exactly_and_keeps_the_frozen_stage(place, tmp_path, monkeypatch, optimizer):
    monkeypatch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
    assert train.main(settings(place, tmp_path / "whole", optimizer=optimizer)) == 0
    original, calls = TrainingModel.train_batch, []

    def interrupted(*arguments, **options):
        calls.append(None)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModel, "train_batch", interrupted)
        assert train.main(settings(place, tmp_path, optimizer=optimizer)) == 130
    run = tmp_path / "resnet" / "001"
    assert train.main(parse_config(["--resume", str(run)], "train")) == 0
    assert outcome(run) == outcome(tmp_path / "whole" / "resnet" / "001")
    start, end = load_file(place[1]), load_file(run / "last.safetensors")
    for name in ("features.0.weight", "features.1.weight", "features.1._mean", "features.1._variance"):
        assert end[f"network.{name}"].tobytes() == start[name].tobytes()
    assert not np.array_equal(end["network.features.3.weight"], start["features.3.weight"])
    assert not any(re.match(r"optimizer/network\.features\.[01]\.", name) for name in end)


def test_a_rate_for_the_last_layer_and_frozen_stages_also_suit_a_head_that_is_loaded(place, tmp_path, monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
    assert train.main(settings(place, tmp_path, epochs=1)) == 0
    first = tmp_path / "resnet" / "001" / "best.safetensors"
    assert train.main(settings(place, tmp_path, epochs=1, init_from=str(first), freeze=2)) == 0
    start, end = load_file(first), load_file(tmp_path / "resnet" / "002" / "last.safetensors")
    changed = {name for name in start if not np.array_equal(start[name], end[name])}
    assert changed == {"network.head.weight", "network.head.bias"}

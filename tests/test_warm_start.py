"""Networks start from weights of files: names, layouts, what is refused, and the exact start with attention."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from authors_forms import conv2d, drawn, relu
from safetensors.numpy import load_file, save_file
from torch_files import Call, Global, state_dict, write_legacy, write_zip

import networks
import train
from attention import attention_layer
from comparison.compared_settings import training_settings
from config import MAX_SEED, Config, ConfigError, load_config, parse_config
from networks import build_network
from networks.classifier import Classifier
from ops.batch_norm import BatchNorm2D
from sa_resnet import BasicBlock, BlockAttention, Bottleneck, ResNet, conv
from trained.checkpoint import save_checkpoint
from trained.trained_run import TrainedRun
from training.session import build_classifier
from weights.kernel_sizes import eca_kernel_sizes, with_kernel_sizes
from weights.pretrained import pretrained_file
from weights.warm_start import start_from
from weights.weight_files import WeightFileError

pytestmark = pytest.mark.python_independent

CLASSES = 5


class Small(paddle.nn.Layer):
    """The first layers of a ResNet, its blocks (one without, one with a convolution in the shortcut) and its head."""

    def __init__(self, num_classes, attention, block, blocks):
        super().__init__()
        planes = 64 // block.expansion
        self.conv1, self.bn1 = conv(3, 64, 7, stride=2), BatchNorm2D(64)
        self.layer1 = paddle.nn.Sequential(*(block(64, planes, index + 1, attention) for index in range(blocks)))
        self.fc = paddle.nn.Linear(64, num_classes)

    def forward(self, x):
        return self.fc(self.layer1(self.bn1(self.conv1(x), relu=True)).mean(axis=[2, 3]))


def tiny(attention=None, num_classes=CLASSES, blocks=2, **options):
    """A ``Small`` whose batch norms have running statistics, weights and biases as after a training."""
    layer = None if attention is None else BlockAttention(attention, **options)
    return trained(Small(num_classes, layer, Bottleneck, blocks))


def trained(network):
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            for tensor, low, high in ((layer.weight, 0.5, 1.5), (layer.bias, -0.3, 0.3), (layer._mean, -0.3, 0.3)):
                tensor.set_value(paddle.uniform(tensor.shape, min=low, max=high))
            layer._variance.set_value(paddle.uniform(layer._variance.shape, min=0.5, max=2.0))
    network.eval()
    return network


def values(network):
    return {name: value.numpy() for name, value in network.state_dict().items()}


def as_pytorch(network):
    """The state_dict of ``network`` as PyTorch has it: other names, linear weights [out, in], one number a batch norm more."""
    linear = {f"{path}.weight" for path, layer in network.named_sublayers() if isinstance(layer, paddle.nn.Linear)}
    found = {}
    for name, value in values(network).items():
        name, value = name.replace("._mean", ".running_mean"), value.T if name in linear else value
        found[name.replace("._variance", ".running_var")] = value
        if name.endswith(".running_mean"):
            found[name.replace("running_mean", "num_batches_tracked")] = np.array(7)
    return found


def logits(network, pixels=32):
    generator = np.random.default_rng(0)
    with paddle.no_grad():
        return network(paddle.to_tensor(generator.normal(size=(4, 3, pixels, pixels)).astype("float32"))).numpy()


def error_of(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def refusal(path, network):
    before = values(network)
    with pytest.raises(WeightFileError) as error:
        start_from(path, network)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    for name, value in values(network).items():
        np.testing.assert_array_equal(value, before[name], f"{name} changed")
    return str(error.value)


# Names and layouts


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("attention", [None, "shuffle", "se", "eca", "sge", "simam"])
def test_weights_of_pytorch_give_its_function(tmp_path, write, attention):
    options = {"groups": 8} if attention == "shuffle" else {}
    source, network = tiny(attention, **options), tiny(attention, **options)
    checkpoint = {"epoch": 3, "state_dict": state_dict({f"module.{k}": v for k, v in as_pytorch(source).items()})}
    lines = start_from(write(tmp_path / "checkpoint.pth.tar", checkpoint), network)
    count = len(network.state_dict())
    assert lines[0] == f"weights of {tmp_path / 'checkpoint.pth.tar'}: {count} of the network's {count} tensors loaded"
    assert lines[1:] == (["  SimAM has no parameters: if the file's network lacks it, this network computes something else"]
                         if attention == "simam" else [])  # fmt: skip
    np.testing.assert_array_equal(logits(network), logits(source))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_of_the_attention_s_authors_are_ours(tmp_path, prefix):
    theirs = {"cbam": {"fc1": "ChannelGate.mlp.1", "fc2": "ChannelGate.mlp.3", "conv": "SpatialGate.spatial.conv",
                       "bn": "SpatialGate.spatial.bn"}, "se": {"fc1": "fc.0", "fc2": "fc.2"}}  # fmt: skip
    for attention, renamed in theirs.items():
        source, network, found = tiny(attention), tiny(attention), {}
        for name, value in as_pytorch(source).items():
            for ours, original in renamed.items():
                name = name.replace(f".{attention}.{ours}.", f".{attention}.{original}.")
            # its authors stack the maximum on the mean
            found[prefix + name] = value[:, ::-1].copy() if name.endswith("spatial.conv.weight") else value
        assert len(start_from(write_zip(tmp_path / attention, found), network)) == 1
        np.testing.assert_array_equal(logits(network), logits(source))


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_names_of_simams_authors_are_ours_and_leave_nothing_random(tmp_path, block):
    appended = {"bn2": "bn2.0", "bn3": "bn3.0", "se.fc1": "bn3.1.fc.0", "se.fc2": "bn3.1.fc.2"}
    for attention, renamed in (("simam", {"conv2": "conv2.0"}), ("se", appended if block is Bottleneck else {})):
        source, network = (trained(Small(CLASSES, BlockAttention(attention), block, 2)) for _ in range(2))
        found = {}
        for name, value in as_pytorch(source).items():
            for ours, theirs in renamed.items():
                name = name.replace(f"layer1.0.{ours}.", f"layer1.0.{theirs}.").replace(
                    f"layer1.1.{ours}.", f"layer1.1.{theirs}."
                )
            found[name] = value
        lines = start_from(write_zip(tmp_path / attention, found), network)
        hint = ["  the authors trained for ImageNet with --e_lambda 0.1, this network has 0.0001"] * (attention == "simam")
        assert lines[1:] == hint
        np.testing.assert_array_equal(logits(network), logits(source))


def test_what_is_said_of_simams_own_weights_depends_on_the_network(tmp_path):
    state = {name.replace(".conv2.", ".conv2.0."): value for name, value in as_pytorch(tiny("simam")).items()}
    path = write_zip(tmp_path / "w", state)
    assert len(start_from(path, tiny("simam", e_lambda=0.1))) == 1
    plain = start_from(path, tiny())
    assert plain[1:] == ["  the file's network has SimAM, this one does not, so it computes something else"]


def test_names_of_the_older_se_resnet_are_ours_and_its_other_strides_are_named(tmp_path):
    source, network = tiny("se", num_classes=9), tiny("se")
    renamed = {"conv1.": "layer0.conv1.", "bn1.": "layer0.bn1.", "fc.": "last_linear."}
    found = {}
    for name, value in as_pytorch(source).items():
        first = name.split(".")[0] + "."
        theirs = name.replace(first, renamed[first]) if first in renamed else name.replace(".se.", ".se_module.")
        found[theirs] = value[..., None, None] if ".se_module." in theirs and value.ndim > 1 else value
    lines = start_from(write_zip(tmp_path / "w", found), network)
    assert "9), a head for other classes" in lines[2]
    assert lines[1].startswith("  the file's SE-ResNet pools without padding and halves its maps in the first convolution")
    for name, value in values(source).items():
        if not name.startswith("fc."):
            np.testing.assert_array_equal(values(network)[name], value, name)


class SmallVGG(paddle.nn.Layer):
    """The layers of a VGG, with fewer and narrower ones."""

    def __init__(self, num_classes=CLASSES):
        super().__init__()
        nn = paddle.nn
        self.features = nn.Sequential(nn.Conv2D(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2D(2, 2))
        self.avgpool = nn.AdaptiveAvgPool2D(7)
        self.classifier = nn.Sequential(
            nn.Linear(4 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, num_classes)
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def test_timms_vgg_whose_linear_layers_are_convolutions_gives_its_function(tmp_path):
    shapes = {"features.0": (4, 3, 3, 3), "pre_logits.fc1": (8, 4, 7, 7), "pre_logits.fc2": (8, 8, 1, 1), "head.fc": (5, 8)}
    state = drawn({f"{name}.{part}": shape if part == "weight" else shape[:1]
                   for name, shape in shapes.items() for part in ("weight", "bias")})  # fmt: skip
    network = SmallVGG()
    network.eval()
    assert len(start_from(write_zip(tmp_path / "w", state_dict(state)), network)) == 1
    x = np.random.default_rng(0).normal(size=(2, 3, 14, 14)).astype("f4")
    y = relu(conv2d(x, state["features.0.weight"], state["features.0.bias"], padding=1))
    y = y.reshape(2, 4, 7, 2, 7, 2).max(axis=(3, 5))
    for name in ("pre_logits.fc1", "pre_logits.fc2"):
        y = relu(conv2d(y, state[f"{name}.weight"], state[f"{name}.bias"]))
    expected = y[:, :, 0, 0] @ state["head.fc.weight"].T + state["head.fc.bias"]
    assert error_of(network(paddle.to_tensor(x)).numpy(), expected) < 1e-5


def test_se_without_biases_computes_what_it_does_in_its_file(tmp_path):
    source, network = tiny("se"), tiny("se")
    for block in source.layer1:
        for linear in (block.se.fc1, block.se.fc2):
            linear.bias.set_value(paddle.zeros_like(linear.bias))
    biases = [name for name in values(source) if ".se." in name and name.endswith(".bias")]
    path = write_zip(tmp_path / "w", {name: value for name, value in as_pytorch(source).items() if name not in biases})
    lines = start_from(path, network)
    assert lines[1:] == [f"  set to zero: 4 that the file's SE does not have: {', '.join(biases[:3])} and 1 more"]
    np.testing.assert_array_equal(logits(network), logits(source))


def test_linear_layers_written_as_convolutions_and_gates_with_a_side_more_are_taken(tmp_path):
    for attention, widen in (("se", lambda v: v[..., None, None]), ("sge", lambda v: v[..., None])):
        source, network = tiny(attention), tiny(attention)
        found = {name: widen(v) if f".{attention}." in name and v.ndim > 1 else v for name, v in as_pytorch(source).items()}
        start_from(write_zip(tmp_path / attention, found), network)
        np.testing.assert_array_equal(logits(network), logits(source))


class Square(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.first, self.fc = paddle.nn.Linear(4, 4), paddle.nn.Linear(4, 4)


def test_the_format_and_not_the_shape_decides_whether_linear_weights_are_transposed(tmp_path):
    array = np.arange(16, dtype="float32").reshape(4, 4)
    state = {"first.weight": array, "first.bias": np.ones(4, "f4"), "fc.weight": array, "fc.bias": np.ones(4, "f4")}
    paddle.save(state, str(tmp_path / "paddle"))
    save_file(state, tmp_path / "safetensors", metadata={"format": "pt"})
    write_zip(tmp_path / "torch", state)
    for name, expected in {"paddle": array, "torch": array.T, "safetensors": array.T}.items():
        network = Square()
        start_from(tmp_path / name, network)
        np.testing.assert_array_equal(network.first.weight.numpy(), expected)
        np.testing.assert_array_equal(network.fc.weight.numpy(), expected)


def test_weights_of_paddle_vision_give_its_function(tmp_path):
    source = trained(paddle.vision.models.resnet18(num_classes=CLASSES))
    paddle.save(source.state_dict(), str(tmp_path / "w.pdparams"))
    network = build_network("resnet18", CLASSES)
    start_from(tmp_path / "w.pdparams", network)
    network.eval()
    assert error_of(logits(network), logits(source)) < 1e-5


def test_a_run_s_checkpoint_starts_another_without_its_preprocessing_and_optimizer(tmp_path):
    source, network = tiny(), tiny()
    optimizer = paddle.optimizer.Momentum(0.1, parameters=source.parameters())
    source(paddle.ones([2, 3, 32, 32])).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "last.safetensors", Classifier(source, (0.5,) * 3, (0.5,) * 3), {"epoch": 1}, optimizer)
    assert len(start_from(tmp_path / "last.safetensors", network)) == 1
    np.testing.assert_array_equal(logits(network), logits(source))


# What is left out and what is refused


def test_a_head_for_other_classes_stays_as_drawn_and_is_reported(tmp_path):
    source, network = tiny(num_classes=1000), tiny()
    drawn = network.fc.weight.numpy()
    lines = start_from(write_zip(tmp_path / "w", as_pytorch(source)), network)
    assert "  left out: fc.weight (64, 1000), a head for other classes: the network's is (64, 5)" in lines
    assert "  left out: fc.bias (1000,), a head for other classes: the network's is (5,)" in lines
    assert "  kept random: 2 that were not loaded: fc.weight, fc.bias" in lines
    np.testing.assert_array_equal(network.fc.weight.numpy(), drawn)
    np.testing.assert_array_equal(network.conv1.weight.numpy(), source.conv1.weight.numpy())


def test_what_only_one_side_has_is_reported(tmp_path):
    network = tiny(blocks=3)
    path = write_zip(tmp_path / "w", {**as_pytorch(tiny()), "extra.weight": np.ones(3, "f4")})
    lines = start_from(path, network, allow_partial=True)
    assert "  left out: 1 that this network does not have: extra.weight" in lines
    assert any(line.startswith("  kept random: 20 that were not loaded: layer1.2.conv1.weight, ") for line in lines)


def test_a_file_that_would_leave_much_random_is_refused_unless_the_user_insists(tmp_path):
    source, network = tiny(blocks=3), tiny(blocks=3)
    state = as_pytorch(source)
    renamed = {name.replace("layer1.2.", "layer1.last."): value for name, value in state.items()}
    complaint = refusal(write_zip(tmp_path / "w", renamed), network)
    counted = sum(value.size for name, value in network.named_parameters() if not value.stop_gradient) - 64 * 5 - 5
    lost = sum(value.size for name, value in network.layer1[2].named_parameters() if not value.stop_gradient)
    assert complaint == (
        f"{tmp_path / 'w'}: {lost / counted:.0%} of the values that this network learns would stay random, more than 10%: "
        f"layer1.2.conv1.weight, layer1.2.bn1.weight, layer1.2.bn1.bias and 9 more; the file has layer1.last.conv1.weight, "
        f"layer1.last.bn1.weight, layer1.last.bn1.bias and 17 more instead: choose the --net that it belongs to, or insist "
        f"with --allow_partial"
    )
    lines = start_from(tmp_path / "w", network, allow_partial=True)
    assert any(line.startswith("  kept random: 20 that were not loaded") for line in lines)
    np.testing.assert_array_equal(network.conv1.weight.numpy(), source.conv1.weight.numpy())


def test_a_file_without_a_head_and_with_a_tenth_missing_is_taken(tmp_path):
    network = tiny(num_classes=1000)  # most of its values are the head's
    state = {name: value for name, value in as_pytorch(tiny(num_classes=1000)).items() if not name.startswith("fc.")}
    assert "kept random: 2 that were not loaded" in start_from(write_zip(tmp_path / "w", state), network)[1]
    less = {name: value for name, value in state.items() if "layer1.1.conv1" not in name}  # 1,024 of 18,370 values
    assert "kept random: 3 that were not loaded" in start_from(write_zip(tmp_path / "w", less), network)[1]


def test_attention_may_be_missing_where_the_file_has_none_but_not_under_another_name(tmp_path):
    network = tiny("se", reduction=1)  # over half of its values are those of attention
    lines = start_from(write_zip(tmp_path / "plain", as_pytorch(tiny())), network)
    assert "kept random: 8 that were not loaded: layer1.0.se.fc1.weight" in lines[1]
    state = {name.replace(".se.", ".gate."): value for name, value in as_pytorch(tiny("se", reduction=1)).items()}
    assert "would stay random, more than 10%: layer1.0.se.fc1.weight" in refusal(write_zip(tmp_path / "w", state), network)


def test_insisting_does_not_make_a_file_of_nothing_fit(tmp_path):
    path = write_zip(tmp_path / "w", {f"backbone.{name}": value for name, value in as_pytorch(tiny()).items()})
    with pytest.raises(WeightFileError, match="weights of another network: only 0 of this network's 42 tensors"):
        start_from(path, tiny(), allow_partial=True)


def changed(name, value):
    return lambda state: {**state, name: value(state[name])}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed("bn1.weight", lambda v: v[:32]), "bn1.weight has shape (32,), the network's is (64,)"),
        (changed("fc.weight", lambda v: v[:, :32].copy()), "fc.weight has shape (32, 5), the network's is (64, 5)"),
        (changed("fc.bias", lambda v: v[:3]), "fc.bias has shape (3,), the network's is (5,)"),
        (changed("bn1.weight", lambda v: v + np.nan), "bn1.weight holds NaN or infinite values"),
        (changed("bn1.weight", lambda v: v.astype("f8") * 1e300), "bn1.weight holds NaN or infinite values"),
        (changed("bn1.running_var", lambda v: -v), "bn1._variance holds variances below zero"),
        (changed("conv1.weight", lambda v: v.astype("i1")), "conv1.weight holds int8"),
        (changed("bn1.bias", lambda v: Call(Global("torch._utils", "_rebuild_qtensor"), ())), "bn1.bias is torch._utils"),
        (lambda state: {f"backbone.{k}": v for k, v in state.items()},
         "weights of another network: only 0 of this network's 42 tensors are in it; it has backbone.conv1.weight, "),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:overflow")
def test_weights_that_do_not_fit_are_refused_and_change_nothing(tmp_path, change, reason):
    assert reason in refusal(write_zip(tmp_path / "w", change(as_pytorch(tiny()))), tiny())


# The exact warm start


def initially(layer, x):
    layer.eval()
    with paddle.no_grad():
        return layer(paddle.to_tensor(x)).numpy()


@pytest.mark.parametrize(
    ("layer", "channels", "factor"),
    [
        (lambda: attention_layer("shuffle")(64, groups=4), 64, 0.7310586),
        (lambda: attention_layer("shuffle")(64, groups=32), 64, 0.7310586),
        (lambda: attention_layer("sge")(64, groups=4), 64, 0.7310586),
        (lambda: attention_layer("shuffle")(64, groups=4, gate="conv"), 64, None),
        *[((lambda name=name: attention_layer(name)(64)), 64, None) for name in ("se", "cbam", "eca", "simam")],
    ],
)
def test_what_a_layer_says_of_its_start_holds(layer, channels, factor):
    x = np.random.default_rng(0).normal(size=(3, channels, 5, 7)).astype("float32")
    made = layer()
    order, said = made.initial_map(channels)
    gates = initially(made, x) / x[:, order]
    if factor is None:
        assert said is None
        assert ((gates > 0) & (gates < 1)).all(), "the channels are those of the order, whatever the gates are"
    else:
        assert said == pytest.approx(factor)
        np.testing.assert_allclose(gates, factor, rtol=1e-5)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize(("attention", "options"), [("shuffle", {"groups": 8}), ("shuffle", {"groups": 32}), ("sge", {})])
def test_a_network_with_attention_starts_as_the_plain_one(tmp_path, block, attention, options):
    source = trained(ResNet((1, 2, 1, 1), CLASSES, block=block))
    network = trained(ResNet((1, 2, 1, 1), CLASSES, BlockAttention(attention, **options), block=block))
    lines = start_from(write_zip(tmp_path / "w", as_pytorch(source)), network)
    name = attention_layer(attention).__name__
    assert lines[-1] == (
        f"  exact warm start: the last convolution and batch norm of each block absorb the initial {name}, so the network "
        f"computes what the file's does"
    )
    assert error_of(logits(network), logits(source)) <= 1e-5
    network.train()
    source.train()
    assert error_of(logits(network), logits(source)) <= 1e-5, "with the statistics of the batch as well"


@pytest.mark.parametrize(("attention", "options"), [("shuffle", {"groups": 8}), ("sge", {})])
def test_attention_in_some_stages_starts_as_the_plain_network(tmp_path, attention, options):
    source = trained(ResNet((1, 2, 1, 1), CLASSES, block=BasicBlock))
    layer = BlockAttention(attention, stages=(2, 4), **options)
    network = trained(ResNet((1, 2, 1, 1), CLASSES, layer, block=BasicBlock))
    assert "exact warm start" in start_from(write_zip(tmp_path / "w", as_pytorch(source)), network)[-1]
    assert error_of(logits(network), logits(source)) <= 1e-5


def test_the_drawn_head_and_zero_init_residual_do_not_touch_the_exact_start(tmp_path):
    source = trained(ResNet((1, 1, 1, 1), 9))
    network = ResNet((1, 1, 1, 1), CLASSES, BlockAttention("shuffle"), zero_init_residual=True)
    lines = start_from(write_zip(tmp_path / "w", as_pytorch(source)), network)
    assert lines[-1].endswith("the network computes what the file's does, up to the head")
    network.eval()
    network.fc, source.fc = paddle.nn.Identity(), paddle.nn.Identity()
    assert error_of(logits(network), logits(source)) <= 1e-5


@pytest.mark.parametrize("attention", ["se", "cbam", "eca"])
def test_attention_whose_gates_start_at_random_takes_the_plain_weights_and_says_so(tmp_path, attention):
    source, network = tiny(), tiny(attention)
    lines = start_from(write_zip(tmp_path / "w", as_pytorch(source)), network)
    name = attention_layer(attention).__name__
    assert lines[-1] == f"  {name} starts beside these weights: the network does not compute what the file's does"
    for key, value in values(source).items():
        np.testing.assert_array_equal(values(network)[key], value, key)


def test_with_the_conv_gate_every_block_keeps_its_channels_beside_the_shortcut(tmp_path):
    source, network = tiny(), tiny("shuffle", groups=8, gate="conv")
    lines = start_from(write_zip(tmp_path / "w", as_pytorch(source)), network)
    assert "does not compute what the file's does" in lines[-1]
    for plain, block in zip(source.layer1, network.layer1):
        shuffled = block.sa(block.bn3.bias.reshape([1, -1, 1, 1])).numpy()
        assert (np.sign(shuffled.reshape(-1)) == np.sign(plain.bn3.bias.numpy())).all()


def test_a_file_with_attention_of_its_own_is_loaded_as_it_is(tmp_path):
    se = as_pytorch(tiny("se"))
    network = tiny("shuffle", groups=8)
    lines = start_from(write_zip(tmp_path / "w", se), network)
    assert lines[-1].startswith(
        "  ShuffleAttention starts in blocks that lack a part of the file's: the network does not compute"
    )
    np.testing.assert_array_equal(network.layer1[0].conv3.weight.numpy(), se["layer1.0.conv3.weight"])


def test_a_network_of_which_the_file_lacks_something_is_not_called_exact(tmp_path):
    state = as_pytorch(tiny())
    without = {name: value for name, value in state.items() if name != "conv1.weight"}
    for found, blocks in ((state, 3), (without, 2), (state, 1)):
        network = tiny("shuffle", groups=8, blocks=blocks)
        lines = start_from(write_zip(tmp_path / "w", found), network, allow_partial=True)
        assert "does not compute what the file's does" in lines[-1]


# Through train.py


def pixels(size):
    return paddle.to_tensor(np.random.default_rng(1).integers(0, 256, (2, 3, size, size)).astype("uint8"))


def test_sa_resnet50_starts_from_the_pretrained_resnet50_with_its_logits(tmp_path, monkeypatch, capsys):
    source = trained(paddle.vision.models.resnet50(num_classes=1000))
    asked = []

    def download(url, md5):
        print("a bar that nobody wants to see", file=sys.stderr)
        asked.append(url)
        paddle.save(source.state_dict(), str(tmp_path / "resnet50.pdparams"))
        return str(tmp_path / "resnet50.pdparams")

    monkeypatch.setattr(paddle.utils.download, "get_weights_path_from_url", download)
    monkeypatch.setattr(paddle.utils.download, "WEIGHTS_HOME", str(tmp_path))
    config = Config(net="sa_resnet50", pretrained=True).resolved()
    classifier = build_classifier(config, 1000)
    classifier.eval()
    images = pixels(64)
    expected = Classifier(source, config.mean, config.std)(images).numpy()
    assert error_of(classifier(images).numpy(), expected) <= 1e-5
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[1] == f"downloading resnet50.pdparams into {tmp_path}"
    assert "exact warm start" in out.splitlines()[-1]
    assert asked[0].endswith("/resnet50.pdparams")


@pytest.mark.parametrize(
    ("net", "file"),
    [("resnet18", "resnet18"), ("sa_resnet101", "resnet101"), ("cbam_resnet50", "resnet50"), ("vgg19", "vgg19"),
     ("mobilenet_v2", "mobilenet_v2_x1.0")],
)  # fmt: skip
def test_each_network_has_its_own_pretrained_file(net, file, monkeypatch, tmp_path):
    asked = []

    def download(url, md5):
        asked.extend((url, md5))
        (tmp_path / "weights").touch()
        return tmp_path / "weights"

    monkeypatch.setattr(paddle.utils.download, "WEIGHTS_HOME", str(tmp_path))
    monkeypatch.setattr(paddle.utils.download, "get_weights_path_from_url", download)
    assert pretrained_file(net) == tmp_path / "weights"
    assert asked[0].endswith(f"/{file}.pdparams")
    assert len(asked[1]) == 32


@pytest.mark.skipif(os.name != "posix", reason="no such rights here")
def test_pretrained_weights_that_another_user_can_exchange_are_refused(monkeypatch, tmp_path):
    def download(url, md5):
        (folder / "resnet18.pdparams").touch()
        (folder / "resnet18.pdparams").chmod(mode)
        return folder / "resnet18.pdparams"

    folder = tmp_path / "hapi" / "weights"
    monkeypatch.setattr(paddle.utils.download, "WEIGHTS_HOME", str(folder))
    monkeypatch.setattr(paddle.utils.download, "get_weights_path_from_url", download)
    mode, before = 0o644, os.umask(0)
    try:
        assert pretrained_file("resnet18").parent == folder
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    mode = 0o666
    with pytest.raises(
        WeightFileError,
        match=rf"is not used, because other users can write to {folder}/resnet18.pdparams: remove {folder}/resn",
    ):
        pretrained_file("resnet18")
    folder.chmod(0o777)
    with pytest.raises(WeightFileError, match=rf"is not used, because other users can write to {folder}: set HOME to a folder"):
        pretrained_file("resnet18")


@pytest.mark.parametrize("net", ["epsanet50", "tower_net"])
def test_networks_without_pretrained_weights_say_so(net):
    with pytest.raises(WeightFileError, match=f"no ImageNet weights for {net}, only for vgg19, mobilenet_v2 and the ResNets"):
        pretrained_file(net)


def test_a_download_that_fails_is_one_line_with_the_other_way(monkeypatch, capsys, tmp_path):
    def fails(url, md5):
        logging.getLogger("paddle.utils.download").info("Downloading")
        raise RuntimeError(f"Download from {url} failed. Retry limit reached")

    # as importing Paddle 3 leaves it
    logger = logging.getLogger("paddle.utils.download")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(sys.stderr)])
    logger.setLevel(logging.INFO)
    monkeypatch.setattr(paddle.utils.download, "get_weights_path_from_url", fails)
    monkeypatch.setattr(paddle.utils.download, "WEIGHTS_HOME", str(tmp_path))
    with pytest.raises(WeightFileError, match=r"^pretrained: resnet18\.pdparams could not be downloaded \(.*--init_from FILE$"):
        pretrained_file("resnet18")
    assert capsys.readouterr() == (f"downloading resnet18.pdparams into {tmp_path}\n", "")
    assert logger.level == logging.INFO
    logger.setLevel(logging.NOTSET)


def test_a_network_starts_from_one_file_only():
    with pytest.raises(ConfigError, match=r"init_from = 'w\.pth' with pretrained: a network starts from one of them"):
        Config(init_from="w.pth", pretrained=True)


def tiny_net(num_classes):
    return tiny("shuffle", num_classes, groups=8)


def test_train_reports_what_it_starts_from_and_starts_there(listed_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(networks.NETWORKS, "resnet", networks.Lazy(__name__, "tiny_net"))
    source = tiny(num_classes=3)
    path = write_zip(tmp_path / "w.pth", as_pytorch(source))
    config = Config(
        net="resnet", data=str(listed_folder), runs_dir=str(tmp_path / "runs"), image_size=32, epochs=1, batch_size=4,
        num_workers=0, threads=1, learning_rate=1e-12, weight_decay=0.0, warmup_epochs=0.0, init_from=str(path),
    )  # fmt: skip
    assert train.main(config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"weights of {path}: 42 of the network's 54 tensors loaded"
    assert lines[3].startswith("  exact warm start")
    left = load_file(tmp_path / "runs/resnet/001/last.safetensors")
    np.testing.assert_allclose(left["network.fc.weight"], source.fc.weight.numpy(), atol=1e-6)
    path.write_bytes(path.read_bytes()[:1000])
    assert train.main(config) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("running on the processor")]
    assert len(error) == 1
    assert error[0].startswith(f"train.py: error: {path} cannot be read: ")
    assert [entry.name for entry in Path(tmp_path / "runs/resnet").iterdir()] == ["001"]


# The kernel sizes of ECA follow the file


def eca_net(num_classes, attention="eca", eca_kernel_sizes=None):
    layer = BlockAttention(attention, **({"kernel_size": tuple(eca_kernel_sizes)} if eca_kernel_sizes else {}))
    network = ResNet((1, 1, 1, 1), num_classes, layer, block=BasicBlock)
    network.layer4[0].conv2 = conv(512, 512, 1)  # a quarter of the weights of the whole less
    return network


@pytest.fixture
def eca(monkeypatch):
    """eca_resnet50 is a smaller network of the same kind."""
    monkeypatch.setitem(networks.NETWORKS, "eca_resnet50", networks.Lazy(__name__, "eca_net", attention="eca"))


def eca_file(path, sizes, num_classes=3):
    return write_zip(path, as_pytorch(trained(eca_net(num_classes, eca_kernel_sizes=sizes))))


def kernels(run, checkpoint="last"):
    tensors = load_file(run / f"{checkpoint}.safetensors")
    return [tensors[f"network.layer{stage}.0.eca.conv.weight"].shape[2] for stage in (1, 2, 3, 4)]


@pytest.mark.usefixtures("eca", "quick_pictures")
def test_kernel_sizes_of_eca_follow_the_file_and_stay_with_the_run(listed_folder, tmp_path, capsys):
    path, run = eca_file(tmp_path / "w.pth", (3, 3, 5, 9)), tmp_path / "runs/eca_resnet50/001"
    words = ["--data", listed_folder, "--image_size", 32, "--batch_size", 6, "--num_workers", 0, "--threads", 1]
    words = [*map(str, words), "--runs_dir", str(tmp_path / "runs")]
    start = ["--net", "eca_resnet50", "--init_from", str(path), "--epochs", "1"]
    assert train.main(parse_config([*words, *start], "train")) == 0
    lines = capsys.readouterr().out.splitlines()
    count = len(eca_net(3).state_dict())
    assert lines[1:3] == [
        f"weights of {path}: {count} of the network's {count} tensors loaded",
        "  kernel sizes of ECA in the four stages, as in the file: 3 3 5 9",
    ]
    assert kernels(run) == [3, 3, 5, 9]
    assert load_config(run / "config.yaml").eca_kernel_sizes == (3, 3, 5, 9)
    path.unlink()
    assert train.main(parse_config([*words[8:], "--resume", str(run), "--epochs", "2"], "train")) == 0
    assert kernels(run) == [3, 3, 5, 9]
    layers = [layer for layer in TrainedRun.open(run).classifier().sublayers() if hasattr(layer, "_kernel_size")]
    assert [layer._kernel_size[0] for layer in layers if isinstance(layer, paddle.nn.Conv1D)] == [3, 3, 5, 9]


@pytest.mark.usefixtures("eca")
def test_a_comparison_looks_for_runs_with_the_kernel_sizes_of_the_file(tmp_path):
    path = str(eca_file(tmp_path / "w.pth", (3, 3, 5, 9)))
    config = Config(nets=("eca_resnet50", "resnet"), init_from=path, seed=MAX_SEED - 1, seeds=2)
    assert training_settings(config, "eca_resnet50", MAX_SEED)["eca_kernel_sizes"] == [3, 3, 5, 9]
    assert training_settings(config, "resnet", 0)["eca_kernel_sizes"] is None


@pytest.mark.usefixtures("eca")
def test_kernel_sizes_that_contradict_the_file_are_refused(tmp_path):
    path = eca_file(tmp_path / "w.pth", (3, 3, 5, 9))
    config = Config(net="eca_resnet50", init_from=str(path), eca_kernel_sizes=(3, 3, 5, 7))
    with pytest.raises(WeightFileError) as error:
        with_kernel_sizes(config)
    assert str(error.value) == (f"eca_kernel_sizes = 3 3 5 7: {path} has 3 3 5 9; leave the option out to follow the file")
    names = [f"layer{stage}.{block}.eca.conv.weight" for stage in (1, 2, 3, 4) for block in (0, 1)]
    state = {name: np.ones((1, 1, 5 if name.startswith("layer3.1") else 3), "f4") for name in names}
    with pytest.raises(WeightFileError, match=r"ECA has kernel sizes 3 5 in layer3, this network one for a stage"):
        eca_kernel_sizes(tmp_path / "w", state)
    assert eca_kernel_sizes(tmp_path / "plain", values(tiny())) is None
    assert with_kernel_sizes(Config(net="sa_resnet", init_from="no such file")).eca_kernel_sizes is None

"""Networks whose feature maps lie in blocks of channels: the values of those in NCHW, and nobody else meets such a map."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from networks import build_network
from networks.epsanet import PyramidSqueezeAttention
from ops import channel_blocks, fused
from ops.convolution import Conv2D
from ops.pooling import MaxPool2D
from ops.synchronised_norm import synchronise
from sa_resnet import ResNet, resnet

pytestmark = [pytest.mark.python_independent, pytest.mark.usefixtures("fused_on")]


@pytest.fixture
def reordered(monkeypatch, lanes):
    """The shapes of the maps that go into blocks of channels, or come out of them."""
    found, run = [], fused.run

    def spy(name, *arguments):
        if name == "channel_blocks":
            found.append(arguments[0].shape)
        return run(name, *arguments)

    monkeypatch.setattr(fused, "run", spy)
    return found


def photographs(*shape, seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def randomised(network):
    """``network`` with random parameters and running statistics around those it has."""
    rng = np.random.default_rng(1)
    for name, value in network.state_dict().items():
        noise = rng.uniform(0.5, 1.5, value.shape) if "variance" in name else rng.normal(0, 0.1, value.shape)
        value.set_value((value.numpy() * (1 + noise) + (0.0 if "conv" in name else 0.1)).astype("float32"))
    return network


def test_a_map_is_reordered_and_back(lanes):
    x = photographs(2, 3 * lanes, 5, 4)
    x.stop_gradient = False
    blocks = fused.run("channel_blocks", x, lanes)
    expected = x.numpy().reshape(2, 3, lanes, 5, 4).transpose(0, 1, 3, 4, 2)
    np.testing.assert_array_equal(blocks.numpy(), expected)
    joined = channel_blocks.join(blocks)
    np.testing.assert_array_equal(joined.numpy(), x.numpy())
    weights = photographs(*blocks.shape, seed=1)
    (gradient,) = paddle.grad([(blocks * weights).sum()], [x])
    np.testing.assert_array_equal(gradient.numpy(), weights.numpy().transpose(0, 1, 4, 2, 3).reshape(x.shape))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("kernel", "stride", "bias"), [(1, 1, False), (3, 2, True), (3, 1, False)])
def test_a_convolution_of_blocks_is_that_of_the_map(kernel, stride, bias, groups, lanes):
    if os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2":  # as below
        assert lanes == 8
    layer = Conv2D(2 * lanes, 4 * lanes, kernel, stride, kernel // 2, groups=groups, bias_attr=None if bias else False)
    assert layer.takes_blocks(lanes)
    x = photographs(3, 2 * lanes, 7, 6)
    x.stop_gradient = False
    results = []
    for blocked in (False, True):
        y = layer(fused.run("channel_blocks", x, lanes) if blocked else x)
        y = channel_blocks.join(y)
        gradients = paddle.grad([y], [x, *layer.parameters()], [photographs(*y.shape, seed=1)])
        results.append([value.numpy() for value in (y, *gradients)])
    for plain, blocked in zip(*results):
        assert np.linalg.norm(blocked - plain) <= 1e-6 * np.linalg.norm(plain)


@pytest.mark.parametrize("sides", [(9, 6), (8, 8)])
def test_a_convolution_makes_blocks_of_a_map(sides, lanes):
    layer = Conv2D(3, 2 * lanes, 7, 2, 3, bias_attr=None)
    assert (layer.makes_blocks(lanes), layer.takes_blocks(lanes)) == (True, False)
    x = photographs(2, 3, *sides)
    x.stop_gradient = False
    results = []
    for count in (0, lanes):
        y = layer(x, count)
        assert len(y.shape) == (5 if count else 4)
        y = channel_blocks.join(y)
        results.append(
            [value.numpy() for value in (y, *paddle.grad([y], [x, *layer.parameters()], [photographs(*y.shape, seed=1)]))]
        )
    for plain, blocked in zip(*results):
        assert np.linalg.norm(blocked - plain) <= 1e-6 * np.linalg.norm(plain)


@pytest.mark.parametrize("window", [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
@pytest.mark.parametrize("sides", [(8, 8), (5, 7), (3, 2)])
def test_pooling_of_blocks_has_the_bits_of_paddle_s(sides, window, lanes):
    pooling = MaxPool2D(*window)
    x = photographs(2, 2 * lanes, *sides).clip(0)  # equal values: the first of them has the gradient
    x[0, 0, 1, 1], x[1, 3, 0, 0] = float("nan"), float("inf")
    x.stop_gradient = False
    results = []
    for blocked in (False, True):
        y = channel_blocks.join(pooling(fused.run("channel_blocks", x, lanes) if blocked else x))
        results.append([value.numpy() for value in (y, *paddle.grad([y], [x], [photographs(*y.shape, seed=1)]))])
    for plain, of_blocks in zip(*results):
        np.testing.assert_array_equal(of_blocks, plain)
    assert np.isfinite(results[0][0]).sum() < results[0][0].size


def shallow(attention, **options):
    return resnet(5, depth=18, attention=attention, **options)


NETWORKS = {  # which, and how many of its layers see planes
    "plain": (lambda: shallow("none"), 0),
    "attention in blocks too": (lambda: shallow("shuffle", sa_groups=16), 0),
    "attention on planes": (lambda: shallow("eca"), 8),
    "a gate of convolutions": (lambda: shallow("shuffle", sa_groups=16, sa_gate="conv"), 8),
    "attention inside": (lambda: shallow("simam"), 8),
    "pyramids": (lambda: ResNet((1, 1, 1, 1), 5, spatial_conv=PyramidSqueezeAttention), 4),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_a_network_computes_the_same(name, training, reordered, monkeypatch):
    paddle.seed(0)
    build, on_planes = NETWORKS[name]
    network = randomised(build())
    before = {name: value.numpy() for name, value in network.state_dict().items()}
    x = photographs(4, 3, 64, 64)

    def found(kind):
        network.to(dtype=kind)
        network.set_state_dict({name: value.astype(kind) for name, value in before.items()})
        network.train() if training else network.eval()
        y = network(x.astype(kind))
        y.square().mean().backward()
        values = {name: value.grad for name, value in network.named_parameters() if value.trainable}
        values.update((name, value) for name, value in network.state_dict().items() if "._" in name)
        arrays = {name: value.numpy().astype("float64") for name, value in {**values, "logits": y}.items()}
        network.clear_gradients()
        return arrays

    in_blocks = found("float32")
    assert [len(shape) for shape in reordered] == [*on_planes * [5, 4], 5]
    before_planes = len(reordered)
    monkeypatch.setattr(fused, "_lanes", lambda: 0)
    in_planes = found("float32")
    fused.set_mode("off")
    exact = found("float64")
    assert len(reordered) == before_planes
    errors = [
        [np.linalg.norm(values[name] - wanted) / np.linalg.norm(wanted) for name, wanted in exact.items()]
        for values in (in_blocks, in_planes)
    ]
    # Of single tensors rounding decides more: where ReLU's input is next to nothing, its gradient comes or goes
    assert np.median(errors[0]) <= 1.5 * np.median(errors[1])
    assert max(errors[0]) < 0.02


def test_who_looks_at_a_feature_map_finds_its_planes(reordered):
    network = build_network("resnet18", 5)
    seen = []
    hook = network.layer2[0].bn1.register_forward_post_hook(lambda layer, inputs, y: seen.append(y.shape))
    network(photographs(2, 3, 64, 64))
    assert (seen, reordered) == ([[2, 128, 8, 8]], [])
    hook.remove()
    network(photographs(2, 3, 64, 64))
    assert [len(shape) for shape in reordered] == [5]
    network.conv1.register_forward_post_hook(lambda layer, inputs, y: seen.append(y.shape))
    network(photographs(2, 3, 64, 64))
    assert [len(shape) for shape in reordered[1:]] == [4, 5]  # the stages can still be in blocks
    assert seen[1:] == [[2, 64, 32, 32]]


def test_what_cannot_take_blocks_keeps_its_planes(reordered):
    x = photographs(2, 3, 32, 32)
    network = build_network("resnet18", 5)
    network(photographs(1, 3, 32, 32))  # whose last maps have one pixel: batch norm has nothing to normalise
    network.eval()
    network.layer4[1].bn2.training = True  # as where the statistics of a network are estimated anew
    network(photographs(1, 3, 32, 32))
    network.to(dtype="float64")
    network(x.astype("float64"))
    fused.set_mode("off")
    build_network("resnet18", 5)(x)
    assert reordered == []
    assert not channel_blocks.takes_blocks(nn.BatchNorm2D(64), 16)  # one of Paddle's does not say so


@pytest.mark.parametrize("attention", ["none", "shuffle"])
def test_batch_norm_over_all_processes_takes_blocks_and_is_the_same_where_there_is_one(attention, reordered):
    x, found = photographs(4, 3, 64, 64), []
    options = {"sa_groups": 16} if attention == "shuffle" else {}
    before = shallow(attention, **options).state_dict()
    for over_all in (False, True):
        network = shallow(attention, **options)
        network.set_state_dict(before)
        randomised(network)
        if over_all:
            synchronise(network)
        y = network(x)
        y.square().mean().backward()
        gradients = {name: value.grad.numpy() for name, value in network.named_parameters() if value.trainable}
        running = {name: value.numpy() for name, value in network.state_dict().items() if "._" in name}
        found.append({**gradients, **running, "logits": y.numpy()})
    assert [len(shape) for shape in reordered] == [5, 5]
    for name, wanted in found[0].items():
        assert np.linalg.norm(found[1][name] - wanted) <= 1e-2 * np.linalg.norm(wanted), name
    errors = [np.linalg.norm(found[1][name] - wanted) / np.linalg.norm(wanted) for name, wanted in found[0].items()]
    assert np.median(errors) < 1e-5


def test_a_single_photograph_is_evaluated_in_blocks(reordered, lanes):
    network = build_network("resnet18", 5)
    network.eval()
    network(photographs(1, 3, 32, 32))
    assert reordered == [[1, 512 // lanes, 1, 1, lanes]]


@pytest.mark.version_independent
def test_processors_without_avx512_compute_the_same(lanes):
    """oneDNN chooses other code, and blocks of eight channels, for which the operators have code of their own."""
    if lanes != 16:
        pytest.skip("this is such a processor already, or none that oneDNN has blocks for")
    here = Path(__file__).parent
    names = ("channel_blocks", "convolution", "block_end", "winograd", "norm_convolution", "grouped_convolution")
    files = [str(here / f"test_{name}.py") for name in names]
    chosen = "as_exact_as or in_blocks or of_blocks or makes_blocks or computes_the_same and network"
    chosen += " or value_and_gradients or evaluated_in or bits_of_the_two or maps_in_blocks"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *files]
    done = subprocess.run(
        command, cwd=here.parent, env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]  # 5: none was chosen

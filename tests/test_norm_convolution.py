"""Batch norm, ReLU and the convolution after them in one operator: the values of the two, with one map less in memory."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ops import channel_blocks, fused
from ops.batch_norm import BatchNorm2D, apply_norm
from ops.convolution import Conv2D, in_bfloat16
from ops.norm_convolution import convolve_normed

pytestmark = [pytest.mark.python_independent, pytest.mark.usefixtures("fused_on")]
CONVOLUTIONS = {  # kernel and what else there is to say, with channels in and out in blocks
    "1x1": (1, {}, 2, 4),
    "3x3": (3, {"padding": 1}, 2, 2),
    "3x3, stride 2": (3, {"padding": 1, "stride": 2}, 4, 2),
    "in groups": (3, {"padding": 1, "groups": 2}, 4, 4),
    "with a bias": (1, {"bias_attr": None}, 1, 2),
}


def drawn(*shape, seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


def layers(name, lanes):
    """(convolution, batch norm) with random parameters and statistics, and a map of photographs in blocks of channels."""
    kernel, options, blocks_in, blocks_out = CONVOLUTIONS[name]
    conv = Conv2D(blocks_in * lanes, blocks_out * lanes, kernel, **{"bias_attr": False, **options})
    norm = BatchNorm2D(blocks_in * lanes)
    for seed, value in enumerate((*conv.parameters(), *norm.parameters(), norm._mean)):
        value.set_value(drawn(*value.shape, seed=seed))
    norm._variance.set_value(drawn(*norm._variance.shape).square() + 0.5)
    x = fused.run("channel_blocks", drawn(6, blocks_in * lanes, 7, 9, seed=50) * 2 + 1, lanes)
    x.stop_gradient = False
    return conv, norm, x


def in_two(conv, norm, x):
    return conv(apply_norm(norm, x, relu=True))


def step(way, conv, norm, x):
    """All that one step leaves: the result, the gradients that there are, and the running statistics, as arrays."""
    running = norm._mean.numpy(), norm._variance.numpy()
    y = way(conv, norm, x)
    y.backward(drawn(*y.shape, seed=60))
    values = [y, norm._mean, norm._variance]
    gradients = [value.grad for value in (x, *norm.parameters(), *conv.parameters())]
    found = [None if value is None else value.numpy() for value in (*values, *gradients)]
    for value in (x, *norm.parameters(), *conv.parameters()):
        value.clear_gradient(set_to_zero=False)
    for value, before in zip((norm._mean, norm._variance), running):
        value.set_value(before)
    return found


def check_same_bits(conv, norm, x):
    for one, two in zip(step(convolve_normed, conv, norm, x), step(in_two, conv, norm, x)):
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_array_equal(one, two)


@pytest.fixture
def operators(monkeypatch):
    """Names of the operators that run, as they begin."""
    called, run = [], fused.run
    monkeypatch.setattr(fused, "run", lambda name, *rest: called.append(name) or run(name, *rest))
    return called


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_it_gives_the_bits_of_the_two(name, training, lanes, operators):
    conv, norm, x = layers(name, lanes)
    norm.train() if training else norm.eval()
    del operators[:]
    check_same_bits(conv, norm, x)
    assert operators == ["norm_convolution", "block_norm", "onednn_convolution"]


@pytest.mark.parametrize("trained", [("x",), ("norm",), ("conv",), ("x", "conv"), ("norm", "conv")])
def test_what_is_not_trained_has_no_gradient_and_the_rest_has_its_own(trained, lanes):
    conv, norm, x = layers("3x3", lanes)
    for part, values in {"x": [x], "norm": norm.parameters(), "conv": conv.parameters()}.items():
        for value in values:
            value.stop_gradient = part not in trained
    check_same_bits(conv, norm, x)


def test_in_bfloat16_too(lanes):
    if fused.obstacle_of_bfloat16():
        pytest.skip("no convolutions in bfloat16 here")
    with in_bfloat16():
        check_same_bits(*layers("3x3", lanes))


def test_with_the_statistics_of_several_processes(lanes):
    """Which come as fixed ones, with a map to which their gradients flow."""
    conv, norm, x = layers("3x3", lanes)
    norm.over_processes = lambda x, values, channels_last: (
        x * 2,
        values._replace(running_mean=values.running_mean * 3, training=False),
    )
    check_same_bits(conv, norm, x)


def test_the_map_in_between_is_not_kept(lanes):
    def kept(way):
        conv, norm, x = layers("3x3", lanes)
        x = fused.run("channel_blocks", drawn(8, 2 * lanes, 64, 64), lanes)
        before = paddle.base.core.host_memory_stat_current_value("Allocated", 0)
        y = way(conv, norm, x)
        after = paddle.base.core.host_memory_stat_current_value("Allocated", 0)
        assert not y.stop_gradient
        return (after - before) / (x.numel().item() * 4)

    assert kept(convolve_normed) == pytest.approx(1, abs=0.1)  # y
    assert kept(in_two) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("obstacle", ["planes", "another convolution"])
def test_elsewhere_the_two_run(obstacle, lanes, operators):
    conv, norm, x = layers("3x3", lanes)
    norm.eval()
    expected = channel_blocks.join(in_two(conv, norm, x)).numpy()
    if obstacle == "planes":
        x = channel_blocks.join(x)
    else:
        plain = nn.Conv2D(2 * lanes, 2 * lanes, 3, padding=1, bias_attr=False)
        plain.set_state_dict(conv.state_dict())
        conv = plain
    del operators[:]
    found = channel_blocks.join(convolve_normed(conv, norm, x)).numpy()
    assert "norm_convolution" not in operators
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_tensors_that_do_not_fit_are_refused(lanes):
    conv, _, x = layers("3x3", lanes)
    other = BatchNorm2D(lanes)
    with pytest.raises((OSError, RuntimeError), match="a parameter of another size or type"):
        convolve_normed(conv, other, x)

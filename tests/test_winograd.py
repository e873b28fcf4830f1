"""Winograd's convolution of feature maps in blocks of channels: Paddle's values, within twice its error, and where it runs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ops import fused
from ops.convolution import Conv2D, in_bfloat16, own_convolutions

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.python_independent, pytest.mark.usefixtures("fused_on")]
SHAPES = {  # images, channels in and out in pairs of blocks, padding, height, width
    "even": (2, 2, 2, 1, 8, 8),
    "odd sides": (3, 1, 2, 1, 9, 7),
    "one row": (2, 1, 1, 1, 1, 6),
    "one pixel": (3, 2, 1, 1, 1, 1),
    "one tile": (5, 1, 3, 1, 2, 2),
    "no padding": (2, 2, 1, 0, 9, 6),
    "wide padding": (2, 1, 2, 2, 5, 6),
    "different paddings": (2, 1, 1, (0, 2), 6, 5),
    "many tiles": (3, 1, 1, 1, 50, 46),
    "so many channels that the weights go in parts": (2, 12, 12, 1, 4, 3),
}


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def found(layer, x, lanes=0, kind="float32"):
    """y, and the gradients of x and of the weights; ``lanes``: of the map in blocks, else Paddle's."""
    image = paddle.to_tensor(x.astype(kind), stop_gradient=False)
    if lanes:
        weight, y = layer.weight, fused.run("channel_blocks", layer(fused.run("channel_blocks", image, lanes)), lanes)
    else:
        weight = layer.weight.astype(kind).detach()
        weight.stop_gradient = False
        y = F.conv2d(image, weight, padding=layer._padding)
    dy = paddle.to_tensor(drawn(*y.shape, seed=9).astype(kind))
    return [value.numpy() for value in (y, *paddle.grad([y], [image, weight], [dy]))]


def layer_and_map(lanes, images, channels, outputs, padding, height, width):
    layer = Conv2D(2 * lanes * channels, 2 * lanes * outputs, 3, padding=padding, bias_attr=False)
    layer.weight.set_value(drawn(*layer.weight.shape, seed=1).astype("float32"))
    return layer, drawn(images, 2 * lanes * channels, height, width).astype("float32")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_gradients_are_as_exact_as_paddle_s(shape, lanes):
    layer, x = layer_and_map(lanes, *shape)
    exact, plain = found(layer, x, kind="float64"), found(layer, x)
    with own_convolutions("always"):
        ours = found(layer, x, lanes)
    with own_convolutions("never"):
        direct = found(layer, x, lanes)
    for mine, paddles, wanted in zip(ours, plain, exact):
        size = np.linalg.norm(wanted)
        assert np.linalg.norm(mine - wanted) <= max(2 * np.linalg.norm(paddles - wanted), 3e-7 * size)
    assert not np.array_equal(ours[0], direct[0])  # it was another algorithm


def test_a_value_touches_its_neighbours_alone(lanes):
    """Each frequency of a tile has a part of each pixel: one that is not a number stays in its tiles, and others stay exact."""
    layer, x = layer_and_map(lanes, 2, 1, 1, 1, 12, 12)
    spoilt = x.copy()
    spoilt[0, 3, 5, 5] = np.nan
    with own_convolutions("always"):
        good, bad = found(layer, x, lanes)[0], found(layer, spoilt, lanes)[0]
    assert np.isnan(bad[0, :, 4:7, 4:7]).all()
    far = np.ones(bad.shape, bool)
    far[0, :, 2:8, 2:8] = False
    np.testing.assert_array_equal(bad[far], good[far])


def test_it_runs_where_it_gains_and_nowhere_else(lanes):
    """By the rule each pass has the bits of one or of the other way; a map of one pixel is convolved directly."""
    for shape, expected in (
        ((4, 2, 2, 1, 12, 12), ["always"] * 3),
        ((32, 2, 2, 1, 2, 2), ["always"] * 3),
        ((2, 2, 2, 1, 2, 2), ["never", "never", "always"]),  # too few tiles to repay the transformation of the weights
        ((32, 2, 2, 1, 3, 3), ["never", "never", "always"]),
        ((32, 2, 2, 1, 1, 1), ["never"] * 3),
    ):
        layer, x = layer_and_map(lanes, *shape)
        ways = {}
        for when in ("always", "never"):
            with own_convolutions(when):
                ways[when] = found(layer, x, lanes)
        for place, (value, way) in enumerate(zip(found(layer, x, lanes), expected)):
            np.testing.assert_array_equal(value, ways[way][place], err_msg=f"{shape}, {place}")


@pytest.mark.parametrize(
    ("kernel", "options"),
    [(3, {"stride": 2}), (3, {"dilation": 2}), (3, {"groups": 2}), (5, {}), ((3, 1), {}), (3, {"bias_attr": None})],
)
def test_other_convolutions_are_onednn_s(kernel, options, lanes):
    layer = Conv2D(4 * lanes, 4 * lanes, kernel, **{"bias_attr": False, **options})
    x = fused.run("channel_blocks", paddle.to_tensor(drawn(8, 4 * lanes, 12, 12).astype("float32")), lanes)
    results = []
    for when in ("always", "never"):
        with own_convolutions(when):
            results.append(layer(x).numpy())
    np.testing.assert_array_equal(*results)


def test_bfloat16_is_onednn_s(lanes):
    if fused.obstacle_of_bfloat16():
        pytest.skip("oneDNN has no such convolutions on this processor")
    layer, x = layer_and_map(lanes, 4, 2, 2, 1, 12, 12)
    results = []
    for when in ("always", "never"):
        with own_convolutions(when), in_bfloat16():
            results.append(found(layer, x, lanes))
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("stride", [2, (1, 2), (3, 1)])
@pytest.mark.parametrize("sides", [(8, 8), (7, 5), (1, 1)])
def test_the_gradient_of_a_map_of_which_some_pixels_are_read(stride, sides, lanes):
    layer = Conv2D(2 * lanes, 4 * lanes, 1, stride, bias_attr=False)
    x = paddle.to_tensor(drawn(3, 2 * lanes, *sides).astype("float32"), stop_gradient=False)
    y = fused.run("channel_blocks", layer(fused.run("channel_blocks", x, lanes)), lanes)
    expected = F.conv2d(x, layer.weight, stride=stride)
    dy = paddle.to_tensor(drawn(*y.shape, seed=2).astype("float32"))
    results = [paddle.grad([value], [x, layer.weight], [dy]) for value in (y, expected)]
    for mine, paddles in zip(*results):
        np.testing.assert_allclose(mine.numpy(), paddles.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_same_bits_every_time_and_good_values_with_any_number_of_threads(threads, lanes):
    """With more threads than chunks of tiles, several of them work on one."""
    program = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import numpy as np
from ops import fused
from test_winograd import found, layer_and_map, own_convolutions
fused.set_mode("on")
for shape in ((6, 4, 4, 1, 4, 5), (3, 1, 2, 1, 30, 31)):
    layer, x = layer_and_map({lanes}, *shape)
    with own_convolutions("always"):
        first, second = found(layer, x, {lanes}), found(layer, x, {lanes})
    for one, other, plain in zip(first, second, found(layer, x)):
        assert np.array_equal(one, other)
        assert np.linalg.norm(one - plain) <= 2e-6 * np.linalg.norm(plain)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

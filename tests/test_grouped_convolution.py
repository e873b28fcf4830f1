"""The convolution in groups that share a vector: Paddle's values, within twice its error, and where it runs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from networks.epsanet import PyramidSqueezeAttention
from ops import fused
from ops.convolution import Conv2D, in_bfloat16, own_convolutions

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.python_independent, pytest.mark.usefixtures("fused_on")]
SHAPES = {  # images, groups, channels of a group in and out, height, width, kernel, and what else there is to say
    "a pyramid's": (3, 16, 4, 1, 7, 5, 9, {"padding": 4}),
    "another of its": (2, 8, 8, 2, 8, 8, 7, {"padding": 3, "stride": 2}),
    "a kernel larger than the map": (5, 8, 16, 4, 2, 2, 9, {"padding": 4}),
    "one pixel": (3, 16, 4, 8, 1, 1, 5, {"padding": 2}),
    "more groups than a vector holds": (2, 48, 3, 1, 5, 4, 3, {"padding": 1}),
    "groups of a whole vector": (2, 3, 9, 16, 6, 4, 3, {"padding": 1}),
    "the largest kernel": (1, 4, 4, 2, 6, 5, 16, {"padding": 8}),
    "padding beyond map and kernel": (2, 4, 4, 2, 3, 2, 3, {"padding": 5}),
    "a large map": (2, 8, 4, 2, 56, 60, 3, {"padding": 1}),
    "so many values that they go in parts": (5, 8, 16, 8, 30, 30, 3, {"padding": 1}),
    "no padding": (1, 4, 6, 2, 9, 11, 4, {}),
    "different numbers": (2, 4, 5, 4, 9, 11, (3, 2), {"padding": (2, 0), "stride": (1, 3), "dilation": (2, 1)}),
    "a stride beyond the kernel": (2, 8, 2, 2, 9, 9, 2, {"stride": 3}),
    "one photograph": (1, 16, 4, 1, 9, 40, 5, {"padding": 2}),
}


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def layer_and_map(shape):
    images, groups, inside, outside, height, width, kernel, options = shape
    layer = Conv2D(groups * inside, groups * outside, kernel, groups=groups, bias_attr=False, **options)
    layer.weight.set_value(drawn(*layer.weight.shape, seed=1).astype("float32"))
    return layer, drawn(images, groups * inside, height, width).astype("float32")


def gradients(y, tensors):
    dy = paddle.to_tensor(drawn(*y.shape, seed=9)).astype(y.dtype)
    return [value.numpy() for value in (y, *paddle.grad([y], tensors, [dy]))]


def ours(layer, x, lanes=0, when="always"):
    """y, and the gradients of x and of the weights; ``lanes``: of maps in blocks of so many channels."""
    image = paddle.to_tensor(x, stop_gradient=False)
    with own_convolutions(when):
        if lanes:
            y = fused.run("channel_blocks", layer(fused.run("channel_blocks", image, lanes)), lanes)
        else:
            y = layer(image)
        return gradients(y, [image, layer.weight])


def paddle_s(layer, x, kind):
    image, weight = (paddle.to_tensor(value.astype(kind), stop_gradient=False) for value in (x, layer.weight.numpy()))
    options = {"stride": layer._stride, "padding": layer._updated_padding, "dilation": layer._dilation, "groups": layer._groups}
    return gradients(F.conv2d(image, weight, **options), [image, weight])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_gradients_are_as_exact_as_paddle_s(shape, lanes):
    layer, x = layer_and_map(shape)
    if lanes % shape[3]:
        pytest.skip("a group is more than a vector here")
    found = ours(layer, x)
    for mine, paddles, wanted in zip(found, paddle_s(layer, x, "float32"), paddle_s(layer, x, "float64")):
        bound = max(2 * np.linalg.norm(paddles - wanted), 3e-7 * np.linalg.norm(wanted))
        assert np.linalg.norm(mine - wanted) <= bound


def test_each_pass_runs_by_another_algorithm_than_onednn_s(lanes):
    layer, x = layer_and_map(SHAPES["a large map"])
    assert not any(map(np.array_equal, ours(layer, x), ours(layer, x, when="never")))


@pytest.mark.parametrize("outside", [1, 2, 4, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_it_computes_the_same_of_maps_in_blocks(outside, stride, lanes):
    layer, x = layer_and_map((3, 3 * lanes // outside, 2 * outside, outside, 7, 6, 5, {"padding": 2, "stride": stride}))
    for planes, blocks in zip(ours(layer, x), ours(layer, x, lanes)):
        np.testing.assert_array_equal(planes, blocks)


def test_one_photograph_is_computed_as_among_others(lanes):
    """Threads share out its rows."""
    layer, x = layer_and_map(SHAPES["a pyramid's"])
    for one, of_all in zip(ours(layer, x[:1])[:1], ours(layer, x)):
        np.testing.assert_array_equal(one, of_all[:1])


def test_a_value_touches_its_own_group_and_what_the_kernel_covers_alone(lanes):
    layer, x = layer_and_map((2, 8, 4, 2, 9, 9, 3, {"padding": 1}))
    spoilt = x.copy()
    spoilt[1, 5, 4, 4] = np.nan  # of the second group
    bad = np.isnan(ours(layer, spoilt)[0])
    assert bad[1, 2:4, 3:6, 3:6].all()
    assert bad.sum() == 2 * 9


def test_it_runs_where_onednn_goes_through_matrices(lanes):
    """Of a few channels with a large kernel; groups that oneDNN has code for are left to it."""
    for shape, own in (
        ((4, 16, 4, 1, 4, 4, 9, {"padding": 4}), True),
        ((9, 8, 8, 2, 2, 2, 7, {"padding": 3}), True),
        ((4, 4, 32, 16, 8, 8, 3, {"padding": 1}), False),
    ):
        layer, x = layer_and_map(shape)
        wanted = ours(layer, x, when="always" if own else "never")
        image = paddle.to_tensor(x, stop_gradient=False)
        for value, expected in zip(gradients(layer(image), [image, layer.weight]), wanted):
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize(
    ("channels", "outputs", "groups", "options"),
    [(32, 32, 32, {}), (32, 96, 2, {}), (32, 24, 8, {}), (32, 32, 1, {}), (32, 32, 8, {"bias_attr": None})],
    ids=["depthwise", "wide groups", "groups that blocks would cut", "no groups", "with a bias"],
)
def test_other_convolutions_are_onednn_s(channels, outputs, groups, options, lanes):
    layer = Conv2D(channels, outputs, 3, groups=groups, **{"bias_attr": False, **options})
    x = drawn(2, channels, 6, 6).astype("float32")
    for always, never in zip(ours(layer, x), ours(layer, x, when="never")):
        np.testing.assert_array_equal(always, never)


def test_where_bfloat16_is_wanted_it_is_exact_all_the_same(lanes):
    if fused.obstacle_of_bfloat16():
        pytest.skip("oneDNN has no such convolutions on this processor")
    layer, x = layer_and_map(SHAPES["a pyramid's"])
    exact = ours(layer, x)
    with in_bfloat16():
        for rounded, value in zip(ours(layer, x), exact):
            np.testing.assert_array_equal(rounded, value)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_same_bits_with_any_number_of_threads(threads, lanes, tmp_path):
    program = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import numpy as np
from ops import fused
from test_grouped_convolution import SHAPES, layer_and_map, ours
fused.set_mode("on")
np.savez(sys.argv[1], *[value for name in ("a pyramid's", "one photograph") for value in ours(*layer_and_map(SHAPES[name]))])
"""
    environment, file = {**os.environ, "OMP_NUM_THREADS": str(threads)}, tmp_path / "found.npz"
    done = subprocess.run([sys.executable, "-c", program, file], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    here = [value for name in ("a pyramid's", "one photograph") for value in ours(*layer_and_map(SHAPES[name]))]
    for other, mine in zip(np.load(file).values(), here):
        np.testing.assert_array_equal(other, mine)


@pytest.mark.parametrize(("channels", "stride", "side"), [(64, 1, 12), (128, 2, 12), (256, 1, 3), (512, 2, 4)])
def test_the_pyramids_of_an_epsanet_compute_the_same(channels, stride, side, lanes):
    """By the rule, so that some of their passes are oneDNN's."""
    pyramid = PyramidSqueezeAttention(channels, channels, stride)
    for seed, value in enumerate(pyramid.parameters()):
        value.set_value(0.05 * drawn(*value.shape, seed=seed).astype("float32"))
    x = paddle.to_tensor(drawn(4, channels, side, side).astype("float32"), stop_gradient=False)
    tensors = [x, *(getattr(pyramid, f"conv_{index}").weight for index in range(1, 5))]
    by_rule = gradients(pyramid(x), tensors)
    with own_convolutions("never"):
        onednn_s = gradients(pyramid(x), tensors)
    for one, other in zip(by_rule, onednn_s):
        assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(other)

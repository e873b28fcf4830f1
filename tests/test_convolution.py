"""Convolutions by oneDNN: the values of Paddle's own, on a CPU in float32, or near them in bfloat16; and nowhere else."""

import contextlib

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ops import fused
from ops.convolution import Conv2D, in_bfloat16, own_convolutions

pytestmark = [pytest.mark.python_independent, pytest.mark.usefixtures("fused_on")]
SHAPES = {  # images, channels in and out, kernel, stride, padding, dilation, groups, height, width, bias
    "a block's": (2, 8, 16, 3, 1, 1, 1, 1, 9, 7, False),
    "strided, to an odd side": (4, 16, 32, 1, 2, 0, 1, 1, 9, 8, True),
    "a bottleneck's": (3, 32, 48, 3, 1, 1, 1, 1, 6, 5, False),
    "a stem's": (3, 3, 64, 7, 2, 3, 1, 1, 33, 35, False),
    "a pyramid's": (5, 64, 64, 9, 1, 4, 1, 16, 4, 4, False),
    "grouped, biased": (2, 32, 64, 5, 1, 2, 1, 4, 6, 6, True),
    "depthwise, dilated": (2, 16, 16, 3, 2, 1, 2, 16, 11, 9, False),
    "one pixel": (1, 64, 32, 1, 1, 0, 1, 1, 1, 1, False),
    "two paddings": (2, 4, 6, (3, 1), (2, 1), (1, 0), 1, 2, 6, 5, True),
}


@pytest.fixture
def calls(monkeypatch):
    """The names of the operators that ran, after those of the first use."""
    assert fused.convolves(paddle.ones([1, 1, 1, 1]), paddle.ones([1, 1, 1, 1]))
    found, run = [], fused.run
    monkeypatch.setattr(fused, "run", lambda name, *arguments: found.append(name) or run(name, *arguments))
    return found


def layer_of(channels_in, channels_out, kernel, stride, padding, dilation, groups, bias, **options):
    more = {} if bias else {"bias_attr": False}
    return Conv2D(channels_in, channels_out, kernel, stride, padding, dilation, groups, **more, **options)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_value_and_gradients_are_those_of_paddle_s_convolution(shape, calls):
    images, channels, outputs, kernel, stride, padding, dilation, groups, height, width, bias = shape
    layer = layer_of(channels, outputs, kernel, stride, padding, dilation, groups, bias)
    parameters = {name: drawn(*value.shape, seed=1 + place) for place, (name, value) in enumerate(layer.named_parameters())}
    x = drawn(images, channels, height, width)

    def found(convolve, tensors):
        y = convolve(tensors[0])
        dy = paddle.to_tensor(drawn(*y.shape, seed=9)).astype(y.dtype)
        return [value.numpy().astype("float64") for value in (y, *paddle.grad([y], tensors, [dy]))]

    def by_paddle(kind):
        tensors = [paddle.to_tensor(value.astype(kind), stop_gradient=False) for value in (x, *parameters.values())]
        more = {"bias": tensors[2]} if bias else {}
        settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return found(lambda image: F.conv2d(image, tensors[1], **more, **settings), tensors)

    exact, plain = by_paddle("float64"), by_paddle("float32")
    for name, parameter in layer.named_parameters():
        parameter.set_value(parameters[name].astype("float32"))
    image = paddle.to_tensor(x.astype("float32"), stop_gradient=False)
    ours = found(layer, [image, *layer.parameters()])
    assert calls == ["onednn_convolution"]
    for mine, paddles, wanted in zip(ours, plain, exact):
        size = np.linalg.norm(wanted)
        assert np.linalg.norm(mine - wanted) <= max(2 * np.linalg.norm(paddles - wanted), 1e-6 * size)


ROUNDING = 2.0**-9  # of a factor, at most, in bfloat16


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_in_bfloat16_value_and_gradients_are_as_far_off_as_rounded_factors(shape, calls):
    images, channels, outputs, kernel, stride, padding, dilation, groups, height, width, _ = shape
    if fused.obstacle_of_bfloat16():
        pytest.skip("oneDNN has no such convolutions on this processor, or without AVX-512")
    calls.clear()  # those of the question
    layer = layer_of(channels, outputs, kernel, stride, padding, dilation, groups, False)
    layer.weight.set_value(drawn(*layer.weight.shape, seed=1).astype("float32"))
    x = paddle.to_tensor(drawn(images, channels, height, width).astype("float32"), stop_gradient=False)

    def found():
        y = layer(x)
        dy = paddle.to_tensor(drawn(*y.shape, seed=9).astype("float32"))
        return [value.numpy() for value in (y, *paddle.grad([y], [x, layer.weight], [dy]))]

    wanted = found()
    with in_bfloat16(), own_convolutions("never"):  # narrow groups would stay in float32
        rounded = found()
    assert calls == ["onednn_convolution"] * 2
    for value, exact in zip(rounded, wanted):
        error = np.linalg.norm(value - exact) / np.linalg.norm(exact)
        assert value.dtype == np.float32
        assert error < 2 * ROUNDING
        assert error > ROUNDING / 4  # not float32 under another name
    assert all(np.array_equal(again, before) for again, before in zip(found(), wanted))  # float32 again


@pytest.mark.parametrize("context", [contextlib.nullcontext, in_bfloat16])
def test_the_same_bits_every_time(context):
    layer, x = layer_of(32, 64, 3, 1, 1, 1, 1, False), paddle.to_tensor(drawn(8, 32, 12, 12).astype("float32"))
    x.stop_gradient = False
    found = set()
    for _ in range(3):
        with context():
            y = layer(x)
        found.add(b"".join(value.numpy().tobytes() for value in (y, *paddle.grad([y], [x, layer.weight], [y * 2]))))
    assert len(found) == 1


def test_maps_of_other_sizes_follow_each_other():
    layer = layer_of(8, 8, 3, 1, 1, 1, 1, False)
    for images, side in ((4, 16), (1, 3), (4, 16), (2, 40)):  # the memory between is used again, and grows
        x = paddle.to_tensor(drawn(images, 8, side, side).astype("float32"))
        wanted = F.conv2d(x, layer.weight, padding=1)
        np.testing.assert_allclose(layer(x).numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_gradients_that_nobody_wants_are_not_computed_and_the_others_are_right():
    x, weight = drawn(2, 8, 6, 6).astype("float32"), drawn(4, 8, 3, 3).astype("float32")
    layer = layer_of(8, 4, 3, 1, 1, 1, 1, False)
    layer.weight.set_value(weight)
    for of_x, of_weight in ((True, False), (False, True)):
        image = paddle.to_tensor(x, stop_gradient=not of_x)
        layer.weight.stop_gradient = not of_weight
        layer.weight.clear_grad()
        layer(image).square().sum().backward()
        image_2, weight_2 = (paddle.to_tensor(value, stop_gradient=False) for value in (x, weight))
        F.conv2d(image_2, weight_2, padding=1).square().sum().backward()
        for has, mine, wanted in ((of_x, image.grad, image_2.grad), (of_weight, layer.weight.grad, weight_2.grad)):
            assert (mine is not None) == has
            if has:
                np.testing.assert_allclose(mine.numpy(), wanted.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"data_format": "NHWC"}, "float32"),
        ({"padding_mode": "reflect"}, "float32"),
        ({"padding": "SAME"}, "float32"),
        ({}, "float64"),
    ],
)
def test_what_onednn_is_not_for_is_paddle_s(options, kind, calls):
    fused.set_mode("auto")
    layer = Conv2D(4, 4, 3, **{"padding": 1, **options}).to(dtype=kind)
    assert layer(paddle.ones([1, 4, 4, 4], kind)).shape == [1, 4, 4, 4]
    assert calls == []


def test_a_transposed_map_is_taken_in_its_own_order():
    layer, x = layer_of(4, 6, 3, 1, 1, 1, 1, False), paddle.to_tensor(drawn(2, 5, 4, 7).astype("float32"))
    turned = x.transpose([0, 2, 1, 3])
    np.testing.assert_allclose(layer(turned).numpy(), F.conv2d(turned, layer.weight, padding=1).numpy(), rtol=1e-4, atol=1e-5)


def test_where_onednn_is_not_there_paddle_convolves_after_one_line(monkeypatch, calls, capsys):
    monkeypatch.setattr(fused, "_obstacle_of_convolutions", lambda: "this Paddle comes without oneDNN 3")
    monkeypatch.setattr(fused, "_reported", set())
    layer, x = layer_of(4, 6, 3, 1, 1, 1, 1, False), paddle.ones([1, 4, 4, 4])
    assert all(layer(x).shape == [1, 6, 4, 4] for _ in range(2))
    assert calls == []
    assert capsys.readouterr().err.count("Paddle's own convolutions run: this Paddle comes without oneDNN 3") == 1


def test_the_parameters_are_paddle_s():
    paddle.seed(4)
    ours = layer_of(4, 6, 3, 1, 1, 1, 1, True).state_dict()
    paddle.seed(4)
    paddles = nn.Conv2D(4, 6, 3, padding=1).state_dict()
    assert list(ours) == list(paddles)
    assert all(np.array_equal(ours[name].numpy(), paddles[name].numpy()) for name in ours)

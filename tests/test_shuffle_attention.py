"""Shuffle Attention against a NumPy float64 transcription of the paper's equations."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from attention.shuffle_attention import ShuffleAttention
from ops.shuffle_functional import shuffle_attention_reference

pytestmark = pytest.mark.python_independent

SHAPES = [(2, 128, 4, 4, 64), (1, 256, 5, 3, 64), (3, 16, 7, 7, 4), (2, 8, 1, 1, 2), (2, 12, 1, 9, 3), (2, 6, 3, 2, 1)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def paper(x, w1, b1, w2, b2, gamma, beta, groups):
    """SA-Net, section 3: feature grouping, channel attention (eq. 1, 2), spatial attention (eq. 3), aggregation."""
    n, c = x.shape[:2]
    k = c // (2 * groups)
    out = np.empty_like(x)
    for image in range(n):
        for group in range(groups):
            start = group * 2 * k
            for j in range(k):
                x1, x2 = x[image, start + j], x[image, start + k + j]
                out[image, start + j] = sigmoid(w1[j] * x1.mean() + b1[j]) * x1
                normal = gamma[j] * (x2 - x2.mean()) / np.sqrt(x2.var() + 1e-5) + beta[j]
                out[image, start + k + j] = sigmoid(w2[j] * normal + b2[j]) * x2
    shuffled = np.empty_like(out)
    shuffled[:, 0::2], shuffled[:, 1::2] = out[:, : c // 2], out[:, c // 2 :]
    return shuffled


def random_case(shape, seed=0):
    n, c, h, w, groups = shape
    rng = np.random.default_rng(seed)
    x = rng.normal(0.3, 1.5, (n, c, h, w))
    parameters = [rng.normal(size=c // (2 * groups)) for _ in range(6)]
    return x, parameters, groups


def run_reference(x, parameters, groups, residual=None):
    k = len(parameters[0])
    shaped = [p.reshape([1, k, 1, 1]) for p in parameters[:4]] + parameters[4:]
    return shuffle_attention_reference(x, *shaped, groups, residual)


def tensors(arrays):
    return [paddle.to_tensor(array, dtype="float64", stop_gradient=False) for array in arrays]


@pytest.mark.parametrize("shape", SHAPES)
def test_output_is_that_of_the_papers_equations(shape):
    x, parameters, groups = random_case(shape)
    y = run_reference(*tensors([x]), tensors(parameters), groups)
    np.testing.assert_allclose(y.numpy(), paper(x, *parameters, groups), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_residual_ends_a_resnet_block(shape):
    x, parameters, groups = random_case(shape)
    residual = np.random.default_rng(1).normal(size=x.shape)
    y = run_reference(*tensors([x]), tensors(parameters), groups, paddle.to_tensor(residual))
    expected = np.maximum(paper(x, *parameters, groups) + residual, 0)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_finite_differences(shape):
    x, parameters, groups = random_case(shape)
    weight = np.random.default_rng(2).normal(size=x.shape)  # the loss is sum(weight * y)
    arrays = [x, *parameters]
    inputs = tensors(arrays)
    (run_reference(inputs[0], inputs[1:], groups) * paddle.to_tensor(weight)).sum().backward()

    def loss(changed):
        return (paper(changed[0], *changed[1:], groups) * weight).sum()

    rng, step = np.random.default_rng(3), 1e-6
    for which, array in enumerate(arrays):
        direction = rng.normal(size=array.shape)
        plus, minus = [a.copy() for a in arrays], [a.copy() for a in arrays]
        plus[which] += step * direction
        minus[which] -= step * direction
        numeric = (loss(plus) - loss(minus)) / (2 * step)
        analytic = (inputs[which].grad.numpy() * direction).sum()
        assert analytic == pytest.approx(numeric, rel=1e-5, abs=1e-5), f"input {which}"


@pytest.mark.parametrize("size", [(256, 6, 5), (512, 1, 1)])
def test_layer_starts_as_a_scaled_channel_shuffle(size):
    channels, height, width = size
    x = paddle.randn([2, channels, height, width])
    expected = F.sigmoid(paddle.ones([1])) * F.channel_shuffle(x, 2)
    np.testing.assert_allclose(ShuffleAttention(channels)(x).numpy(), expected.numpy(), rtol=1e-6)


def test_channel_shuffle_sends_channels_where_the_authors_do():
    layer = ShuffleAttention(8, groups=2)
    x = paddle.arange(8, dtype="float32").reshape([1, 8, 1, 1])
    order = (layer(x) / F.sigmoid(paddle.ones([1]))).flatten().numpy()
    np.testing.assert_allclose(order, [0, 4, 1, 5, 2, 6, 3, 7], rtol=1e-6)


def test_parameters_have_the_authors_names_shapes_and_start():
    state = {name: value.numpy() for name, value in ShuffleAttention(512).state_dict().items()}
    assert {name: value.shape for name, value in state.items()} == {
        "cweight": (1, 4, 1, 1), "cbias": (1, 4, 1, 1), "sweight": (1, 4, 1, 1), "sbias": (1, 4, 1, 1),
        "gn.weight": (4,), "gn.bias": (4,),
    }  # fmt: skip
    for name, start in {"cweight": 0, "cbias": 1, "sweight": 0, "sbias": 1, "gn.weight": 1, "gn.bias": 0}.items():
        assert (state[name] == start).all(), name


@pytest.mark.parametrize(("channels", "groups"), [(64, 64), (192, 64), (256, 0), (100, 3)])
def test_groups_that_do_not_divide_the_channels_are_refused_with_the_rule(channels, groups):
    with pytest.raises(ValueError, match=f"groups = {groups} with {channels} channels: .* multiple of 2 \\* groups"):
        ShuffleAttention(channels, groups)


def test_conv_gate_equals_the_rewrite_it_is_taken_from():
    paddle.seed(5)
    channels, groups = 16, 2
    layer = ShuffleAttention(channels, groups, gate="conv")
    x = paddle.randn([3, channels, 5, 4])
    # the seed's module, step by step
    grouped = x.reshape([3 * groups, -1, 5, 4])
    x0, x1 = paddle.chunk(grouped, 2, axis=1)
    y0 = x0 * F.sigmoid(layer.affine1(F.adaptive_avg_pool2d(x0, 1)))
    y1 = x1 * F.sigmoid(layer.affine2(layer.gn(x1)))
    y = F.channel_shuffle(paddle.concat([y0, y1], axis=1).reshape([3, -1, 5, 4]), 2)
    np.testing.assert_allclose(layer(x).numpy(), y.numpy(), rtol=1e-5, atol=1e-6)
    residual = paddle.randn(x.shape)
    np.testing.assert_allclose(layer(x, residual).numpy(), F.relu(y + residual).numpy(), rtol=1e-5, atol=1e-6)


def test_unknown_gate_is_refused():
    with pytest.raises(ValueError, match="gate = 'se': expected 'scale' or 'conv'"):
        ShuffleAttention(256, gate="se")

"""Attention layers against NumPy float64 transcriptions of their papers' equations, and their gradients."""

import numpy as np
import paddle
import pytest

from attention import ATTENTIONS, attention_layer
from attention.efficient_channel import adaptive_kernel_size

pytestmark = pytest.mark.python_independent


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def se(x, p):
    """Hu et al., equations 2 to 4."""
    z = x.mean(axis=(2, 3))
    s = sigmoid(np.maximum(z @ p["fc1.weight"] + p["fc1.bias"], 0) @ p["fc2.weight"] + p["fc2.bias"])
    return x * s[:, :, None, None]


def cbam(x, p):
    """Woo et al., equations 1 to 3, with the authors' batch norm (running statistics) after the convolution."""

    def mlp(v):
        return np.maximum(v @ p["fc1.weight"] + p["fc1.bias"], 0) @ p["fc2.weight"] + p["fc2.bias"]

    x = x * sigmoid(mlp(x.mean(axis=(2, 3))) + mlp(x.max(axis=(2, 3))))[:, :, None, None]
    maps = np.stack([x.mean(axis=1), x.max(axis=1)], axis=1)
    n, _, h, w = maps.shape
    padded = np.pad(maps, ((0, 0), (0, 0), (3, 3), (3, 3)))
    out = np.zeros((n, h, w))
    for i in range(7):
        for j in range(7):
            out += (padded[:, :, i : i + h, j : j + w] * p["conv.weight"][0, :, i, j][None, :, None, None]).sum(axis=1)
    out = (out - p["bn._mean"]) / np.sqrt(p["bn._variance"] + 1e-5) * p["bn.weight"] + p["bn.bias"]
    return x * sigmoid(out)[:, None]


def eca(x, p):
    """Wang et al., equations 9 and 12."""
    kernel = p["conv.weight"][0, 0]
    z = np.pad(x.mean(axis=(2, 3)), ((0, 0), (len(kernel) // 2,) * 2))
    gates = np.stack([sigmoid(z[:, c : c + len(kernel)] @ kernel) for c in range(x.shape[1])], axis=1)
    return x * gates[:, :, None, None]


def sge(x, p):
    """Li et al., equations 1 to 5, position by position."""
    out, groups = np.empty_like(x), p["weight"].size
    per_group = x.shape[1] // groups
    for n in range(len(x)):
        for k in range(groups):
            part = x[n, k * per_group : (k + 1) * per_group]
            c = (part.mean(axis=(1, 2))[:, None, None] * part).sum(axis=0)
            c = (c - c.mean()) / (c.std() + 1e-5)
            out[n, k * per_group : (k + 1) * per_group] = part * sigmoid(p["weight"].ravel()[k] * c + p["bias"].ravel()[k])
    return out


def simam(x, p):
    """Yang et al., equation 5 inverted, plane by plane."""
    out = np.empty_like(x)
    for n, c in np.ndindex(*x.shape[:2]):
        t = x[n, c]
        variance = ((t - t.mean()) ** 2).sum() / max(t.size - 1, 1)
        energy = 4 * (variance + 1e-4) / ((t - t.mean()) ** 2 + 2 * variance + 2e-4)
        out[n, c] = t * sigmoid(1 / energy)
    return out


PAPERS = {"se": se, "cbam": cbam, "eca": eca, "sge": sge, "simam": simam}
OPTIONS = {"se": {"reduction": 4}, "cbam": {"reduction": 4}, "sge": {"groups": 8}}


def random_layer(name, channels=32):
    """A layer in float64, in evaluation mode, with random parameters and statistics."""
    layer = attention_layer(name)(channels, **OPTIONS.get(name, {}))
    layer.to(dtype="float64")
    layer.eval()
    rng = np.random.default_rng(1)
    for key, value in layer.state_dict().items():
        low = 0.5 if key.endswith("_variance") else -1.0
        value.set_value(paddle.to_tensor(rng.uniform(low, 1.5, value.shape)))
    return layer


def test_every_layer_has_its_transcription():
    assert set(PAPERS) | {"shuffle"} == set(ATTENTIONS)  # that of Shuffle Attention: test_shuffle_attention.py


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (2, 9)])
@pytest.mark.parametrize("name", PAPERS)
def test_output_is_that_of_the_papers_equations(name, size):
    layer = random_layer(name)
    x = np.random.default_rng(0).normal(0.3, 1.5, (3, 32, *size))
    parameters = {key: value.numpy() for key, value in layer.state_dict().items()}
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), PAPERS[name](x, parameters), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", PAPERS)
def test_gradients_are_those_of_finite_differences(name):
    layer = random_layer(name)
    rng = np.random.default_rng(0)
    x, weight, direction = (rng.normal(size=(2, 32, 4, 3)) for _ in range(3))
    parameters = {key: value.numpy() for key, value in layer.state_dict().items()}
    tensor = paddle.to_tensor(x, stop_gradient=False)
    (layer(tensor) * paddle.to_tensor(weight)).sum().backward()
    losses = [(PAPERS[name](x + step * direction, parameters) * weight).sum() for step in (1e-6, -1e-6)]
    assert (tensor.grad.numpy() * direction).sum() == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_end_of_a_block_is_attention_of_the_norm_plus_residual(name):
    from ops.batch_norm import BatchNorm2D

    layer = attention_layer(name)(128)
    norm = BatchNorm2D(128)
    layer.eval()
    norm.eval()
    x, residual = paddle.randn([2, 128, 5, 5]), paddle.randn([2, 128, 5, 5])
    expected = np.maximum((layer(norm(x)) + residual).numpy(), 0)
    np.testing.assert_allclose(layer.end_block(x, norm, residual).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(64, 3), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_eca_kernel_grows_with_the_channels_as_published(channels, size):
    assert adaptive_kernel_size(channels) == size


def test_simam_in_half_precision_neither_overflows_nor_loses_the_gate():
    x = np.random.default_rng(0).normal(0, 300, (2, 4, 30, 30)).astype("float16")  # squares up to 10^6, float16 ends at 65504
    found = attention_layer("simam")(4)(paddle.to_tensor(x)).numpy()
    assert found.dtype == np.float16
    expected = simam(x.astype("float64"), {})
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=0.5)


def test_simam_on_single_values_and_constant_planes_is_a_number():
    layer = attention_layer("simam")(3)
    for x in (paddle.full([2, 3, 1, 1], 7.0), paddle.full([2, 3, 4, 4], 7.0)):
        np.testing.assert_allclose(layer(x).numpy(), 7 * sigmoid(0.5) * np.ones(x.shape), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [
        ("se", 24, {}, "reduction = 16 with 24 channels: it must divide them"),
        ("cbam", 24, {}, "reduction = 16 with 24 channels: it must divide them"),
        ("sge", 32, {}, "groups = 64 with 32 channels: it must divide them"),
        ("simam", 8, {"e_lambda": 0.0}, "e_lambda = 0.0: must be above zero"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_rule(name, channels, options, message):
    with pytest.raises(ValueError, match=message):
        attention_layer(name)(channels, **options)

"""Attention layers against NumPy float64 transcriptions of their authors' code, their gradients and their initial values."""

import authors_forms
import numpy as np
import paddle
import pytest
from authors_forms import FORMS, drawn, layer_shapes, sigmoid
from distributions import is_normal, is_uniform

from attention import ATTENTIONS, attention_layer
from attention.efficient_channel import adaptive_kernel_size
from networks.epsanet import PyramidSqueezeAttention

pytestmark = pytest.mark.python_independent

CHANNELS, HIDDEN = 32, 8
CASES = {
    "se": ("se", {"reduction": 4}),
    "cbam": ("cbam", {"reduction": 4}),
    "eca": ("eca", {"kernel_size": 7}),
    "sge": ("sge", {"groups": 8}),
    "simam": ("simam", {}),
    "shuffle": ("shuffle", {"groups": 4}),
    "conv gate": ("shuffle", {"groups": 4, "gate": "conv"}),
}
"""Case -> (attention, options)."""
OURS = {
    "fc.0.": "fc1.", "fc.2.": "fc2.", "ChannelGate.mlp.1.": "fc1.", "ChannelGate.mlp.3.": "fc2.", "SpatialGate.spatial.": "",
    "running_mean": "_mean", "running_var": "_variance",
}  # fmt: skip


def random_case(case, training=False):
    """(layer in float64, function of the authors' form, its parameters), with random parameters and statistics."""
    name, options = CASES[case]
    shapes = layer_shapes(case, CHANNELS, HIDDEN, groups=options.get("groups", 1), kernel=7)
    parameters = {key: value.astype("float64") for key, value in drawn(shapes).items()}
    layer = attention_layer(name)(CHANNELS, **options)
    layer.to(dtype="float64")
    if not training:
        layer.eval()
    load(layer, parameters)
    groups = {"groups": options["groups"]} if name == "shuffle" else {}
    return layer, lambda x: FORMS[name](x, parameters, training, **groups), parameters


def load(layer, parameters):
    """Put the authors' ``parameters`` into our ``layer``."""
    own = layer.state_dict()
    for key, value in parameters.items():
        if key == "SpatialGate.spatial.conv.weight":
            value = value[:, ::-1].copy()  # the mean before the maximum
        for theirs, ours in OURS.items():
            key = key.replace(theirs, ours)
        linear = key in ("fc1.weight", "fc2.weight")
        own[key].set_value(paddle.to_tensor((value.T if linear else value).reshape(own[key].shape)))
    assert len(own) == len(parameters)


def test_every_layer_has_its_transcription():
    assert {name for name, _ in CASES.values()} == set(ATTENTIONS)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (2, 2), (2, 9)])
@pytest.mark.parametrize("case", CASES)
def test_output_is_that_of_the_authors_code(case, size, training):
    layer, form, _ = random_case(case, training)
    x = np.random.default_rng(0).normal(0.3, 1.5, (3, CHANNELS, *size))
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), form(x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_finite_differences(case):
    layer, form, _ = random_case(case)
    rng = np.random.default_rng(0)
    x, weight, direction = (rng.normal(size=(2, CHANNELS, 4, 3)) for _ in range(3))
    tensor = paddle.to_tensor(x, stop_gradient=False)
    (layer(tensor) * paddle.to_tensor(weight)).sum().backward()
    losses = [(form(x + step * direction) * weight).sum() for step in (1e-6, -1e-6)]
    assert (tensor.grad.numpy() * direction).sum() == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_pyramid_squeeze_attention_is_that_of_its_authors_code(stride):
    parameters = {key: value.astype("float64") for key, value in drawn(authors_forms.psa_shapes(64)).items()}
    layer = PyramidSqueezeAttention(64, 64, stride)
    layer.to(dtype="float64")
    load(layer, parameters)
    x = np.random.default_rng(0).normal(0.3, 1.5, (2, 64, 5, 7))
    expected = authors_forms.psa(x, parameters, stride)
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, rtol=1e-9, atol=1e-10)


def test_cbam_keeps_its_statistics_as_its_authors_do():
    for earlier, momentum in ((False, 0.01), (True, 0.1)):
        layer = attention_layer("cbam")(CHANNELS, earlier=earlier)
        layer(paddle.full([2, CHANNELS, 9, 9], 1.0))
        before = layer.bn._mean.numpy().copy()
        batch = []
        layer.bn.register_forward_pre_hook(lambda _, inputs, batch=batch: batch.append(inputs[0].numpy()))
        layer(paddle.randn([2, CHANNELS, 9, 9]))
        expected = (1 - momentum) * before + momentum * batch[0].mean()
        np.testing.assert_allclose(layer.bn._mean.numpy(), expected, rtol=1e-4, atol=1e-7)


def test_sge_of_earlier_runs_divides_by_the_number_of_positions():
    layer, _, _ = random_case("sge")
    layer.earlier = True
    x = np.random.default_rng(0).normal(0.3, 1.5, (3, CHANNELS, 2, 2))
    x = paddle.to_tensor(x)
    # sqrt(M / (M - 1)) is the whole difference, so the weight can make up for it, but for the epsilon
    earlier, ratio = layer(x).numpy(), np.sqrt(3 / 4)
    layer.earlier = False
    assert np.abs(layer(x).numpy() - earlier).max() > 1e-3
    layer.weight.set_value(layer.weight / ratio)
    np.testing.assert_allclose(layer(x).numpy(), earlier, atol=1e-3 * np.abs(earlier).max())
    assert attention_layer("sge")(CHANNELS, 8, earlier=True).earlier


@pytest.mark.parametrize("size", [(1, 1), (4, 4)])
def test_sge_on_single_values_and_constant_maps_has_gradients(size):
    layer, _, parameters = random_case("sge", training=True)
    x = paddle.full([2, CHANNELS, *size], 7.0, "float64")
    x.stop_gradient = False
    y = layer(x)
    y.sum().backward()
    gates = np.repeat(sigmoid(parameters["bias"].ravel()), CHANNELS // 8)
    np.testing.assert_allclose(y.numpy(), 7 * gates[None, :, None, None] * np.ones(y.shape), rtol=1e-9)
    assert np.isfinite(x.grad.numpy()).all()


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
    assert attention_layer("eca")(channels).conv.weight.shape == [1, 1, size]


def test_simam_in_half_precision_neither_overflows_nor_loses_the_gate():
    x = np.random.default_rng(0).normal(0, 300, (2, 4, 30, 30)).astype("float16")  # squares up to 10^6, float16 ends at 65504
    found = attention_layer("simam")(4)(paddle.to_tensor(x)).numpy()
    assert found.dtype == np.float16
    expected = FORMS["simam"](x.astype("float64"), {})
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=0.5)


def test_simam_on_single_values_and_constant_planes_is_a_number():
    layer = attention_layer("simam")(3)
    for x in (paddle.full([2, 3, 1, 1], 7.0), paddle.full([2, 3, 4, 4], 7.0)):
        np.testing.assert_allclose(layer(x).numpy(), 7 * sigmoid(0.5) * np.ones(x.shape), rtol=1e-6)


# Initial values


def layers(name, count, channels, **options):
    paddle.seed(5)
    made = [attention_layer(name)(channels, **options) for _ in range(count)]
    return [{key: value.numpy() for key, value in layer.state_dict().items()} for layer in made]


def test_se_starts_as_pytorch_starts_linear_layers():
    made = layers("se", 8, 256)
    for part, fan_in in (("fc1", 256), ("fc2", 16)):
        is_uniform([state[f"{part}.weight"] for state in made], 1 / np.sqrt(fan_in))
    is_uniform([state["fc2.bias"] for state in made], 1 / np.sqrt(16))
    is_uniform([state["fc1.bias"] for state in layers("se", 30, 256)], 1 / np.sqrt(256))


def test_cbam_starts_as_its_authors_code():
    made = layers("cbam", 8, 256)
    for part, fan_in in (("fc1", 256), ("fc2", 16)):
        is_uniform([state[f"{part}.weight"] for state in made], 1 / np.sqrt(fan_in))
        assert not any(state[f"{part}.bias"].any() for state in made)
    is_normal([state["conv.weight"] for state in made], np.sqrt(2 / 49))
    for state in made:
        statistics = [state[f"bn.{part}"].item() for part in ("weight", "bias", "_mean", "_variance")]
        assert statistics == [0, 0, 0, 1]
    x = np.random.default_rng(0).normal(size=(2, 32, 5, 7)).astype("float32")
    layer = attention_layer("cbam")(32)
    gates = layer(paddle.to_tensor(x)).numpy() / x
    np.testing.assert_allclose(gates, np.broadcast_to(gates[:, :, :1, :1], x.shape), rtol=1e-4)
    assert (gates < 0.5).all(), "every position gate starts at 1/2"


@pytest.mark.parametrize(("channels", "size"), [(64, 3), (2048, 7)])
def test_eca_starts_as_pytorch_starts_convolutions(channels, size):
    is_uniform([state["conv.weight"] for state in layers("eca", 200, channels)], 1 / np.sqrt(size))


def test_gates_of_sge_and_shuffle_attention_start_at_sigmoid_of_one():
    [sge] = layers("sge", 1, 64, groups=8)
    assert (sge["weight"] == 0).all()
    assert (sge["bias"] == 1).all()
    [shuffle] = layers("shuffle", 1, 64, groups=8)
    assert {key: set(value.ravel()) for key, value in shuffle.items()} == {
        "cweight": {0}, "cbias": {1}, "sweight": {0}, "sbias": {1}, "gn.weight": {1}, "gn.bias": {0},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [
        ("se", 24, {}, "reduction = 16 with 24 channels: it must divide them"),
        ("cbam", 24, {}, "reduction = 16 with 24 channels: it must divide them"),
        ("sge", 32, {}, "groups = 64 with 32 channels: it must divide them"),
        ("simam", 8, {"e_lambda": 0.0}, "e_lambda = 0.0: must be above zero"),
        ("eca", 8, {"kernel_size": 4}, "kernel_size = 4: must be odd, so that each channel is in the middle; try 5"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_rule(name, channels, options, message):
    with pytest.raises(ValueError, match=message):
        attention_layer(name)(channels, **options)

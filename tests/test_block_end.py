"""The fused operators against the plain ones: outputs, every gradient, running statistics."""

import itertools
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from attention.shuffle_attention import ShuffleAttention
from networks import build_network
from ops import fused
from ops.batch_norm import BatchNorm2D, Norm, batch_norm, batch_norm_reference, fusable
from ops.shuffle_functional import shuffle_attention, shuffle_attention_reference
from sa_resnet import BlockAttention, ResNet

pytestmark = [pytest.mark.python_independent, pytest.mark.usefixtures("fused_on")]

# images, channels, height, width, groups: one plane of one value, odd ones, more than one vector register, prime sizes
SHAPES = [
    (1, 2, 1, 1, 1), (2, 8, 1, 1, 2), (4, 128, 6, 5, 64), (3, 16, 7, 7, 4), (2, 12, 1, 9, 3), (1, 256, 5, 3, 64),
    (2, 8, 28, 29, 2), (16, 6, 2, 2, 1), (2, 4, 57, 56, 1),
]  # fmt: skip
SHAPES_IN_BLOCKS = [
    (2, 32, 1, 1, 1), (4, 128, 6, 5, 64), (3, 64, 7, 7, 16), (1, 256, 5, 3, 64), (2, 32, 28, 29, 2), (16, 160, 2, 2, 5),
    (2, 64, 13, 5, 1), (2, 96, 5, 3, 16), (2, 96, 3, 3, 2), (2, 64, 4, 3, 4),
]  # fmt: skip
NORMS = (None, "batch", "running")
NAMES = ["output", "x", "residual", "weight", "bias", "running mean", "running variance"]
NAMES += ["cweight", "cbias", "sweight", "sbias", "gamma", "beta"]


def random_case(shape, seed=0):
    """NumPy float64 arrays: x, residual, weight of the loss, norm's four, attention's six."""
    n, c, h, w, groups = shape
    rng, half = np.random.default_rng(seed), c // (2 * groups)
    maps = [rng.normal(0.3, 1.5, (n, c, h, w)), rng.normal(size=(n, c, h, w)), rng.normal(size=(n, c, h, w))]
    norm = [rng.normal(1, 0.5, c), rng.normal(size=c), rng.normal(size=c), rng.uniform(0.5, 2, c)]
    attention = [rng.normal(size=(1, half, 1, 1)) for _ in range(4)] + [rng.normal(size=half) for _ in range(2)]
    return maps, norm, attention


def compute(case, dtype, groups, norm_kind, attends, residual, relu, plain, lanes=0):
    """Output, gradients and running statistics, by name; ``lanes``: with feature maps in blocks of so many channels."""
    maps, norm, attention = ([paddle.to_tensor(a, dtype=dtype) for a in arrays] for arrays in case)
    x, r, loss_weight = maps
    for tensor in (x, r, *norm[:2], *attention):
        tensor.stop_gradient = False
    bundle = Norm(*norm, training=norm_kind == "batch", momentum=0.8) if norm_kind else None
    given, added = (fused.run("channel_blocks", value, lanes) if lanes else value for value in (x, r))
    added = added if residual else None
    if attends:
        function = shuffle_attention_reference if plain else shuffle_attention
        out = function(given, *attention, groups, added, bundle)
    else:
        out = (batch_norm_reference if plain else batch_norm)(given, bundle, added, relu)
    out = fused.run("channel_blocks", out, lanes) if lanes else out
    (out * loss_weight).sum().backward()
    values = [out, x.grad, r.grad, norm[0].grad, norm[1].grad, norm[2], norm[3], *(p.grad for p in attention)]
    return {name: value.numpy().astype("float64") for name, value in zip(NAMES, values) if value is not None}


def relative_error(found, expected, terms=1):
    # The floor is for gradients that are zero but for rounding: all inputs are of the size of 1. Each value is a sum of so many
    # ``terms``, which may cancel
    return np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-3 if terms == 1 else 0.02 * terms**0.5)


def errors_of(found, expected):
    size = expected["output"].size
    return {name: relative_error(found[name], value, size // value.size) for name, value in expected.items()}


def assert_close(found, expected, tolerance, own_error=None):
    assert found.keys() == expected.keys()
    errors = errors_of(found, expected)
    allowed = {name: max(tolerance, 2 * own_error[name]) if own_error else tolerance for name in expected}
    assert {name: error for name, error in errors.items() if not error <= allowed[name]} == {}


KINDS = [
    (norm, attends, residual, relu)
    for norm, attends, residual, relu in itertools.product(NORMS, (True, False), (True, False), (True, False))
    if (attends or norm) and not (relu and (attends or residual))  # what the functions offer
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fused_operators_compute_what_the_plain_ones_do(shape, kind):
    norm, attends, residual, relu = kind
    case, groups = random_case(shape), shape[-1]
    exact = compute(case, "float64", groups, norm, attends, residual, relu, plain=True)
    assert_close(compute(case, "float64", groups, norm, attends, residual, relu, plain=False), exact, 1e-9)
    if norm == "batch" and shape[0] * shape[2] * shape[3] == 2:
        return  # of two values, batch norm leaves the sign alone: the gradient of x is nothing but rounding in float32
    # where sums cancel, no float32 computation reaches 1e-5: the plain operators' own error is then the measure
    plain = compute(case, "float32", groups, norm, attends, residual, relu, plain=True)
    own_error = errors_of(plain, exact)
    single = compute(case, "float32", groups, norm, attends, residual, relu, plain=False)
    assert_close(single, exact, 1e-5, own_error)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES_IN_BLOCKS, ids=str)
def test_in_blocks_of_channels_they_compute_the_same(shape, kind, lanes):
    norm, attends, residual, relu = kind
    case, groups = random_case(shape), shape[-1]
    exact = compute(case, "float64", groups, norm, attends, residual, relu, plain=True)
    if norm == "batch" and shape[0] * shape[2] * shape[3] == 2:
        return
    plain = compute(case, "float32", groups, norm, attends, residual, relu, plain=True)
    own_error = errors_of(plain, exact)
    blocked = compute(case, "float32", groups, norm, attends, residual, relu, plain=False, lanes=lanes)
    assert_close(blocked, exact, 1e-5, own_error)


@pytest.mark.parametrize("transposed", ["x", "residual", "gradient"])
def test_views_that_are_not_contiguous(transposed):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(2, 16, 5, 7)) for name in ("x", "residual", "gradient")}
    layer = ShuffleAttention(16, groups=2)
    layer.to(dtype="float64")
    results = []
    for mode in ("off", "on"):
        fused.set_mode(mode)
        tensors = {}
        for name, array in arrays.items():
            if name == transposed:  # the same values, stored width by height
                tensor = paddle.to_tensor(np.ascontiguousarray(array.transpose(0, 1, 3, 2))).transpose([0, 1, 3, 2])
            else:
                tensor = paddle.to_tensor(array)
            tensor.stop_gradient = name == "gradient"
            tensors[name] = tensor
        out = layer(tensors["x"], residual=tensors["residual"])
        gradients = paddle.grad([out], [tensors["x"], tensors["residual"]], [tensors["gradient"]])
        results.append([t.numpy() for t in (out, *gradients)])
    for plain, single in zip(*results):
        np.testing.assert_allclose(single, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(paddle.__version__.startswith("2."), reason="Paddle 2 cannot take the mean of an empty tensor")
def test_an_empty_batch_passes_through():
    layer = ShuffleAttention(16, groups=2)
    x = paddle.zeros([0, 16, 5, 7])
    assert layer(x, residual=x).shape == [0, 16, 5, 7]


@pytest.mark.parametrize("blocked", [False, True])
def test_nan_is_not_hidden(blocked, request):
    lanes = request.getfixturevalue("lanes") if blocked else 0
    x = paddle.randn([2, 32, 5, 7])
    x[1, 3, 2, 2] = float("nan")
    x = fused.run("channel_blocks", x, lanes) if lanes else x
    layer, norm = ShuffleAttention(32, groups=2), BatchNorm2D(32)
    assert np.isnan(layer(x, residual=x).numpy()).any()
    normed = norm(x, relu=True)
    normed = fused.run("channel_blocks", normed, lanes) if lanes else normed
    assert np.isnan(normed.numpy()[:, 3]).all()
    assert np.isfinite(np.delete(normed.numpy(), 3, axis=1)).all()


def test_huge_inputs_saturate_the_gates_and_stay_finite():
    x = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 16, 5, 7)) * 1e4, dtype="float32", stop_gradient=False)
    layer = ShuffleAttention(16, groups=2)
    layer.sweight.set_value(paddle.full([1, 4, 1, 1], 1e3))
    layer.cweight.set_value(paddle.full([1, 4, 1, 1], -1e3))
    out = layer(x)
    out.sum().backward()
    assert np.isfinite(out.numpy()).all()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("blocked", [False, True])
def test_threads_change_nothing(blocked, request):
    case, lanes = random_case((4, 32, 9, 9, 4)), request.getfixturevalue("lanes") if blocked else 0
    results = []
    for threads in (1, 2, 3):
        paddle.base.core.set_num_threads(threads)
        results.append(compute(case, "float32", 4, "batch", True, True, False, plain=False, lanes=lanes))
    paddle.base.core.set_num_threads(2)
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.parametrize("name", ["sa_resnet", "resnet"])
def test_a_network_trains_and_evaluates_the_same_with_and_without(name):
    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(4, 3, 64, 64)), dtype="float64")
    results = []
    for mode in ("off", "on"):
        fused.set_mode(mode)
        paddle.seed(0)
        network = build_network(name, 5)
        network.to(dtype="float64")  # in float32 fifty layers make much of the last digit
        out = network(images)
        out.square().sum().backward()
        gradients = {n: p.grad.numpy() for n, p in network.named_parameters() if p.grad is not None}
        statistics = {n: v.numpy() for n, v in network.state_dict().items() if n.endswith(("._mean", "._variance"))}
        network.eval()
        results.append((out.numpy(), network(images).numpy(), gradients, statistics))
    (out, evaluated, gradients, statistics), other = results
    assert relative_error(other[0], out) < 1e-7
    assert relative_error(other[1], evaluated) < 1e-7
    assert max(relative_error(other[3][n], v) for n, v in statistics.items()) < 1e-7
    assert other[2].keys() == gradients.keys()
    assert max(relative_error(other[2][n], v) for n, v in gradients.items()) < 1e-6


def test_an_unsupported_type_runs_plain_or_is_refused():
    x = paddle.randn([2, 16, 5, 7]).astype("float16")
    with pytest.raises(fused.FusedError, match=r"no code for paddle\.float16 on a CPU; --fused auto runs"):
        fused.usable(x)
    fused.set_mode("auto")
    assert not fused.usable(x)


def test_a_traced_network_holds_plain_operators_only(tmp_path):
    network = ResNet((1, 1, 1, 1), 5, BlockAttention("shuffle"))
    network.eval()
    specification = [paddle.static.InputSpec([None, 3, 64, 64], "float32")]
    paddle.jit.save(network, str(tmp_path / "model"), input_spec=specification)
    loaded = paddle.jit.load(str(tmp_path / "model"))
    if (tmp_path / "model.json").exists():  # Paddle 3
        operators = (tmp_path / "model.json").read_text()
    else:
        operators = str([operator.type for operator in loaded.program().global_block().ops])
    assert "relu" in operators
    assert "block_end" not in operators
    assert "block_norm" not in operators
    assert "onednn_convolution" not in operators
    assert "norm_convolution" not in operators
    images = paddle.randn([2, 3, 64, 64])
    np.testing.assert_allclose(loaded(images).numpy(), network(images).numpy(), rtol=1e-3, atol=1e-5)


def test_parameters_of_sixteen_bits_are_computed_with_as_their_values():
    maps, norm, attention = random_case((2, 8, 5, 4, 2))
    x, residual, loss_weight = (paddle.to_tensor(value, dtype="float32") for value in maps)
    running = [paddle.to_tensor(value, dtype="float32") for value in norm[2:]]

    def gradients(kind):
        """The output and the gradients of the parameters, which have this type and the values of bfloat16."""
        own = [paddle.to_tensor(value, dtype="float32").astype("bfloat16").astype(kind) for value in (*norm[:2], *attention)]
        for parameter in own:
            parameter.stop_gradient = False
        bundle = Norm(*own[:2], *running, training=False)
        out = shuffle_attention(x, *own[2:], 2, residual, bundle)
        found = paddle.grad((out * loss_weight).sum(), own)
        assert all(gradient.dtype == parameter.dtype for gradient, parameter in zip(found, own))
        return [value.astype("float32").numpy() for value in (out, *found)]

    for found, expected in zip(gradients("bfloat16"), gradients("float32")):
        np.testing.assert_allclose(found, expected, rtol=2**-7, atol=1e-6)  # Paddle 2.6 cuts the bits off


def test_running_statistics_of_another_type_are_left_to_paddle():
    statistics = [paddle.ones([4], "float64")] * 2
    norm = Norm(paddle.ones([4]), paddle.zeros([4]), *statistics, training=True)
    assert not fusable(paddle.ones([2, 4, 3, 3]), norm)
    assert fusable(paddle.ones([2, 4, 3, 3], "float64"), norm)


@pytest.mark.parametrize("net", ["sa_resnet50", "resnet18"])
def test_a_network_with_paddle_s_synchronised_batch_norm_computes_the_same(net, monkeypatch):
    def normalise(layer, x):  # of one process; Paddle has it for GPUs alone
        return batch_norm_reference(x, BatchNorm2D.norm(layer))

    monkeypatch.setattr(paddle.nn.SyncBatchNorm, "forward", normalise)
    monkeypatch.setattr(paddle.nn.SyncBatchNorm, "over_processes", None, raising=False)
    paddle.seed(0)
    network = build_network(net, 3)
    network.train()
    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 33, 33)).astype("float32"))
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    expected = network(images).numpy()
    network.set_state_dict(state)  # the running statistics
    network = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert not any(isinstance(layer, BatchNorm2D) for layer in network.sublayers())
    np.testing.assert_allclose(network(images).numpy(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("device", "current", "autotune", "said"),
    [
        (1, {"get_device_id": lambda: 0}, False, "a feature map is on gpu:1"),
        (0, {}, False, "a feature map is on gpu:0 and the current device is cpu"),
        (0, {"get_device_id": lambda: 0}, True, "NHWC"),
        (0, {"get_device_id": lambda: 0}, False, None),
    ],
)
def test_maps_that_the_kernels_cannot_take_are_refused_with_the_remedy(device, current, autotune, said, monkeypatch):
    place = SimpleNamespace(gpu_device_id=lambda: device)
    monkeypatch.setattr(paddle, "get_device", lambda: "cpu")
    monkeypatch.setattr(paddle.base.framework, "_current_expected_place", lambda: SimpleNamespace(**current))
    monkeypatch.setattr(paddle.base.core, "use_layout_autotune", lambda: autotune)
    found = fused._obstacle_of_map(SimpleNamespace(place=place, dtype=paddle.float32, shape=[2, 3, 5, 7]))
    assert found is None if said is None else said in found

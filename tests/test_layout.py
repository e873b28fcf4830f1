"""Feature maps with the channels last: the same networks, weights, trainings and answers as with NCHW."""

import itertools
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from conftest import write_listed_photographs
from tiny_network import TinyResNet

import compare
import eval as eval_script
import networks
import train
from attention import ATTENTIONS, attention_layer
from attention.base import Attention
from comparison.compared_settings import machine_settings
from config import Config, load_config, parse_config
from networks import NETWORKS, NetworkError, build_network, check_layout
from networks.epsanet import PyramidSqueezeAttention
from networks.tower_net import TowerNet
from ops import fused
from ops.batch_norm import BatchNorm2D, Norm, batch_norm, batch_norm_reference
from ops.shuffle_functional import shuffle_attention
from sa_resnet import BasicBlock, BlockAttention, ResNet
from trained.history import read_history
from trained.result import read_result
from trained.trained_run import TrainedRun

pytestmark = pytest.mark.python_independent

FORMATS = ("NCHW", "NHWC")
CHANNELS = 32
LAYERS = {
    "se": ("se", {"reduction": 4}),
    "cbam": ("cbam", {"reduction": 4}),
    "eca": ("eca", {}),
    "sge": ("sge", {"groups": 8}),
    "earlier sge": ("sge", {"groups": 8, "earlier": True}),
    "simam": ("simam", {}),
    "shuffle": ("shuffle", {"groups": 4}),
    "conv gate": ("shuffle", {"groups": 4, "gate": "conv"}),
}
"""Case -> (attention, options)."""


def in_format(maps, data_format):
    """NumPy [N, C, H, W] as the layout has it."""
    return maps if data_format == "NCHW" else np.ascontiguousarray(maps.transpose(0, 2, 3, 1))


def as_nchw(maps, data_format):
    return maps if data_format == "NCHW" else maps.transpose(0, 3, 1, 2)


def give_random_values(*layers):
    """The same random parameters and running statistics, in float64, to every layer; returns them."""
    rng = np.random.default_rng(0)
    values = {}
    for name, value in layers[0].state_dict().items():
        fan_in = value.size // value.shape[0] if value.ndim > 2 else value.shape[0] if value.ndim == 2 else 1
        drawn = rng.uniform(0.5, 2, value.shape) if name.endswith("_variance") else rng.normal(0.2, 1, value.shape)
        values[name] = drawn / np.sqrt(max(fan_in, 1))
    for layer in layers:
        layer.to(dtype="float64")
        for name, value in layer.state_dict().items():
            value.set_value(paddle.to_tensor(values[name]))
        assert layer.state_dict().keys() == values.keys()
    return values


def assert_same(found, expected, tolerance=1e-9):
    """Raise unless these arrays, by name, differ by no more than rounding in float64."""
    assert found.keys() == expected.keys()
    # the floor is for gradients that are zero but for rounding
    errors = {name: np.linalg.norm(found[name] - value) / max(np.linalg.norm(value), 1e-3) for name, value in expected.items()}
    assert {name: error for name, error in errors.items() if not error <= tolerance} == {}


def outcome_of_layer(layer, data_format, x, weight):
    """The output, all gradients and what the layer keeps, by name."""
    tensor = paddle.to_tensor(in_format(x, data_format), stop_gradient=False)
    out = layer(tensor)
    (out * paddle.to_tensor(in_format(weight, data_format))).sum().backward()
    found = {f"{name}'s gradient": value.grad.numpy() for name, value in layer.named_parameters() if value.grad is not None}
    found.update({name: value.numpy() for name, value in layer.state_dict().items()})
    maps = {"output": out.numpy(), "gradient of x": tensor.grad.numpy()}
    return {**found, **{name: as_nchw(value, data_format) for name, value in maps.items()}}


def test_every_attention_layer_is_tried():
    assert {name for name, _ in LAYERS.values()} == set(ATTENTIONS)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", [(5, 7), (1, 1)], ids=str)
@pytest.mark.parametrize("case", LAYERS)
def test_an_attention_layer_computes_the_same_in_both_layouts(case, size, training):
    name, options = LAYERS[case]
    pair = [attention_layer(name)(CHANNELS, **options, data_format=data_format) for data_format in FORMATS]
    give_random_values(*pair)
    rng = np.random.default_rng(1)
    x, weight = rng.normal(0.3, 1.5, (3, CHANNELS, *size)), rng.normal(size=(3, CHANNELS, *size))
    for layer in pair:
        layer.train() if training else layer.eval()
    expected, found = (outcome_of_layer(layer, form, x, weight) for layer, form in zip(pair, FORMATS))
    assert_same(found, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_pyramid_of_epsanet_computes_the_same_in_both_layouts(stride):
    pair = [PyramidSqueezeAttention(CHANNELS, 64, stride, data_format) for data_format in FORMATS]
    give_random_values(*pair)
    rng, side = np.random.default_rng(1), -(-7 // stride)
    x, weight = rng.normal(0.3, 1.5, (2, CHANNELS, 7, 7)), rng.normal(size=(2, 64, side, side))
    expected, found = (outcome_of_layer(layer, form, x, weight) for layer, form in zip(pair, FORMATS))
    assert_same(found, expected)


KINDS = [
    (norm, attends, added, relu)
    for norm, attends, added, relu in itertools.product(("batch", "running", None), (True, False), (True, False), (True, False))
    if (attends or norm) and not (relu and (attends or added))  # what the functions offer
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_end_of_a_block_is_the_same_in_both_layouts(kind):
    norm, attends, added, relu = kind
    results = []
    for data_format in FORMATS:
        rng = np.random.default_rng(0)
        x, residual, weight = (in_format(rng.normal(0.3, 1.5, (3, 24, 5, 4)), data_format) for _ in range(3))
        tensors = [paddle.to_tensor(value) for value in (x, residual)]
        tensors += [paddle.to_tensor(rng.normal(size=24)) for _ in range(2)]
        shapes = [[1, 4, 1, 1]] * 4 + [[4]] * 2
        tensors += [paddle.to_tensor(rng.normal(size=shape)) for shape in shapes]
        running = paddle.to_tensor(rng.normal(size=24)), paddle.to_tensor(rng.uniform(0.5, 2, 24))
        for tensor in tensors:
            tensor.stop_gradient = False
        bundle = Norm(*tensors[2:4], *running, training=norm == "batch") if norm else None
        added_maps, last = tensors[1] if added else None, data_format == "NHWC"
        if attends:
            out = shuffle_attention(tensors[0], *tensors[4:], 3, added_maps, bundle, channels_last=last)
        else:
            out = batch_norm(tensors[0], bundle, added_maps, relu, channels_last=last)
        (out * paddle.to_tensor(weight)).sum().backward()
        maps = {"output": out, "x": tensors[0].grad, "residual": tensors[1].grad}
        found = {name: as_nchw(value.numpy(), data_format) for name, value in maps.items() if value is not None}
        found.update({str(i): tensor.grad.numpy() for i, tensor in enumerate(tensors[2:]) if tensor.grad is not None})
        results.append({**found, "mean": running[0].numpy(), "variance": running[1].numpy()})
    assert_same(results[1], results[0])


WHOLE = {
    "none": lambda data_format: ResNet((1, 1, 1, 1), 5, block=BasicBlock, data_format=data_format),
    "simam": lambda data_format: ResNet((1, 1, 1, 1), 5, BlockAttention("simam"), block=BasicBlock, data_format=data_format),
    "cbam": lambda data_format: ResNet((1, 1, 1, 1), 5, BlockAttention("cbam"), block=BasicBlock, data_format=data_format),
    "shuffle": lambda data_format: ResNet((1, 1, 1, 1), 5, BlockAttention("shuffle", groups=8), data_format=data_format),
    "psa": lambda data_format: ResNet((1, 1, 1, 1), 5, spatial_conv=PyramidSqueezeAttention, data_format=data_format),
    "tower_net": lambda data_format: TowerNet(5, BlockAttention("simam"), data_format),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.usefixtures("weights_not_drawn")
def test_a_network_trains_and_answers_the_same_in_both_layouts(name):
    pair = [WHOLE[name](data_format) for data_format in FORMATS]
    give_random_values(*pair)
    size = (128, 133) if name == "tower_net" else (33, 40)
    images = paddle.to_tensor(np.random.default_rng(1).normal(size=(2, 3, *size)))
    results = []
    for network in pair:
        network.eval()
        logits = network(images)
        network.train()
        (network(images) * paddle.to_tensor(np.linspace(-1, 1, 10).reshape(2, 5))).sum().backward()
        found = {f"{key}'s gradient": value.grad.numpy() for key, value in network.named_parameters() if value.grad is not None}
        found.update({key: value.numpy() for key, value in network.state_dict().items()})
        results.append({**found, "logits": logits.numpy()})
    expected, found = results
    assert np.abs(expected["logits"][0] - expected["logits"][1]).max() > 1e-3 * np.abs(expected["logits"]).max()
    assert_same(found, expected, 1e-6)  # batch norm of eight values adds digits to the rounding


def test_a_network_keeps_its_maps_in_the_layout_that_was_asked_for():
    for layout, axis in (("nchw", 1), ("nhwc", 3)):
        network = build_network("resnet18", 3, layout)
        shapes: list = []
        for layer in (network.maxpool, network.layer1[0].conv2, network.layer4[1].conv1):
            layer.register_forward_post_hook(lambda layer, inputs, output, shapes=shapes: shapes.append(output.shape))
        assert network(paddle.zeros([1, 3, 33, 35])).shape == [1, 3]
        assert [shape[axis] for shape in shapes] == [64, 64, 512]


def test_synchronised_batch_norm_keeps_the_layout(monkeypatch):
    def normalise(layer, x):  # of one process; Paddle has it for GPUs alone
        return batch_norm_reference(x, BatchNorm2D.norm(layer), channels_last=layer._data_format == "NHWC")

    monkeypatch.setattr(paddle.nn.SyncBatchNorm, "forward", normalise)
    monkeypatch.setattr(paddle.nn.SyncBatchNorm, "over_processes", None, raising=False)
    network = TinyResNet(3, BlockAttention("shuffle", groups=4), layout="nhwc")
    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 17, 21)).astype("float32"))
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    expected = network(images).numpy()
    network.set_state_dict(state)  # the running statistics
    network = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    np.testing.assert_allclose(network(images).numpy(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_all_networks_of_our_own_have_the_layout_and_others_refuse_it_in_one_line():
    from_paddle = ("vgg19", "mobilenet_v2")
    for name in NETWORKS:
        if name not in from_paddle:
            check_layout(name, "nhwc")
    for name in from_paddle:
        with pytest.raises(NetworkError, match=f"layout = 'nhwc': {name} has NCHW maps only; leave --layout out, or give"):
            build_network(name, 3, "nhwc")
    with pytest.raises(NetworkError, match="layout = 'NHWC': unknown; one of: nchw, nhwc"):
        build_network("resnet18", 3, "NHWC")


def test_an_attention_layer_of_ones_own_without_the_layout_is_refused(monkeypatch):
    class MyAttention(Attention):
        def __init__(self, channels):
            super().__init__()

        def forward(self, x):
            return x

    monkeypatch.setattr("sa_resnet.attention_layer", lambda name: MyAttention)
    layer = BlockAttention("mine")
    assert layer(8)(paddle.ones([1, 8, 2, 2])).shape == [1, 8, 2, 2]
    with pytest.raises(ValueError, match="layout = 'nhwc': MyAttention has NCHW maps only; leave --layout out"):
        layer(8, "NHWC")


def test_only_nchw_networks_are_exported():
    with pytest.raises(ValueError, match="a network of NHWC maps has no form for export"):
        ResNet((1, 1, 1, 1), 2, block=BasicBlock, data_format="NHWC").export_form()


def test_on_a_cpu_plain_operators_run_without_a_line_and_are_refused_where_fused_ones_are_required(capsys):
    x, norm = paddle.randn([2, 3, 4, 8]), BatchNorm2D(8, data_format="NHWC")
    fused.set_mode("auto")
    assert not fused.usable(x, channels_last=True)
    assert norm(x, relu=True).shape == [2, 3, 4, 8]
    assert capsys.readouterr() == ("", "")
    fused.set_mode("on")
    try:
        with pytest.raises(
            fused.FusedError, match="no code for NHWC feature maps, as --layout nhwc asks for; --fused auto runs"
        ):
            norm(x)
    finally:
        fused.set_mode("auto")


def test_the_kernels_are_told_what_the_maps_are(monkeypatch):
    asked = []
    monkeypatch.setattr(fused, "_kernels", SimpleNamespace(prepare=lambda *arguments: asked.append(arguments)))
    place = SimpleNamespace(gpu_device_id=lambda: 0)
    monkeypatch.setattr(paddle.base.framework, "_current_expected_place", lambda: SimpleNamespace(get_device_id=lambda: 0))
    monkeypatch.setattr(paddle.base.core, "use_layout_autotune", lambda: False)
    x = SimpleNamespace(place=place, dtype=paddle.float16, shape=[2, 5, 7, 12])
    fused._obstacle_of_maps.cache_clear()
    assert fused._obstacle_of_map(x, channels_last=True, half=3) is None
    assert fused._obstacle_of_map(x, half=3) is None
    fused._obstacle_of_maps.cache_clear()
    assert asked == [(1, 12, 35, 3, True), (1, 1, 84, 0, False)]


def test_the_operators_are_told_the_layout(monkeypatch):
    calls = []
    monkeypatch.setattr(fused, "usable", lambda x, channels_last, half: calls.append((channels_last, half)) or True)
    monkeypatch.setattr(fused, "run", lambda name, x, *arguments: calls.append((name, arguments[-1])) or x)
    for data_format, last in (("NCHW", False), ("NHWC", True)):
        x = paddle.ones([2, 8, 8, 8])
        BatchNorm2D(8, data_format=data_format)(x, residual=x)
        assert calls == [(last, 0), ("block_end", last)]
        calls.clear()
        attention_layer("shuffle")(8, groups=2, data_format=data_format).end_block(
            x, BatchNorm2D(8, data_format=data_format), x
        )
        assert calls == [(last, 2), (last, 2), ("block_end", last)]
        calls.clear()


def test_batch_norm_of_a_single_value_is_left_to_paddle(monkeypatch):
    monkeypatch.setattr(fused, "usable", lambda x, channels_last, half: True)
    monkeypatch.setattr(fused, "run", lambda *arguments: pytest.fail("the fused operator ran"))
    x = paddle.randn([1, 1, 1, 6])
    np.testing.assert_array_equal(BatchNorm2D(6, data_format="NHWC")(x).numpy(), x.numpy())


@pytest.fixture
def small_networks(monkeypatch):
    """resnet stands for a small network with Shuffle Attention; the list gets the layout of each that is built."""
    built = []

    def tiny(num_classes, zero_init_residual=False, layout="nchw"):
        built.append(layout)
        return TinyResNet(num_classes, BlockAttention("shuffle", groups=4), zero_init_residual, layout)

    monkeypatch.setitem(networks.NETWORKS, "resnet", tiny)
    return built


@pytest.fixture
def data(tmp_path):
    write_listed_photographs(tmp_path / "data")
    return tmp_path / "data"


def settings(data, runs_dir, **changes):
    chosen = {
        "net": "resnet", "data": str(data), "runs_dir": str(runs_dir), "image_size": 32, "epochs": 2, "batch_size": 4,
        "num_workers": 0, "threads": 2, "device": "cpu",
    }  # fmt: skip
    return Config(**{**chosen, **changes})


@pytest.mark.usefixtures("quick_pictures")
def test_a_training_is_the_same_in_both_layouts_and_its_checkpoint_knows_none(data, tmp_path, small_networks, capsys):
    for layout in ("nchw", "nhwc"):
        assert train.main(settings(data, tmp_path / layout, layout=layout)) == 0
    assert small_networks == ["nchw", "nhwc"]
    assert capsys.readouterr().err == ""
    runs = [tmp_path / layout / "resnet" / "001" for layout in ("nchw", "nhwc")]
    histories = [read_history(run) for run in runs]
    for row, other in zip(*histories):
        for column in ("train_loss", "val_loss"):
            assert other[column] == pytest.approx(row[column], rel=1e-4)
    assert load_config(runs[1] / "config.yaml").layout == "nhwc"

    small_networks.clear()
    best = read_result(runs[1])["best"]
    for layout in ("nchw", "nhwc"):
        names = {"net": "resnet", "runs_dir": str(tmp_path / "nhwc"), "num_workers": 0, "layout": layout, "device": "cpu"}
        evaluated = eval_script.main(Config(**names, given=frozenset(names)))
        assert evaluated == 0
        assert f"accuracy {best['val_acc']:.4f}" in capsys.readouterr().out
    assert small_networks == ["nchw", "nhwc"]
    small_networks.clear()
    TrainedRun.open(runs[1]).classifier()
    assert small_networks == ["nchw"], "prediction, Grad-CAM and export"


@pytest.mark.usefixtures("quick_pictures")
def test_the_layout_may_change_on_resume_with_a_note(data, tmp_path, small_networks, capsys):
    assert train.main(settings(data, tmp_path / "runs", epochs=1)) == 0
    run = tmp_path / "runs" / "resnet" / "001"
    assert load_config(run / "config.yaml").layout == "nchw", "what auto stood for"
    capsys.readouterr()
    again = parse_config(["--resume", str(run), "--epochs", "2", "--layout", "nhwc"], "train")
    assert train.main(again) == 0
    assert "note: layout was nchw and is nhwc: results may round differently\n" in capsys.readouterr().out
    assert small_networks == ["nchw", "nhwc"]
    assert [row["epoch"] for row in read_history(run)] == [1, 2]


@pytest.mark.usefixtures("quick_pictures")
def test_a_network_without_the_layout_is_refused_before_anything_is_trained(data, tmp_path, capsys):
    chosen = settings(data, tmp_path / "runs", net="vgg19", layout="nhwc")
    assert train.main(chosen) == 2
    expected = "error: layout = 'nhwc': vgg19 has NCHW maps only; leave --layout out, or give --layout nchw\n"
    assert capsys.readouterr().err == f"train.py: {expected}"
    assert compare.main(settings(data, tmp_path / "runs", nets=("resnet18", "vgg19"), layout="nhwc")) == 2
    assert capsys.readouterr().err == f"compare.py: {expected}"
    assert not (tmp_path / "runs").exists()


def test_auto_is_nchw_and_so_were_older_runs(tmp_path):
    assert Config().layout == "auto"
    assert Config().resolved().layout == "nchw"
    assert Config(layout="nhwc").resolved().layout == "nhwc"
    (tmp_path / "config.yaml").write_text("net: resnet\n")
    assert load_config(tmp_path / "config.yaml").layout == "nchw"
    assert machine_settings(Config(layout="nhwc"))["layout"] == "nhwc", "compare.py passes it on"

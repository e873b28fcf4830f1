"""ResNet and SA-ResNet: counts, names, shapes, initial values."""

import math

import numpy as np
import paddle
import pytest
from distributions import is_normal, is_uniform

from attention import ATTENTIONS
from attention.base import Attention
from networks import NetworkError, build_network
from networks.epsanet import SEWeight
from networks.summary import multiply_adds, parameter_counts, summarize
from ops.fused import plain_operators
from sa_resnet import BasicBlock, BlockAttention, Bottleneck, ResNet

pytestmark = pytest.mark.python_independent


@pytest.mark.parametrize(
    ("name", "num_classes", "learnable"),
    [
        ("resnet18", 1000, 11_689_512),
        ("resnet34", 1000, 21_797_672),
        ("resnet50", 1000, 25_557_032),
        ("sa_resnet50", 1000, 25_557_740),
        ("sa_resnet101", 1000, 44_550_684),
        ("resnet", 10, 23_528_522),
        ("sa_resnet", 10, 23_529_230),
        ("simam_resnet50", 1000, 25_557_032),
        ("epsanet50", 1000, 22_561_715),
        ("epsanet101", 1000, 38_900_279),
        ("epsanet50", 10, 20_533_205),
        ("vgg19", 16, 139_635_792),
        ("mobilenet_v2", 16, 2_244_368),
    ],
)
@pytest.mark.usefixtures("weights_not_drawn")
def test_parameter_counts_are_the_published_ones(name, num_classes, learnable):
    assert parameter_counts(build_network(name, num_classes))[0] == learnable


@pytest.mark.parametrize(
    ("name", "millions"), [("se_resnet50", 28.09), ("cbam_resnet50", 28.09), ("eca_resnet50", 25.56), ("sge_resnet50", 25.56)]
)
@pytest.mark.usefixtures("weights_not_drawn")
def test_parameter_counts_round_to_the_published_millions(name, millions):
    assert round(parameter_counts(build_network(name, 1000))[0] / 1e6, 2) == millions


@pytest.mark.usefixtures("weights_not_drawn")
def test_paddle_summary_counts_epsanet_as_published():
    with plain_operators():  # paddle.summary counts the layers that are called
        network = build_network("epsanet50", 1000)
        assert paddle.summary(network, (1, 3, 64, 64))["total_params"] == 22_614_835
    # Paddle of 2021 printed 22,508,595 trainable ones: it took the statistics, counted in the total, off twice
    learnable, statistics = parameter_counts(network)
    assert learnable - statistics == 22_508_595


@pytest.mark.parametrize("depth", [18, 34])
@pytest.mark.usefixtures("weights_not_drawn")
def test_basic_blocks_are_those_of_paddles_own_resnet(depth):
    own = {name: tuple(v.shape) for name, v in build_network(f"resnet{depth}", 10).state_dict().items()}
    theirs = getattr(paddle.vision.models, f"resnet{depth}")(num_classes=10).state_dict()
    assert own == {name: tuple(value.shape) for name, value in theirs.items()}


def test_a_resnet_computes_what_paddles_own_does():
    own, theirs = build_network("resnet18", 10), paddle.vision.models.resnet18(num_classes=10)
    theirs.set_state_dict(own.state_dict())
    images = paddle.randn([2, 3, 64, 64])
    np.testing.assert_allclose(own(images).numpy(), theirs(images).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("plain", "attentive", "blocks"), [("resnet101", "sa_resnet101", 33), ("resnet152", "sa_resnet152", 50)]
)
@pytest.mark.usefixtures("weights_not_drawn")
def test_shuffle_attention_adds_nothing_but_its_own_parameters(plain, attentive, blocks):
    shapes = {name: tuple(p.shape) for name, p in build_network(plain, 10).named_parameters()}
    with_attention = {name: tuple(p.shape) for name, p in build_network(attentive, 10).named_parameters()}
    added = {name for name in with_attention if name not in shapes}
    assert {name: with_attention[name] for name in shapes} == shapes
    assert len(added) == 6 * blocks
    assert all(".sa." in name for name in added)


@pytest.mark.usefixtures("weights_not_drawn")
def test_state_dict_names_are_those_of_the_authors_code():
    """Names written out from torchvision's ResNet-50 and the SA-Net authors' code; BN statistics by Paddle's own names."""

    def norm(prefix):
        return [f"{prefix}.{part}" for part in ("weight", "bias", "_mean", "_variance")]

    expected = ["conv1.weight", *norm("bn1"), "fc.weight", "fc.bias"]
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        for index in range(count):
            block = f"layer{stage}.{index}"
            for i in (1, 2, 3):
                expected += [f"{block}.conv{i}.weight", *norm(f"{block}.bn{i}")]
            expected += [f"{block}.sa.{part}" for part in ("cweight", "cbias", "sweight", "sbias", "gn.weight", "gn.bias")]
            if index == 0:
                expected += [f"{block}.downsample.0.weight", *norm(f"{block}.downsample.1")]
    assert sorted(build_network("sa_resnet50", 10).state_dict()) == sorted(expected)


def check_start(network):
    """Raise unless all but attention starts as in the authors' code, which for this is torchvision's."""
    own = tuple(f"{path}." for path, layer in network.named_sublayers() if isinstance(layer, Attention))
    for name, layer in network.named_sublayers():
        if name.startswith(own):
            continue
        if isinstance(layer, paddle.nn.Conv2D):
            out_channels, _, height, width = layer.weight.shape
            is_normal([layer.weight.numpy()], math.sqrt(2 / (out_channels * height * width)))  # kaiming normal, fan-out
            assert layer.bias is None or ".se.fc" in name, name
        if isinstance(layer, paddle.nn.BatchNorm2D):
            for part, value in (("weight", 1), ("bias", 0), ("_mean", 0), ("_variance", 1)):
                assert (getattr(layer, part).numpy() == value).all(), f"{name}.{part}"
    is_uniform([network.fc.weight.numpy()], 1 / math.sqrt(network.fc.weight.shape[0]))
    is_uniform([network.fc.bias.numpy()], 1 / math.sqrt(network.fc.weight.shape[0]))


@pytest.mark.parametrize("attention", ["none", *ATTENTIONS])
def test_initial_values_are_those_of_the_authors_beside_every_attention(attention):
    paddle.seed(0)
    check_start(ResNet((1, 1, 1, 1), 1000, None if attention == "none" else BlockAttention(attention)))


def test_epsanet_starts_as_its_authors_code_with_the_biases_of_pytorch():
    paddle.seed(0)
    network = build_network("epsanet50", 1000)
    for name, layer in network.named_sublayers():
        if isinstance(layer, paddle.nn.Conv2D) and layer.weight.size > 1000:
            out_channels, _, height, width = layer.weight.shape
            is_normal([layer.weight.numpy()], math.sqrt(2 / (out_channels * height * width)))
        if isinstance(layer, SEWeight):
            assert 0 < np.abs(layer.fc1.bias.numpy()).max() <= 1 / math.sqrt(layer.fc1.weight.shape[1]), name
    last = [layer for layer in network.layer4.sublayers() if isinstance(layer, SEWeight)]  # 128 channels, 8 hidden
    more = [*last, *(SEWeight(128) for _ in range(60))]
    is_uniform([layer.fc1.bias.numpy() for layer in more], 1 / math.sqrt(128))
    is_uniform([layer.fc2.bias.numpy() for layer in more], 1 / math.sqrt(8))
    is_normal([layer.fc2.weight.numpy() for layer in more], math.sqrt(2 / 128))


@pytest.mark.usefixtures("weights_not_drawn")
def test_only_the_blocks_of_attention_stages_have_attention():
    network = build_network("eca_resnet50", 10, attention_stages=(2, 4), eca_kernel_sizes=(3, 5, 7, 9))
    found = {name.rpartition(".")[0]: layer for name, layer in network.named_sublayers() if name.endswith(".eca")}
    assert set(found) == {f"layer{stage}.{index}" for stage, count in ((2, 4), (4, 3)) for index in range(count)}
    assert {path[:6]: layer.conv.weight.shape[2] for path, layer in found.items()} == {"layer2": 5, "layer4": 9}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"attention_stages": (3, 5)}, "attention_stages = 3 5: expected some of 1 2 3 4, each once"),
        ({"attention_stages": (3, 3)}, "attention_stages = 3 3: expected some of 1 2 3 4, each once"),
        ({"attention": "none", "attention_stages": (3,)}, "without attention there is no option attention_stages"),
    ],
)
def test_stages_that_cannot_have_attention_are_refused(options, reason):
    with pytest.raises(NetworkError) as error:
        build_network("resnet18", 3, **{"attention": "se", **options})
    assert str(error.value) == f"resnet18: {reason}"


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_the_network_in_two_parts_is_the_network(stage, data_format):
    paddle.seed(0)
    network = ResNet((1, 1, 1, 1), 5, BlockAttention("sge", stages=(3,)), block=BasicBlock, data_format=data_format)
    network.eval()
    images = paddle.randn([2, 3, 40, 40])
    whole, parts = network(images), network.from_stage(stage, network.input_of_stage(stage, images))
    np.testing.assert_allclose(parts.numpy(), whole.numpy(), rtol=1e-5, atol=1e-5)


ATTENTIVE = [None, BlockAttention("shuffle", groups=8), *map(BlockAttention, ("se", "cbam", "eca", "sge", "simam"))]


def by_name(attention):
    return attention.name if attention else "none"


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("attention", ATTENTIVE, ids=by_name)
@pytest.mark.parametrize("size", [(33, 47), (64, 64)])
def test_any_image_size_gives_logits(attention, size, block):
    network = ResNet((1, 1, 1, 1), 7, attention, block=block)
    network.eval()
    logits = network(paddle.randn([2, 3, *size]))
    assert logits.shape == [2, 7]
    assert np.isfinite(logits.numpy()).all()


@pytest.mark.usefixtures("weights_not_drawn")
def test_stages_halve_the_map_at_their_first_3x3_convolution():
    network = build_network("resnet50", 10)
    strides = {n: layer._stride for n, layer in network.named_sublayers() if isinstance(layer, paddle.nn.Conv2D)}
    halving = {name for name, stride in strides.items() if list(stride) == [2, 2]}
    stages = {f"layer{s}.0.{part}" for s in (2, 3, 4) for part in ("conv2", "downsample.0")}
    assert halving == {"conv1"} | stages


@pytest.mark.usefixtures("weights_not_drawn")
def test_kernel_sizes_of_eca_are_chosen_by_stage():
    def sizes(**options):
        network = build_network("eca_resnet50", 10, **options)
        return [{block.eca.conv.weight.shape[2] for block in getattr(network, f"layer{stage}")} for stage in (1, 2, 3, 4)]

    assert sizes() == [{5}, {5}, {5}, {7}]
    assert sizes(eca_kernel_sizes=[3, 5, 5, 7]) == [{3}, {5}, {5}, {7}]
    with pytest.raises(NetworkError, match="eca_resnet50: kernel_size = 6: must be odd"):
        build_network("eca_resnet50", 10, eca_kernel_sizes=(3, 5, 5, 6))
    with pytest.raises(NetworkError, match="se_resnet50: se has no option 'eca_kernel_sizes': leave it out"):
        build_network("se_resnet50", 10, eca_kernel_sizes=(3, 5, 5, 7))


@pytest.mark.parametrize("attention", ATTENTIVE, ids=by_name)
def test_a_small_network_learns_a_fixed_batch(attention):
    paddle.seed(0)
    network = ResNet((1, 1, 1, 1), 4, attention)
    optimizer = paddle.optimizer.Momentum(0.02, parameters=network.parameters())
    x, y = paddle.randn([4, 3, 32, 32]), paddle.arange(4)
    losses = []
    for _ in range(4):
        loss = paddle.nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["resnet50", "sa_resnet50"])
def test_zero_init_residual_starts_every_block_as_the_identity(name):
    stage = build_network(name, 10, zero_init_residual=True).layer1
    x = paddle.nn.functional.relu(paddle.randn([1, 256, 4, 4]))
    np.testing.assert_array_equal(stage[1](x).numpy(), x.numpy())
    assert np.abs(build_network(name, 10).layer1[1](x).numpy() - x.numpy()).max() > 0.1


@pytest.mark.usefixtures("weights_not_drawn")
def test_multiply_adds_are_the_published_ones():
    network = build_network("resnet50", 1000)
    network.train()
    assert multiply_adds(network, 224) / 1e9 == pytest.approx(4.12, abs=0.02)
    assert network.training


@pytest.mark.usefixtures("weights_not_drawn")
def test_summary_states_learnable_parameters_apart_from_statistics(capfd):
    text = summarize(build_network("sa_resnet", 10), "sa_resnet", 10, 64)
    assert "23,529,230" in text
    assert "53,120" in text
    assert capfd.readouterr().out == "", "paddle.flops' own report must not show"

"""The form in which networks are exported computes what the trained network computes, in operators that other runtimes have."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn

from attention import ATTENTIONS
from inference.export_form import use_export_forms
from inference.program import NAME, save_program
from inference.program_predictor import ProgramPredictor
from networks import build_network
from networks.classifier import Classifier
from networks.epsanet import PyramidSqueezeAttention
from networks.vision_baselines import PoolingToSeven
from ops import fused
from sa_resnet import BasicBlock, Bottleneck, ResNet, block_attention

pytestmark = pytest.mark.python_independent

LAYERS = (
    [(name, {}) for name in ATTENTIONS if name != "shuffle"]
    + [("shuffle", {"sa_groups": groups, "sa_gate": gate}) for groups in (1, 8) for gate in ("scale", "conv")]
    + [("sge", {"earlier_attention": True}), ("eca", {"eca_kernel_sizes": (1, 3, 5, 7)}), ("simam", {"e_lambda": 0.1})]
)
IDS = [" ".join([name, *map(str, options.values())]) for name, options in LAYERS]


def with_random_parameters(network):
    """Other values than a new network has, running statistics and gates included, so that nothing cancels out."""
    rng = np.random.default_rng(0)
    for name, parameter in network.named_parameters():
        shape = parameter.shape
        if name.endswith("_variance"):
            parameter.set_value(rng.uniform(0.5, 2, shape).astype("float32"))
        elif max(shape) == parameter.size:  # vectors, also as [1, C, 1, 1]
            parameter.set_value((parameter.numpy() + rng.normal(0, 0.4, shape)).astype("float32"))
    network.eval()
    return network


def both_answers(network, size, batch=3):
    """The logits of a network before and after it has its export form."""
    images = paddle.to_tensor(np.random.default_rng(1).normal(size=(batch, 3, size, size)).astype("float32"))
    holder = nn.Sequential(network)
    with paddle.no_grad(), fused.plain_operators():
        own = holder(images).numpy()
        use_export_forms(holder)
        exported = holder(images).numpy()
    assert np.abs(own - own[0]).max() > 1e-3 * np.abs(own).max()  # the photographs differ: so a lost channel would show
    return own, exported


def resnet_with(name, options, block, blocks):
    options = {"sa_groups": 8, **options} if name == "shuffle" else options
    return with_random_parameters(ResNet(blocks, 5, block_attention(name, **options), block=block))


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize(("name", "options"), LAYERS, ids=IDS)
def test_a_resnet_computes_the_same_in_its_export_form(name, options, block):
    # Two blocks in a stage: the second adds its input as it is
    own, exported = both_answers(resnet_with(name, options, block, (2, 2, 1, 1)), 64)
    np.testing.assert_allclose(exported, own, rtol=0, atol=1e-5 * np.abs(own).max())


@pytest.mark.parametrize("name", ["tower_net", "epsanet50"])
def test_other_networks_compute_the_same_in_their_export_form(name):
    own, exported = both_answers(with_random_parameters(build_network(name, 5)), 128 if name == "tower_net" else 32, batch=2)
    np.testing.assert_allclose(exported, own, rtol=0, atol=1e-5 * np.abs(own).max())


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=IDS)
def test_a_layer_outside_a_residual_block_computes_the_same_in_its_export_form(name, options):
    layer = with_random_parameters(block_attention(name, **options).in_stage(1)(128))
    x = paddle.to_tensor(np.random.default_rng(2).normal(1, 2, (2, 128, 7, 5)).astype("float32"))
    with paddle.no_grad(), fused.plain_operators():
        np.testing.assert_allclose(layer.export_form()(x).numpy(), layer(x).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=IDS)
def test_paddle_inference_gives_the_networks_probabilities_for_any_number_of_images(name, options, tmp_path):
    check_paddle_inference(resnet_with(name, options, BasicBlock, (1, 1, 1, 1)), 32, tmp_path)


def test_paddle_inference_gives_the_probabilities_of_epsanet(tmp_path):
    network = ResNet((1, 1, 1, 1), 5, spatial_conv=PyramidSqueezeAttention)
    check_paddle_inference(with_random_parameters(network), 64, tmp_path)


def test_paddle_inference_gives_the_probabilities_of_tower_net(tmp_path):
    check_paddle_inference(with_random_parameters(build_network("tower_net", 5)), 128, tmp_path)


@pytest.mark.parametrize("size", [(4, 4), (7, 7), (10, 5)])
def test_the_pooling_of_vgg_pools_the_same_in_its_export_form(size):
    x = paddle.to_tensor(np.random.default_rng(4).normal(size=(2, 3, *size)).astype("float32"))
    pooling = PoolingToSeven(7)
    np.testing.assert_allclose(pooling.export_form()(x).numpy(), pooling(x).numpy(), rtol=0, atol=1e-6)


def test_paddle_inference_gives_the_probabilities_of_a_pooling_as_in_vgg(tmp_path):
    network = nn.Sequential(
        nn.Conv2D(3, 16, 3, stride=2, padding=1), nn.ReLU(), PoolingToSeven(7), nn.Flatten(), nn.Linear(784, 5)
    )
    check_paddle_inference(with_random_parameters(network), 20, tmp_path)


def check_paddle_inference(network, size, tmp_path):
    """Save the network as a program, and compare what it answers to one and to three images with the network itself."""
    classifier = Classifier(network)
    classifier.eval()
    images = np.random.default_rng(3).integers(0, 256, (4, 3, size, size)).astype("uint8")
    with paddle.no_grad():
        own = nn.functional.softmax(classifier(paddle.to_tensor(images))).numpy()
    settings = SimpleNamespace(image_size=size)
    save_program(SimpleNamespace(load_classifier=lambda: classifier, temperature=1.0, settings=settings), tmp_path)
    program = ProgramPredictor(tmp_path, size, batch_size=3, threads=1)
    for part in (slice(0, 1), slice(1, 4)):
        np.testing.assert_allclose(program.predict(images[part]), own[part], rtol=0, atol=1e-4)
    for shape in shapes_in(tmp_path):
        assert len(shape) <= 4, shape  # or oneDNN leaves its fast layouts


def shapes_in(folder):
    """The shape of every tensor that the program computes."""
    loaded = paddle.jit.load(str(folder / NAME))
    program = loaded.program()  # named, because a block does not keep its program alive
    block = program.global_block()
    if hasattr(block, "vars"):  # Paddle 2.6, which also notes the shape before a reshape, with a 0 in front
        return [variable.shape for variable in block.vars.values() if variable.shape[:1] != (0,)]
    results = [result for operator in block.ops for result in operator.results()]
    return [result.shape for result in results if result.is_dense_tensor_type()]  # others are lists of tensors

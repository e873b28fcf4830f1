"""Whole networks with weights in their authors' names against NumPy float64 transcriptions of their authors' code."""

import authors_forms
import numpy as np
import paddle
import pytest
from authors_forms import ECA_SIZES, drawn, resnet, resnet_shapes
from torch_files import state_dict, write_zip

from networks.epsanet import PyramidSqueezeAttention
from sa_resnet import BasicBlock, BlockAttention, Bottleneck, ResNet
from weights.warm_start import start_from

pytestmark = pytest.mark.python_independent

CLASSES = 5
OPTIONS = {"eca": {"kernel_size": ECA_SIZES}}
KINDS = [
    (attention, block)
    for attention in (None, "shuffle", "se", "cbam", "eca", "sge", "simam", "psa")
    for block in (Bottleneck, BasicBlock)
    if block is Bottleneck or attention in ("se", "simam")
]


def ours(attention, block, weights):
    """(the network in float64 that starts from the file ``weights``, the lines of the report)."""
    own = {"spatial_conv": PyramidSqueezeAttention} if attention == "psa" else {}
    layer = BlockAttention(attention, **OPTIONS.get(attention, {})) if attention in authors_forms.FORMS else None
    network = ResNet((1, 1, 1, 1), CLASSES, layer, block=block, **own)
    lines = start_from(weights, network)
    network.to(dtype="float64")
    return network, lines


@pytest.mark.parametrize(("attention", "block"), KINDS, ids=lambda value: getattr(value, "__name__", str(value)))
@pytest.mark.usefixtures("weights_not_drawn")
def test_logits_of_random_weights_are_those_of_the_authors_code(tmp_path, attention, block):
    state = drawn(resnet_shapes(attention, CLASSES, block is Bottleneck))
    network, lines = ours(attention, block, write_zip(tmp_path / "w.pth", {"state_dict": state_dict(state)}))
    count = len(network.state_dict())
    assert lines[0].endswith(f": {count} of the network's {count} tensors loaded")
    hints = {
        "simam": ["  the authors trained for ImageNet with --e_lambda 0.1, this network has 0.0001"],
        "eca": ["  kernel sizes of ECA in the four stages, as in the file: 3 5 5 7"],
    }
    assert lines[1:] == hints.get(attention, [])
    exact = {name: value.astype("float64") for name, value in state.items()}
    # small enough for a last map of 2 x 1, where SGE's N - 1 is half of N
    x = np.random.default_rng(1).normal(size=(2, 3, 47, 31))
    for training in (False, True):
        network.train() if training else network.eval()
        expected = resnet(x, exact, attention, block is Bottleneck, training)
        with paddle.no_grad():
            found = network(paddle.to_tensor(x)).numpy()
        assert np.abs(found - expected).max() <= 1e-8 * np.abs(expected).max(), "training" if training else "evaluation"
    for name, value in network.state_dict().items():  # running statistics, after one step of training
        if name.endswith(("._mean", "._variance")):
            theirs = name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
            theirs = theirs.replace(".cbam.bn.", ".cbam.SpatialGate.spatial.bn.")
            # Paddle keeps the momentum as a float32
            np.testing.assert_allclose(value.numpy(), exact[theirs], rtol=1e-5, atol=1e-6, err_msg=name)

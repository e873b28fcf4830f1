"""Names and layouts of weights that others made, as our networks have them.

Our names are those of torchvision, of paddle.vision and of the authors of SA-Net, EPSANet, ECA and SGE, with Paddle's names for
batch norm's running statistics. Other names are translated where the network has a tensor of the translated name.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from paddle import nn

from weights.weight_files import Weights

DROPPED = "num_batches_tracked"
NORM_NAMES = {"running_mean": "_mean", "running_var": "_variance"}
BLOCK = r"^(layer[1-4]\.\d+\.)"
LEGACY_SE = re.compile(r"^layer0\.conv1\.")
SIMAM = re.compile(BLOCK + r"conv2\.0\.weight$")
RENAMED = (
    (r"\.se\.fc\.0\.", ".se.fc1."),  # PyTorch's ports of SE-ResNet
    (r"\.se\.fc\.2\.", ".se.fc2."),
    (r"\.cbam\.ChannelGate\.mlp\.1\.", ".cbam.fc1."),  # the authors of CBAM
    (r"\.cbam\.ChannelGate\.mlp\.3\.", ".cbam.fc2."),
    (r"\.cbam\.SpatialGate\.spatial\.", ".cbam."),
    (BLOCK + r"(conv2|bn[23])\.0\.", r"\1\2."),  # the authors of SimAM append the attention to the layer before it
    (BLOCK + r"bn[23]\.1\.fc\.0\.", r"\1se.fc1."),
    (BLOCK + r"bn[23]\.1\.fc\.2\.", r"\1se.fc2."),
    (BLOCK + r"bn[23]\.1\.ChannelGate\.mlp\.1\.", r"\1cbam.fc1."),
    (BLOCK + r"bn[23]\.1\.ChannelGate\.mlp\.3\.", r"\1cbam.fc2."),
    (BLOCK + r"bn[23]\.1\.SpatialGate\.spatial\.", r"\1cbam."),
    (r"^layer0\.(conv1|bn1)\.", r"\1."),  # the older SE-ResNet, in timm "legacy_seresnet"
    (r"\.se_module\.", ".se."),
    (r"^last_linear\.", "fc."),
    (r"^pre_logits\.fc1\.", "classifier.0."),  # timm's VGG
    (r"^pre_logits\.fc2\.", "classifier.3."),
    (r"^head\.fc\.", "classifier.6."),
)
"""(pattern, replacement) of names in PyTorch's networks."""


class OurWeights(NamedTuple):
    """Weights in our names and Paddle's layout: ``arrays`` {name: array}, ``unreadable`` {name: reason}.

    ``notes``: lines for the user on what the file's network computes that ours does not.
    """

    arrays: dict[str, np.ndarray]
    unreadable: dict[str, str]
    notes: list[str]


def in_our_names(weights: Weights, network: nn.Layer) -> OurWeights:
    """``weights`` as ``network`` has them; names that it does not have stay as they are."""
    if weights.framework == "paddle":
        return OurWeights(weights.arrays, weights.unreadable, [])
    expected = network.state_dict()
    linear = {f"{path}.weight": layer for path, layer in network.named_sublayers() if isinstance(layer, nn.Linear)}
    arrays = {}
    for theirs, array in weights.arrays.items():
        if theirs.endswith(DROPPED):
            continue
        name = _our_name(theirs, expected)
        if name in linear:
            if array.ndim == 4 and array[0].size == linear[name].weight.shape[0]:
                # a convolution over the whole map: 1x1 in SE, 7x7 in timm's VGG; [out, in, k, k] -> [out, in * k * k]
                array = array.reshape(len(array), -1)
            array = array.T  # [out, in] -> [in, out]
        elif theirs.endswith("SpatialGate.spatial.conv.weight"):
            array = array[:, ::-1]  # [1, 2, k, k]: the authors of CBAM put the maximum before the mean, we after it
        elif re.search(r"\.sge\.(weight|bias)$", name) and array.shape[3:] == (1,):
            array = array[..., 0]  # [1, groups, 1, 1] -> [1, groups, 1]
        arrays[name] = array
    unreadable = {_our_name(name, expected): why for name, why in weights.unreadable.items()}
    notes = []
    if any(map(LEGACY_SE.match, weights.arrays)) and any(map(expected.__contains__, arrays)):
        notes.append(
            "the file's SE-ResNet pools without padding and halves its maps in the first convolution of a bottleneck, not in "
            "the second: this network computes something else until it is trained"
        )
    return OurWeights(arrays, unreadable, notes)


def has_simam_of_its_authors(weights: Weights) -> bool:
    """Whether the names in ``weights`` are those of the SimAM authors' network with SimAM in its blocks."""
    return any(map(SIMAM.match, weights.arrays))


def _our_name(theirs: str, expected: Collection[str]) -> str:
    """The name in ``expected`` for the name ``theirs`` of PyTorch; another one if there is none."""
    prefix, dot, last = theirs.rpartition(".")
    plain = prefix + dot + NORM_NAMES.get(last, last)
    if plain in expected:
        return plain
    name = plain
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    return name if name in expected else plain

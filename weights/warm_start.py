"""A network starts from weights of a file: names and layouts of PyTorch and Paddle onto our own, checks, and a report.

Exact warm start. With its initial parameters, an attention layer at the end of a residual block may be as simple as

    attention(x)[:, i] = factor * x[:, order[i]]                                     (attention.base.InitialMap)

Shuffle Attention is: its gates are sigmoid(1), then it shuffles the channels by a fixed permutation. The block is
relu(attention(norm(conv(h))) + shortcut(h)), with norm(z)[:, c] = weight[c] * (z[:, c] - mean[c]) / sqrt(variance[c] + eps)
+ bias[c]. Let W, weight, bias, mean and variance be those of a plain ResNet, and p the inverse of order. With

    W'[c] = W[p[c]],  mean'[c] = mean[p[c]],  variance'[c] = variance[p[c]],
    weight'[c] = weight[p[c]] / factor,  bias'[c] = bias[p[c]] / factor,

channel c of norm'(conv'(h)) is that of norm(conv(h)) at p[c], divided by the factor, and channel i after the attention is
factor * norm'(conv'(h))[:, order[i]] = norm(conv(h))[:, p[order[i]]] = norm(conv(h))[:, i]. So the block, and with it the
network, computes what the plain one does, in training (with the batch's statistics) as in evaluation.

A layer whose gates start at random (SE, CBAM, ECA, Shuffle Attention with the gate "conv") or follow the photograph (SimAM) has
no such factor: the file's weights are loaded, permuted where the layer shuffles, and the report says that the network computes
something else.
"""

import re

import numpy as np
from paddle import nn

from attention.base import Attention
from sa_resnet import ResidualBlock
from weights.weight_files import WeightFileError, read_weights

NEARLY_NOTHING = 0.1  # of the network's tensors
SHOWN = 3  # names in a line of the report
DROPPED = "num_batches_tracked"
NORM_NAMES = {"running_mean": "_mean", "running_var": "_variance"}
RENAMED = (
    (r"\.se\.fc\.0\.", ".se.fc1."),
    (r"\.se\.fc\.2\.", ".se.fc2."),
    (r"\.cbam\.ChannelGate\.mlp\.1\.", ".cbam.fc1."),
    (r"\.cbam\.ChannelGate\.mlp\.3\.", ".cbam.fc2."),
    (r"\.cbam\.SpatialGate\.spatial\.", ".cbam."),
)
"""What PyTorch's SE-ResNets and the authors of CBAM call our parameters; SA-Net, EPSANet, ECA and SGE have our names."""


def start_from(path, network) -> list:
    """Load the weights of the file ``path`` into ``network``, a new one; returns the lines of a report.

    What the network has and the file lacks stays as it was drawn, and so does a head for another number of classes. Raises
    WeightFileError, the network unchanged, for a file that cannot be read, of which next to nothing fits, or with a tensor of
    another shape or type than the network's or with values that are no numbers.
    """
    weights = read_weights(path)
    expected = network.state_dict()
    arrays, unreadable = _in_our_layout(weights, network)
    found = {name: array for name, array in arrays.items() if name in expected}
    for name in unreadable.keys() & expected.keys():
        raise WeightFileError(f"{path}: {name} is {unreadable[name]}, which is not read: save it there as plain float32")
    if len(found) < NEARLY_NOTHING * len(expected):
        raise WeightFileError(
            f"{path} holds weights of another network: {len(found)} of this one's {len(expected)} tensors are in it; it has "
            f"{_some(arrays)}, the network {_some(expected)}: choose the --net that it belongs to"
        )
    head = _other_head(found, network)
    loaded = {name: _checked(path, name, array, expected[name]) for name, array in found.items() if name not in head}
    lines = [f"weights of {path}: {len(loaded)} of the network's {len(expected)} tensors loaded", *weights.notes]
    lines += [
        f"left out: {name} {found[name].shape}, a head for other classes: the network's is {_shape(expected[name])}"
        for name in head
    ]
    extra, missing = [name for name in arrays if name not in expected], [name for name in expected if name not in loaded]
    if extra:
        lines.append(f"left out: {len(extra)} that this network does not have: {_some(extra)}")
    if missing:
        lines.append(f"as drawn: {len(missing)} that were not loaded: {_some(missing)}")
    lines += _absorb_attention(network, loaded, extra, head)
    for name, array in loaded.items():
        expected[name].set_value(array)
    return [lines[0], *(f"  {line}" for line in lines[1:])]


def _in_our_layout(weights, network):
    """(arrays, unreadable) of ``weights`` by the names and in the layout of Paddle and of our networks."""
    if weights.framework == "paddle":
        return weights.arrays, weights.unreadable
    linear = {f"{path}.weight" for path, layer in network.named_sublayers() if isinstance(layer, nn.Linear)}
    ours = {_our_name(name): name for name in weights.arrays if not name.endswith(DROPPED)}
    arrays = {}
    for name, theirs in ours.items():
        array = weights.arrays[theirs]
        if name in linear:
            if array.ndim == 4 and array.shape[2:] == (1, 1):
                array = array[:, :, 0, 0]  # some write the linear layers of SE as 1x1 convolutions
            array = array.T  # [out, in] -> [in, out]
        elif theirs.endswith("SpatialGate.spatial.conv.weight"):
            array = array[:, ::-1]  # CBAM's authors have the maximum before the mean
        elif re.search(r"\.sge\.(weight|bias)$", name) and array.shape[3:] == (1,):
            array = array[..., 0]  # [1, groups, 1, 1] -> [1, groups, 1]
        arrays[name] = array
    return arrays, {_our_name(name): why for name, why in weights.unreadable.items()}


def _our_name(name):
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    prefix, dot, last = name.rpartition(".")
    return prefix + dot + NORM_NAMES.get(last, last)


def _other_head(found, network):
    """Names of the head's tensors, the network's last linear layer's, if it is for another number of classes."""
    linear = [(path, layer) for path, layer in network.named_sublayers() if isinstance(layer, nn.Linear)]
    if not linear:
        return []
    path, layer = linear[-1]
    shapes = {f"{path}.weight": tuple(layer.weight.shape), f"{path}.bias": tuple(layer.bias.shape)}
    there = [name for name in shapes if name in found]
    same_input = all(
        len(found[name].shape) == len(shapes[name]) and found[name].shape[:-1] == shapes[name][:-1] for name in there
    )
    counts = {found[name].shape[-1] for name in there} if same_input else set()
    return there if len(counts) == 1 and counts != {shapes[f"{path}.bias"][-1]} else []


def _checked(path, name, array, parameter):
    """``array`` as the parameter ``name`` takes it; raises WeightFileError."""
    if array.shape != _shape(parameter):
        raise WeightFileError(
            f"{path}: {name} has shape {array.shape}, the network's is {_shape(parameter)}: choose the --net that it belongs to"
        )
    if array.dtype.kind != "f":
        raise WeightFileError(
            f"{path}: {name} holds {array.dtype}, the network floating-point numbers: take weights of a plain network"
        )
    # a copy in the order of memory: Paddle takes no views with strides of their own
    array = np.array(array, dtype="float32", order="C")
    if not np.isfinite(array).all():
        raise WeightFileError(f"{path}: {name} holds values that are no numbers: the training that left them had diverged")
    if name.endswith("._variance") and (array < 0).any():
        raise WeightFileError(f"{path}: {name} holds variances below zero: the file is damaged")
    return array


def _absorb_attention(network, loaded, extra, head) -> list:
    """Change the weights ``loaded``, of a network without attention, so that the one with attention computes what it did.

    Returns lines for the report; none where the network has no attention or the file has attention of its own.
    """
    layers = {path: layer for path, layer in network.named_sublayers() if isinstance(layer, Attention)}
    own = tuple(f"{path}." for path in layers)
    if not layers or any(name.startswith(own) for name in loaded):
        return []
    kind = type(next(iter(layers.values()))).__name__
    if not any(layer.parameters() for layer in layers.values()):
        return [f"{kind} has no parameters: a network without it, if that is the file's, computes something else"]
    blocks = {path: layer for path, layer in network.named_sublayers() if isinstance(layer, ResidualBlock)}
    if any(name.startswith(tuple(f"{path}." for path in blocks)) for name in extra):
        return [f"{kind} starts in blocks that lack a part of the file's: the network does not compute what the file's does"]
    absorbed = [_absorb_in_block(path, block, loaded) for path, block in blocks.items()]
    if (
        extra
        or not all(absorbed)
        or not loaded.keys() | set(head) >= {name for name in network.state_dict() if not name.startswith(own)}
    ):
        return [f"{kind} starts beside these weights: the network does not compute what the file's does"]
    return [
        f"exact warm start: with {kind} as drawn, which the last convolution and batch norm of each block absorb, the network "
        f"computes what the file's does{', up to the head' if head else ''}"
    ]


def _absorb_in_block(path, block, loaded) -> bool:
    """Absorb the attention at the end of ``block``, called ``path``; whether it then computes exactly what it did without."""
    conv, norm = (
        next(f"{path}.{name}" for name, layer in block.named_children() if layer is last)
        for last in (block.last_conv, block.last_norm)
    )
    names = [f"{conv}.weight", *(f"{norm}.{part}" for part in ("weight", "bias", "_mean", "_variance"))]
    if block.at_end is None or not all(name in loaded for name in names):
        return False
    initial = getattr(block, block.at_end).initial_map(block.last_conv.weight.shape[0])
    for name in names:
        loaded[name] = loaded[name][np.argsort(initial.order)]
    for name in names[1:3] if initial.factor is not None else ():
        loaded[name] = loaded[name] / np.float32(initial.factor)
    return initial.factor is not None


def _shape(parameter):
    return tuple(parameter.shape)


def _some(names):
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")

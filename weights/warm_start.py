"""Starts a network from the weights in a file: maps names and layouts of PyTorch and Paddle to our own, checks, reports.

Exact warm start. With its initial parameters, an attention layer at the end of a residual block can be as simple as

    attention(x)[:, i] = factor * x[:, order[i]]                                     (attention.base.InitialMap)

This holds for Shuffle Attention: its gates are sigmoid(1), and it permutes the channels in a fixed order. The block is
relu(attention(norm(conv(h))) + shortcut(h)), with norm(z)[:, c] = weight[c] * (z[:, c] - mean[c]) / sqrt(variance[c] + eps)
+ bias[c]. Let W, weight, bias, mean and variance come from a plain ResNet, and let p be the inverse of order. With

    W'[c] = W[p[c]],  mean'[c] = mean[p[c]],  variance'[c] = variance[p[c]],
    weight'[c] = weight[p[c]] / factor,  bias'[c] = bias[p[c]] / factor,

channel c of norm'(conv'(h)) is that of norm(conv(h)) at p[c], divided by the factor, and channel i after the attention is
factor * norm'(conv'(h))[:, order[i]] = norm(conv(h))[:, p[order[i]]] = norm(conv(h))[:, i]. So the block, and therefore the
network, computes the same as the plain one, in training (with the batch's statistics) and in evaluation.

Layers with random initial gates (SE, CBAM, ECA, Shuffle Attention with the gate "conv") or gates that depend on the photograph
(SimAM) have no such factor: the file's weights are loaded, permuted if the layer shuffles, and the report says that the network
computes something else.
"""

import re
from pathlib import Path
from typing import Union

import numpy as np
from paddle import nn

from attention.base import Attention
from sa_resnet import ResidualBlock
from weights.weight_files import WeightFileError, read_weights

MIN_SHARE = 0.1  # of the network's tensors that a file must have
MAX_SHOWN = 3  # names in a line of the report
DROPPED = "num_batches_tracked"
NORM_NAMES = {"running_mean": "_mean", "running_var": "_variance"}
RENAMED = (
    (r"\.se\.fc\.0\.", ".se.fc1."),
    (r"\.se\.fc\.2\.", ".se.fc2."),
    (r"\.cbam\.ChannelGate\.mlp\.1\.", ".cbam.fc1."),
    (r"\.cbam\.ChannelGate\.mlp\.3\.", ".cbam.fc2."),
    (r"\.cbam\.SpatialGate\.spatial\.", ".cbam."),
)
"""(pattern, our name) for names in PyTorch's SE-ResNets and the CBAM authors' code; SA-Net, EPSANet, ECA and SGE use ours."""


def start_from(path: Union[str, Path], network: nn.Layer) -> list[str]:
    """Load the weights in the file ``path`` into ``network``, a new one; returns the lines of a report.

    Parameters that the file lacks keep their random values, and so does a head for another number of classes. Raises
    WeightFileError, and leaves the network unchanged, if the file cannot be read, belongs to another network, or has a tensor
    of the wrong shape or type or with values that are not finite.
    """
    weights = read_weights(path)
    expected = network.state_dict()
    arrays, unreadable = _in_our_layout(weights, network)
    found = {name: array for name, array in arrays.items() if name in expected}
    for name in unreadable.keys() & expected.keys():
        raise WeightFileError(f"{path}: {name} is {unreadable[name]}, which cannot be read: save it there as plain float32")
    if len(found) < MIN_SHARE * len(expected):
        raise WeightFileError(
            f"{path} holds weights of another network: only {len(found)} of this network's {len(expected)} tensors are in it; "
            f"it has {_some(arrays)}, the network {_some(expected)}: choose the --net that it belongs to"
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
        lines.append(f"kept random: {len(missing)} that were not loaded: {_some(missing)}")
    lines += _absorb_attention(network, loaded, extra, head)
    for name, array in loaded.items():
        expected[name].set_value(array)
    return [lines[0], *(f"  {line}" for line in lines[1:])]


def _in_our_layout(weights, network):
    """(arrays, unreadable) of ``weights``, with the names of our networks and in Paddle's layout."""
    if weights.framework == "paddle":
        return weights.arrays, weights.unreadable
    linear = {f"{path}.weight" for path, layer in network.named_sublayers() if isinstance(layer, nn.Linear)}
    ours = {_our_name(name): name for name in weights.arrays if not name.endswith(DROPPED)}
    arrays = {}
    for name, theirs in ours.items():
        array = weights.arrays[theirs]
        if name in linear:
            if array.ndim == 4 and array.shape[2:] == (1, 1):
                # SE's linear layers can be 1x1 convolutions in PyTorch: [out, in, 1, 1] -> [out, in]
                array = array[:, :, 0, 0]
            array = array.T  # [out, in] -> [in, out]
        elif theirs.endswith("SpatialGate.spatial.conv.weight"):
            array = array[:, ::-1]  # [1, 2, k, k]: the authors of CBAM put the maximum before the mean, we after it
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
    """The names of the tensors in the head (the last linear layer) if ``found`` has them for another number of classes."""
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
    """``array`` as float32 for the parameter ``name``; raises WeightFileError if shape, type or values do not fit."""
    if array.shape != _shape(parameter):
        raise WeightFileError(
            f"{path}: {name} has shape {array.shape}, the network's is {_shape(parameter)}: choose the --net it belongs to"
        )
    if array.dtype.kind != "f":
        raise WeightFileError(
            f"{path}: {name} holds {array.dtype}, the network floating-point numbers: use weights of a plain network"
        )
    # a contiguous copy: Paddle does not accept views with other strides
    array = np.array(array, dtype="float32", order="C")
    if not np.isfinite(array).all():
        raise WeightFileError(f"{path}: {name} holds NaN or infinite values: the training that wrote them had diverged")
    if name.endswith("._variance") and (array < 0).any():
        raise WeightFileError(f"{path}: {name} holds variances below zero: the file is damaged, get another copy")
    return array


def _absorb_attention(network, loaded, extra, head) -> list[str]:
    """Change the weights ``loaded`` of a network without attention so that the network with attention computes the same.

    ``extra``: names that only the file has; ``head``: names of a head that was not loaded. Returns lines for the report, none
    if the network has no attention or the file has its own.
    """
    layers = {path: layer for path, layer in network.named_sublayers() if isinstance(layer, Attention)}
    own = tuple(f"{path}." for path in layers)
    if not layers or any(name.startswith(own) for name in loaded):
        return []
    kind = type(next(iter(layers.values()))).__name__
    if not any(layer.parameters() for layer in layers.values()):
        return [f"{kind} has no parameters: if the file's network lacks it, this network computes something else"]
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
        f"exact warm start: the last convolution and batch norm of each block absorb the initial {kind}, so the network "
        f"computes what the file's does{', up to the head' if head else ''}"
    ]


def _absorb_in_block(path, block, loaded) -> bool:
    """Absorb the attention at the end of ``block``, called ``path``; returns whether the block computes the same as without it.

    Changes the weights in ``loaded``: permutes the output channels of the last convolution [C, in, k, k] and batch norm [C].
    """
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
    return ", ".join(names[:MAX_SHOWN]) + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")

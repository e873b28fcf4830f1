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

from collections.abc import Iterable
from pathlib import Path
from typing import Union

import numpy as np
from paddle import nn

from attention.base import Attention
from attention.simam import SimAM
from attention.squeeze_excitation import SqueezeExcitation
from networks.stages import last_linear
from sa_resnet import ResidualBlock
from trained.weight_values import problem_of_values
from weights.kernel_sizes import as_text, eca_kernel_sizes
from weights.our_names import has_simam_of_its_authors, in_our_names
from weights.weight_files import WeightFileError, read_weights

MIN_SHARE = 0.1  # of the network's tensors that a file must have
MAX_RANDOM = 0.1  # of the values that the network learns: the largest share that may stay random unless the user insists
MAX_SHOWN = 3  # names in a line of the report
SIMAM_OF_IMAGENET = 0.1  # lambda in the SimAM authors' commands for ImageNet


def start_from(
    path: Union[str, Path], network: nn.Layer, allow_partial: bool = False, frozen: Iterable[nn.Layer] = ()
) -> list[str]:
    """Load the weights in the file ``path`` into ``network``, a new one; returns the lines of a report.

    Parameters that the file lacks keep their random values, and so does a head for another number of classes. Raises
    WeightFileError, and leaves the network unchanged, if the file cannot be read, belongs to another network, or has a tensor
    of the wrong shape or type or with values that are not finite; without ``allow_partial`` also if more than a tenth of the
    values that the network learns would stay random. The head does not count, nor does attention where the file's blocks have
    none. ``frozen``: layers that will not learn; raises WeightFileError as well if any of their values would stay random.
    """
    weights = read_weights(path)
    expected = network.state_dict()
    arrays, unreadable, notes = in_our_names(weights, network)
    found = {name: array for name, array in arrays.items() if name in expected}
    for name in unreadable.keys() & expected.keys():
        raise WeightFileError(f"{path}: {name} is {unreadable[name]}, which cannot be read: save it there as plain float32")
    if not found or (len(found) < MIN_SHARE * len(expected) and not allow_partial):
        raise WeightFileError(
            f"{path} holds weights of another network: only {len(found)} of this network's {len(expected)} tensors are in it; "
            f"it has {_some(arrays)}, the network {_some(expected)}: choose the --net that it belongs to"
        )
    head = _other_head(found, network)
    loaded = {name: _checked(path, name, array, expected[name]) for name, array in found.items() if name not in head}
    lines = [f"weights of {path}: {len(loaded)} of the network's {len(expected)} tensors loaded", *weights.notes, *notes]
    lines += [
        f"left out: {name} {found[name].shape}, a head for other classes: the network's is {_shape(expected[name])}"
        for name in head
    ]
    without_bias = _zero_biases_of_se(network, loaded)
    if without_bias:
        lines.append(f"set to zero: {len(without_bias)} that the file's SE does not have: {_some(without_bias)}")
    extra, missing = [name for name in arrays if name not in expected], [name for name in expected if name not in loaded]
    if not allow_partial:
        _check_share(path, network, missing, extra)
    _check_frozen(path, network, missing, frozen)
    if extra:
        lines.append(f"left out: {len(extra)} that this network does not have: {_some(extra)}")
    if missing:
        lines.append(f"kept random: {len(missing)} that were not loaded: {_some(missing)}")
    kernel_sizes = eca_kernel_sizes(path, loaded)
    if kernel_sizes:
        lines.append(f"kernel sizes of ECA in the four stages, as in the file: {as_text(kernel_sizes)}")
    if has_simam_of_its_authors(weights):
        lines += _simam_of_its_authors(network)
    else:
        lines += _absorb_attention(network, loaded, extra, head)
    for name, array in loaded.items():
        expected[name].set_value(array)
    return [lines[0], *(f"  {line}" for line in lines[1:])]


def _check_share(path, network, missing, extra):
    """Raise WeightFileError if more than MAX_RANDOM of what counts is ``missing``; ``extra``: what only the file has."""
    exempt = tuple(f"{layer}." for layer in _exempt(network, extra))
    sizes = {
        name: int(np.prod(parameter.shape))
        for name, parameter in network.named_parameters()
        if not (parameter.stop_gradient or name.startswith(exempt))
    }
    random = [name for name in missing if name in sizes]
    share = sum(sizes[name] for name in random) / max(sum(sizes.values()), 1)
    if share > MAX_RANDOM:
        instead = f"; the file has {_some(extra)} instead" if extra else ""
        raise WeightFileError(
            f"{path}: {share:.0%} of the values that this network learns would stay random, more than {MAX_RANDOM:.0%}: "
            f"{_some(random)}{instead}: choose the --net that it belongs to, or insist with --allow_partial"
        )


def _check_frozen(path, network, missing, frozen):
    """Raise WeightFileError if ``frozen`` layers have ``missing`` tensors that would stay random.

    Attention whose initial map is a known one starts with fixed values: in a frozen block it is only a part of the arithmetic.
    """
    kept = {parameter.name for layer in frozen for parameter in layer.parameters()}
    for attention in (layer for layer in network.sublayers() if isinstance(layer, Attention)):
        if attention.initial_map(2).factor is not None:
            kept -= {parameter.name for parameter in attention.parameters()}
    random = [name for name, value in network.state_dict().items() if name in missing and value.name in kept]
    if random:
        raise WeightFileError(
            f"{path}: {len(random)} tensors of the frozen stages are not in it and would stay random: {_some(random)}: freeze "
            f"fewer stages, or leave --freeze out"
        )


def _exempt(network, extra):
    """The layers whose parameters a file may lack: the head, and attention unless ``extra``, the file's own, is in blocks."""
    head = last_linear(network)
    attention = [path for path, layer in network.named_sublayers() if isinstance(layer, Attention)]
    blocks = tuple(f"{path.rpartition('.')[0]}." for path in attention)
    return [*([head[0]] if head else []), *([] if any(name.startswith(blocks) for name in extra) else attention)]


def _zero_biases_of_se(network, loaded):
    """Add biases of zero to ``loaded`` where it has only the weights of SE's linear layers; returns their names."""
    added = []
    for path, layer in network.named_sublayers():
        for part in ("fc1", "fc2") if isinstance(layer, SqueezeExcitation) else ():
            if f"{path}.{part}.weight" in loaded and f"{path}.{part}.bias" not in loaded:
                added.append(f"{path}.{part}.bias")
                loaded[added[-1]] = np.zeros(getattr(layer, part).bias.shape, "float32")
    return added


def _simam_of_its_authors(network):
    """Lines on a file of the SimAM authors' network: with which lambda, and whether this network has SimAM at all."""
    layers = [layer for layer in network.sublayers() if isinstance(layer, SimAM)]
    if not layers:
        return ["the file's network has SimAM, this one does not, so it computes something else"]
    if layers[0].e_lambda == SIMAM_OF_IMAGENET:
        return []
    return [f"the authors trained for ImageNet with --e_lambda {SIMAM_OF_IMAGENET}, this network has {layers[0].e_lambda}"]


def _other_head(found, network):
    """The names of the tensors in the head (the last linear layer) if ``found`` has them for another number of classes."""
    head = last_linear(network)
    if head is None:
        return []
    path, layer = head
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
    if problem := problem_of_values(name, array):
        raise WeightFileError(f"{path}: {problem}")
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
    if not any(isinstance(layer, Attention) for layer in block.sublayers()):
        return True  # one of a stage without attention
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


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MAX_SHOWN]) + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")

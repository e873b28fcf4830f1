"""The gates of the two branches of Shuffle Attention for photographs, stage by stage."""

from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

from attention.shuffle_attention import ShuffleAttention
from networks.class_activation import evaluation_mode, hooks
from sa_resnet import ResidualBlock


class StageGates(NamedTuple):
    """The gates, in (0, 1), of the layers of one stage for N photographs.

    ``channel``: float32 [N, layers, C / 2], of the channel branch. ``spatial``: float32 [N, h, w], of the spatial branch in the
    stage's last layer, averaged over its C / 2 channels. C, h and w differ from stage to stage.
    """

    stage: str
    channel: np.ndarray
    spatial: np.ndarray


def shuffle_gates(layer: ShuffleAttention, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The gates of ``layer`` for its input x [N, C, H, W].

    Returns sigmoid(W1 * mean(x_k1) + b1) [N, C / 2] (equation 2 of the paper) and sigmoid(W2 * GN(x_k2) + b2)
    [N, C / 2, H, W] (equation 3), with the channels in the order of x.
    """
    count, channels, height, width = x.shape
    half = channels // (2 * layer.groups)
    grouped = x.reshape([count * layer.groups, 2, half, height, width])  # [N * groups, branch, C / (2 * groups), H, W]
    means, normalised = grouped[:, 0].mean(axis=[2, 3], keepdim=True), layer.gn(grouped[:, 1])
    if layer.gate == "conv":
        channel, spatial = layer.affine1(means), layer.affine2(normalised)
    else:
        channel, spatial = layer.cweight * means + layer.cbias, layer.sweight * normalised + layer.sbias
    channel = F.sigmoid(channel).reshape([count, channels // 2])  # from [N * groups, C / (2 * groups), 1, 1]
    # [N * groups, C / (2 * groups), H, W] -> [N, C / 2, H, W]
    return channel, F.sigmoid(spatial).reshape([count, channels // 2, height, width])


def stage_gates(classifier: paddle.nn.Layer, images: np.ndarray, batch_size: int = 16) -> list[StageGates]:
    """The ``StageGates`` of every stage for images uint8 [N, 3, H, W]; [] for a network without Shuffle Attention.

    A stage is a group of residual blocks (``layer1`` to ``layer4``); a layer outside such blocks is a stage by itself. The
    network runs in evaluation mode, with ``batch_size`` images at once, and is left unchanged.
    """
    layers, found = _shuffle_layers(classifier), {}
    if not layers:
        return []
    spies = [layer.register_forward_pre_hook(_keep_gates(found.setdefault(path, []), norm)) for path, layer, norm in layers]
    with evaluation_mode(classifier), paddle.no_grad(), hooks(spies):
        for start in range(0, len(images), batch_size):
            classifier(paddle.to_tensor(images[start : start + batch_size]))
    stages = {}
    for path, _, norm in layers:
        channel, spatial = (np.concatenate(parts) for parts in zip(*found[path]))
        stages.setdefault(_stage_of(path, norm), []).append((channel, spatial))
    return [StageGates(name, np.stack([c for c, _ in members], axis=1), members[-1][1]) for name, members in stages.items()]


def _keep_gates(found, norm):
    """A hook that appends (channel gates, mean spatial gates) of each call to ``found``."""

    def hook(layer, inputs):
        # In a residual block the layer receives the input of the block's last batch norm, to fuse the norm with its own work
        x = inputs[0] if norm is None else norm(inputs[0])
        channel, spatial = shuffle_gates(layer, x)
        found.append((channel.numpy(), spatial.mean(axis=1).numpy()))

    return hook


def _shuffle_layers(network):
    """[(path, layer, the batch norm before it or None), ...] of the Shuffle Attention layers, from first to last."""
    norms = {}
    for path, block in network.named_sublayers():
        if isinstance(block, ResidualBlock) and block.at_end is not None:
            norms[f"{path}.{block.at_end}"] = block.last_norm
    named = network.named_sublayers()
    return [(path, layer, norms.get(path)) for path, layer in named if isinstance(layer, ShuffleAttention)]


def _stage_of(path, norm):
    """The name of the stage: "layer1" for the path "network.layer1.0.sa" in a block, else the path itself."""
    parts = path.removeprefix("network.").split(".")
    return ".".join(parts[:-2]) if norm is not None else ".".join(parts)

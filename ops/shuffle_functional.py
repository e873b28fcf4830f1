"""Shuffle Attention as a function of a feature map and six small parameters.

Paper: Q.-L. Zhang, Y.-B. Yang, "SA-Net: Shuffle Attention for Deep Convolutional Neural Networks", ICASSP 2021.

The C channels form ``groups`` groups. The first half x_k1 of the channels of a group goes through the channel branch, the
second half x_k2 through the spatial branch. All groups share the parameters.

    channel branch (eq. 1, 2):  x_k1' = sigmoid(W1 * mean(x_k1) + b1) * x_k1
    spatial branch (eq. 3):     x_k2' = sigmoid(W2 * GN(x_k2) + b2) * x_k2

GN has one channel a group, so it normalises each plane by itself: GN(x) = gamma * (x - mean) * rstd + beta. Both branches
are therefore one formula with one A and one B for each (image, channel) plane,

    y = x * sigmoid(A * x + B),
    channel branch:  A = 0,                     B = W1 * mean + b1
    spatial branch:  A = W2 * gamma * rstd,     B = W2 * (beta - gamma * mean * rstd) + b2

after which the channel shuffle (2 groups over all C channels) sends channel c to 2c if c < C/2, else to 2(c - C/2) + 1.
Feature maps are [N, C, H, W] or, with ``channels_last``, [N, H, W, C]; those of ``shuffle_attention`` also in blocks of
channels, [N, C / lanes, H, W, lanes] (ops/channel_blocks.py).
"""

from typing import Optional

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from ops.batch_norm import Norm, batch_norm_reference, block_end, fusable, with_statistics

EPSILON = 1e-5  # of the group norm, as in the authors' code


def check_groups(channels: int, groups: int) -> None:
    """Raise ValueError unless ``channels`` is a positive multiple of 2 * ``groups``."""
    if groups < 1 or channels < 2 * groups or channels % (2 * groups):
        fitting = [g for g in (64, 32, 16, 8, 4, 2, 1) if channels % (2 * g) == 0]
        remedy = f"; {channels} channels allow, for instance, groups = {fitting[0]}" if fitting else ""
        raise ValueError(
            f"groups = {groups} with {channels} channels: the channels must be a multiple of 2 * groups = "
            f"{2 * groups}, one half of each group for each branch{remedy}"
        )


def shuffle_attention(
    x: Tensor,
    cweight: Tensor,
    cbias: Tensor,
    sweight: Tensor,
    sbias: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    groups: int,
    residual: Optional[Tensor] = None,
    norm: Optional[Norm] = None,
    channels_last: bool = False,
) -> Tensor:
    """As ``shuffle_attention_reference``; in one fused operator where possible.

    The fused operator makes two passes over x, the plain ones about twenty; its backward pass is written by hand.
    ops/csrc/block_end.h has the algebra.
    """
    parameters = (cweight, cbias, sweight, sbias, gn_weight, gn_bias)
    if norm is not None:
        x, norm = with_statistics(x, norm, channels_last)
    if not fusable(x, norm, channels_last, half=gn_weight.shape[0]):
        return shuffle_attention_reference(x, *parameters, groups, residual, norm, channels_last)
    channels = x.shape[1] * x.shape[4] if len(x.shape) == 5 else x.shape[3 if channels_last else 1]
    check_groups(channels, groups)
    return block_end(x, norm, parameters, residual, relu=False, channels_last=channels_last)


def shuffle_attention_reference(
    x: Tensor,
    cweight: Tensor,
    cbias: Tensor,
    sweight: Tensor,
    sbias: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    groups: int,
    residual: Optional[Tensor] = None,
    norm: Optional[Norm] = None,
    channels_last: bool = False,
) -> Tensor:
    """Shuffle Attention in plain Paddle operators.

    ``x``: [N, C, H, W], with ``channels_last`` [N, H, W, C]. ``cweight``, ``cbias``, ``sweight``, ``sbias``: [1, C / (2 *
    groups), 1, 1] (W1, b1, W2, b2). ``gn_weight``, ``gn_bias``: [C / (2 * groups)] (gamma, beta). Returns the shape of x; with
    ``residual`` of the same shape, relu(shuffle_attention(x) + residual), the end of a ResNet block. ``norm``: a batch norm
    that is applied to x first. Raises ValueError unless C is a multiple of 2 * groups.
    """
    if norm is not None:
        x = batch_norm_reference(x, norm, channels_last=channels_last)
    _, *sides = x.shape
    channels = sides.pop(2 if channels_last else 0)
    check_groups(channels, groups)
    half, plane = channels // (2 * groups), sides[0] * sides[1]
    # -1, not N: with a fixed first dimension, the network could not be exported with a free batch size. Below, P = H * W
    if channels_last:
        positions = 1
        x = x.reshape([-1, plane, groups, 2, half])  # [N, P, groups, branch, C / (2 * groups)]
    else:
        positions = 4
        x = x.reshape([-1, groups, 2, half, plane])  # [N, groups, branch, C / (2 * groups), P]
    # The channel branch needs no variance, but splitting x costs more than computing it for all planes
    mean = x.mean(axis=positions, keepdim=True)
    variance = (x - mean).square().mean(axis=positions)  # [N, groups, branch, C / (2 * groups)]
    mean = mean.squeeze(positions)  # of the same shape

    def per_channel(parameter):
        return parameter.reshape([1, 1, half])  # from [1, C / (2 * groups), 1, 1] or [C / (2 * groups)]

    b_channel = per_channel(cweight) * mean[:, :, 0] + per_channel(cbias)  # [N, groups, C / (2 * groups)]
    gamma_rstd = per_channel(gn_weight) * paddle.rsqrt(variance[:, :, 1] + EPSILON)
    a_spatial = per_channel(sweight) * gamma_rstd
    b_spatial = per_channel(sweight) * (per_channel(gn_bias) - mean[:, :, 1] * gamma_rstd) + per_channel(sbias)
    a = paddle.stack([paddle.zeros_like(a_spatial), a_spatial], axis=2)  # [N, groups, branch, C / (2 * groups)]
    b = paddle.stack([b_channel, b_spatial], axis=2)

    y = x * F.sigmoid(a.unsqueeze(positions) * x + b.unsqueeze(positions))
    if channels_last:
        y = F.channel_shuffle(y.reshape([-1, *sides, channels]), 2, "NHWC")  # from [N, P, groups, branch, ...]
    else:
        y = F.channel_shuffle(y.reshape([-1, channels, *sides]), 2)  # from [N, groups, branch, ..., P]
    return y if residual is None else F.relu(y + residual)

"""Shuffle Attention (Zhang and Yang, ICASSP 2021): channel and spatial attention with a handful of parameters.

Parameter names and initial values are those of the authors' code, so that published weights can be loaded. Initially both
weights are 0 and both biases 1, so the layer equals sigmoid(1) * shuffle(x).
"""

import math
from typing import Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn
from paddle.nn.initializer import Constant

from attention.base import Attention, InitialMap
from attention.fixed_convolution import convolution_with_norm, fixed_convolution
from ops import fused
from ops.batch_norm import BatchNorm2D
from ops.shuffle_functional import EPSILON, check_groups, shuffle_attention


class ShuffleAttention(Attention):
    """[N, C, H, W] -> the same shape.

    ``channels``: C, a multiple of 2 * ``groups``. ``gate``: "scale" gates each channel with its own weight and bias, as in the
    authors' code; "conv" mixes the C / (2 * groups) channels of a branch with a 1x1 convolution before the sigmoid
    (``affine1``, ``affine2``), as one published rewrite does. Raises ValueError for channels or a gate that do not fit.
    """

    def __init__(self, channels: int, groups: int = 64, gate: str = "scale", data_format: str = "NCHW"):
        super().__init__(data_format)
        check_groups(channels, groups)
        if gate not in ("scale", "conv"):
            raise ValueError(f"gate = {gate!r}: expected 'scale' or 'conv'")
        half = channels // (2 * groups)
        self.groups, self.gate = groups, gate
        if gate == "scale":
            for name, start in (("cweight", 0.0), ("cbias", 1.0), ("sweight", 0.0), ("sbias", 1.0)):
                parameter = self.create_parameter([1, half, 1, 1], default_initializer=Constant(start))
                self.add_parameter(name, parameter)
        else:
            self.affine1 = nn.Conv2D(half, half, 1, data_format=data_format)
            self.affine2 = nn.Conv2D(half, half, 1, data_format=data_format)
        self.gn = nn.GroupNorm(num_groups=half, num_channels=half, epsilon=EPSILON, data_format=data_format)

    def end_block(self, x: Tensor, norm: BatchNorm2D, residual: Tensor) -> Tensor:
        """As ``Attention.end_block``; in one fused operator where possible."""
        if len(x.shape) == 5 and not self.takes_blocks(x.shape[4]):
            return Attention.end_block(self, x, norm, residual)  # not super(): see ops.convolution
        return self(x, residual=residual, norm=norm)

    def forward(self, x: Tensor, residual: Optional[Tensor] = None, norm: Optional[BatchNorm2D] = None) -> Tensor:
        """attention(x) [N, C, H, W]; with ``residual`` of the same shape relu(attention(x) + residual), the end of a block.

        ``norm``: applied to x first.
        """
        channels_last, half = self.data_format == "NHWC", self.gn.weight.shape[0]
        plain = self.gate == "conv" or not isinstance(norm, BatchNorm2D)
        if norm is not None and (plain or not fused.usable(x, channels_last, half)):
            x, norm = norm(x), None
        if self.gate == "scale":
            parameters = (self.cweight, self.cbias, self.sweight, self.sbias, self.gn.weight, self.gn.bias)
            return shuffle_attention(x, *parameters, self.groups, residual, norm and norm.norm(), channels_last)
        y = self._conv_gate_channels_last(x) if channels_last else self._conv_gate(x)
        return y if residual is None else F.relu(y + residual)

    def takes_blocks(self, lanes: int) -> bool:
        """Whether it takes feature maps in blocks of ``lanes`` channels, of which the shuffle needs pairs."""
        channels = 2 * self.groups * self.gn.weight.shape[0]
        return self.gate == "scale" and self.data_format == "NCHW" and channels % (2 * lanes) == 0

    def export_form(self) -> "ShuffledBranches":
        return ShuffledBranches(self)

    def end_form(self, conv: nn.Conv2D, norm: BatchNorm2D) -> "BranchesOfConvolution":
        return BranchesOfConvolution(conv, norm, self)

    def end_order(self, channels: int) -> np.ndarray:
        """First the channels of the channel branch, then those of the spatial branch, as the shuffle numbers them."""
        shuffled = np.argsort(self.initial_map(channels).order)  # where the shuffle puts each channel
        return shuffled[np.concatenate(self.branch_channels(channels))]

    def initial_map(self, channels: int) -> InitialMap:
        """The channel shuffle; the factor of the gate "scale" is sigmoid(0 * mean + 1) = sigmoid(0 * GN(x) + 1).

        The shuffle sends channel c to 2c if c < C / 2, else to 2(c - C / 2) + 1: channel i comes from i / 2 if i is even, else
        from C / 2 + (i - 1) / 2. The gate "conv" has no factor: its 1x1 convolutions start at random.
        """
        order = np.arange(channels).reshape(2, channels // 2).T.reshape(-1)  # [branch, C / 2] -> [C / 2, branch]
        return InitialMap(order, 1 / (1 + math.exp(-1)) if self.gate == "scale" else None)

    def branch_channels(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """(channels of the channel branch, of the spatial branch), each [C / 2], among C = ``channels`` of the input."""
        half = channels // (2 * self.groups)
        grouped = np.arange(channels).reshape(self.groups, 2, half)  # [groups, branch, C / (2 * groups)]
        return grouped[:, 0].reshape(-1), grouped[:, 1].reshape(-1)  # each [groups, C / (2 * groups)] -> [C / 2]

    def _conv_gate(self, x: Tensor) -> Tensor:
        """The layer with the gate "conv": [N, C, H, W] -> the same shape."""
        channels, height, width = x.shape[1:]
        half = channels // (2 * self.groups)
        x = x.reshape([-1, 2, half, height, width])  # [N * groups, branch, C / (2 * groups), H, W]
        x_channel, x_spatial = x[:, 0], x[:, 1]
        y_channel = x_channel * F.sigmoid(self.affine1(x_channel.mean(axis=[2, 3], keepdim=True)))
        y_spatial = x_spatial * F.sigmoid(self.affine2(self.gn(x_spatial)))
        y = paddle.stack([y_channel, y_spatial], axis=1)  # [N * groups, branch, C / (2 * groups), H, W]
        return F.channel_shuffle(y.reshape([-1, channels, height, width]), groups=2)  # from [N * groups, branch, ...]

    def _conv_gate_channels_last(self, x: Tensor) -> Tensor:
        """The same of [N, H, W, C]: groups, which the convolutions take for a side of the map, remain where they are."""
        height, width, channels = x.shape[1:]
        half = channels // (2 * self.groups)
        x = x.reshape([-1, height * width, self.groups, 2, half])  # [N, H * W, groups, branch, C / (2 * groups)]
        x_channel, x_spatial = x[:, :, :, 0], x[:, :, :, 1]
        y_channel = x_channel * F.sigmoid(self.affine1(x_channel.mean(axis=1, keepdim=True)))
        centred = x_spatial - x_spatial.mean(axis=1, keepdim=True)
        normed = centred * paddle.rsqrt(centred.square().mean(axis=1, keepdim=True) + EPSILON)
        y_spatial = x_spatial * F.sigmoid(self.affine2(normed * self.gn.weight + self.gn.bias))
        y = paddle.stack([y_channel, y_spatial], axis=3)  # [N, H * W, groups, branch, C / (2 * groups)]
        return F.channel_shuffle(y.reshape([-1, height, width, channels]), 2, "NHWC")  # from [N, H * W, groups, branch, ...]


class Branches(nn.Layer):
    """Both branches of a trained layer, on a tensor each: two tensors [N, C / 2, H, W] -> two of the same shape.

    Export form: all work plane by plane or in groups of a 1x1 convolution, so that no group needs a dimension of its own.
    GN(x) = gamma * n + beta with n = (x - mean) * rstd: gamma and beta go into the weights that follow.
    """

    def __init__(self, trained: ShuffleAttention):
        super().__init__()
        half, groups, gamma, beta = trained.gn.weight.shape[0], trained.groups, trained.gn.weight, trained.gn.bias
        if trained.gate == "scale":
            weights = [weight.reshape([half, 1, 1, 1]) for weight in (trained.cweight, trained.sweight)]
            biases = [bias.flatten() for bias in (trained.cbias, trained.sbias)]
            gamma, from_beta, convolution_groups = gamma.reshape([half, 1, 1, 1]), weights[1].flatten() * beta, groups * half
        else:
            weights, biases = [trained.affine1.weight, trained.affine2.weight], [trained.affine1.bias, trained.affine2.bias]
            gamma, from_beta, convolution_groups = gamma.reshape([1, half, 1, 1]), weights[1].flatten(1) @ beta, groups
        weights[1], biases[1] = weights[1] * gamma, biases[1] + from_beta
        weights = [paddle.tile(weight, [groups, 1, 1, 1]) for weight in weights]  # [C / 2, 1 or C / (2 * groups), 1, 1]
        biases = [paddle.tile(bias, [groups]) for bias in biases]  # [C / 2]
        self.channel_gate = fixed_convolution(weights[0], biases[0], convolution_groups)
        if trained.gate == "scale":
            self.spatial_gate = PlaneByPlane(weights[1], biases[1])
        else:
            self.spatial_gate = MixedPlanes(fixed_convolution(weights[1], biases[1], convolution_groups))

    def forward(self, channel: Tensor, spatial: Tensor) -> tuple[Tensor, Tensor]:
        """Equations 1 and 2 for the channel branch, equation 3 for the spatial branch."""
        channel = channel * F.sigmoid(self.channel_gate(F.adaptive_avg_pool2d(channel, 1)))
        centred = spatial - F.adaptive_avg_pool2d(spatial, 1)
        rstd = paddle.rsqrt(F.adaptive_avg_pool2d(centred * centred, 1) + EPSILON)
        return channel, spatial * F.sigmoid(self.spatial_gate(centred, rstd))


class PlaneByPlane(nn.Layer):
    """``weight`` * (x * rstd) + ``bias``: [N, C, H, W] and rstd [N, C, 1, 1] -> [N, C, H, W].

    A convolution with one channel a group would do, but ONNX Runtime changes the layout for it, twice.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("weight", weight.reshape([1, -1, 1, 1]))  # from [C, 1, 1, 1]
        self.register_buffer("bias", bias.reshape([1, -1, 1, 1]))  # from [C]

    def forward(self, x: Tensor, rstd: Tensor) -> Tensor:
        return x * (self.weight * rstd) + self.bias


class MixedPlanes(nn.Layer):
    """``conv``(x * rstd), shapes as in PlaneByPlane."""

    def __init__(self, conv: nn.Conv2D):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, rstd: Tensor) -> Tensor:
        return self.conv(x * rstd)


class BranchesOfConvolution(nn.Layer):
    """A block's last convolution ``conv``, its ``norm`` and the ``trained`` attention after it: [N, in, H, W] -> [N, C, H, W].

    Export form: each branch has a convolution of its own, made of those rows of the weights, so nothing is cut or shuffled. The
    output has the branches one after the other, in the order of ``ShuffleAttention.end_order``.
    """

    def __init__(self, conv: nn.Conv2D, norm: BatchNorm2D, trained: ShuffleAttention):
        super().__init__()
        channels = conv.weight.shape[0]
        channel, spatial = trained.branch_channels(channels)
        self.channel, self.spatial = convolution_with_norm(conv, norm, channel), convolution_with_norm(conv, norm, spatial)
        self.branches = Branches(trained)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.concat(self.branches(self.channel(x), self.spatial(x)), axis=1)


class ShuffledBranches(Attention):
    """The ``trained`` layer's export form where no convolution precedes it: [N, C, H, W] -> the same shape."""

    def __init__(self, trained: ShuffleAttention):
        super().__init__()
        channels = 2 * trained.groups * trained.gn.weight.shape[0]
        self.branches = Branches(trained)
        for name, order in zip(("channel", "spatial"), trained.branch_channels(channels)):
            self.register_buffer(name, paddle.to_tensor(order))
        self.register_buffer("shuffled", paddle.to_tensor(np.argsort(trained.end_order(channels))))

    def forward(self, x: Tensor) -> Tensor:
        halves = self.branches(paddle.index_select(x, self.channel, axis=1), paddle.index_select(x, self.spatial, axis=1))
        return paddle.index_select(paddle.concat(halves, axis=1), self.shuffled, axis=1)

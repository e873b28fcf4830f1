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
from ops import fused
from ops.batch_norm import BatchNorm2D
from ops.shuffle_functional import EPSILON, check_groups, shuffle_attention


class ShuffleAttention(Attention):
    """[N, C, H, W] -> the same shape.

    ``channels``: C, a multiple of 2 * ``groups``. ``gate``: "scale" gates each channel with its own weight and bias, as in the
    authors' code; "conv" mixes the C / (2 * groups) channels of a branch with a 1x1 convolution before the sigmoid
    (``affine1``, ``affine2``), as one published rewrite does. Raises ValueError for channels or a gate that do not fit.
    """

    def __init__(self, channels: int, groups: int = 64, gate: str = "scale"):
        super().__init__()
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
            self.affine1 = nn.Conv2D(half, half, 1)
            self.affine2 = nn.Conv2D(half, half, 1)
        self.gn = nn.GroupNorm(num_groups=half, num_channels=half, epsilon=EPSILON)

    def end_block(self, x: Tensor, norm: BatchNorm2D, residual: Tensor) -> Tensor:
        """As ``Attention.end_block``; in one fused operator where possible."""
        return self(x, residual=residual, norm=norm)

    def forward(self, x: Tensor, residual: Optional[Tensor] = None, norm: Optional[BatchNorm2D] = None) -> Tensor:
        """attention(x) [N, C, H, W]; with ``residual`` of the same shape relu(attention(x) + residual), the end of a block.

        ``norm``: applied to x first.
        """
        if norm is not None and (self.gate == "conv" or not fused.usable(x)):
            x, norm = norm(x), None
        if self.gate == "scale":
            parameters = (self.cweight, self.cbias, self.sweight, self.sbias, self.gn.weight, self.gn.bias)
            return shuffle_attention(x, *parameters, self.groups, residual, norm and norm.norm())
        y = self._conv_gate(x)
        return y if residual is None else F.relu(y + residual)

    def initial_map(self, channels: int) -> InitialMap:
        """The channel shuffle; the factor of the gate "scale" is sigmoid(0 * mean + 1) = sigmoid(0 * GN(x) + 1).

        The shuffle sends channel c to 2c if c < C / 2, else to 2(c - C / 2) + 1: channel i comes from i / 2 if i is even, else
        from C / 2 + (i - 1) / 2. The gate "conv" has no factor: its 1x1 convolutions start at random.
        """
        order = np.arange(channels).reshape(2, channels // 2).T.reshape(-1)  # [branch, C / 2] -> [C / 2, branch]
        return InitialMap(order, 1 / (1 + math.exp(-1)) if self.gate == "scale" else None)

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

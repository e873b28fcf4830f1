"""Efficient Channel Attention: channel gates from a short convolution across neighbouring channels."""

import math
from typing import Optional

import paddle.nn.functional as F
from paddle import Tensor, nn

from attention.base import Attention
from attention.fixed_convolution import fixed_convolution
from attention.initial_values import uniform_by_fan_in


def adaptive_kernel_size(channels: int) -> int:
    """The odd number nearest to log2(C) / 2 + 1 / 2, rounded as in the authors' code (equation 12, gamma 2, b 1)."""
    size = int(abs(math.log2(channels) / 2 + 0.5))
    return size if size % 2 else size + 1


class EfficientChannelAttention(Attention):
    """Q. Wang et al., "ECA-Net: Efficient Channel Attention for Deep CNNs", CVPR 2020: [N, C, H, W] -> the same shape.

    Equation 9: gates sigmoid(conv1d_k(mean of each plane)). The convolution runs along the channels and has no bias.
    ``kernel_size``: k, odd; None: equation 12, by which it grows with the number of channels. The weights start uniform within
    1 / sqrt(k), PyTorch's default, which the authors keep. Raises ValueError for an even ``kernel_size``.
    """

    def __init__(self, channels: int, kernel_size: Optional[int] = None, data_format: str = "NCHW"):
        super().__init__(data_format)
        size = adaptive_kernel_size(channels) if kernel_size is None else kernel_size
        if size < 1 or not size % 2:
            raise ValueError(f"kernel_size = {size}: must be odd, so that each channel is in the middle; try {size + 1}")
        self.conv = nn.Conv1D(1, 1, size, padding=size // 2, weight_attr=uniform_by_fan_in(size), bias_attr=False)

    def forward(self, x: Tensor) -> Tensor:
        gates = F.sigmoid(self.conv(x.mean(axis=self.plane_axes).unsqueeze(1)))  # [N, 1, C]
        return x * gates.squeeze(1).unsqueeze(self.plane_axes)  # gates -> [N, C, 1, 1] or [N, 1, 1, C]

    def export_form(self) -> "GatesAlongHeight":
        return GatesAlongHeight(self)


class GatesAlongHeight(Attention):
    """Export form of a ``trained`` layer: the convolution runs along the height of a map that has the channels there."""

    def __init__(self, trained: EfficientChannelAttention):
        super().__init__()
        weight = trained.conv.weight.unsqueeze(3)  # [1, 1, k] -> [1, 1, k, 1]
        self.conv = fixed_convolution(weight, padding=(weight.shape[2] // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        pooled = F.adaptive_avg_pool2d(x, 1).reshape([-1, 1, channels, 1])  # [N, C, 1, 1] -> [N, 1, C, 1]
        return x * F.sigmoid(self.conv(pooled)).reshape([-1, channels, 1, 1])  # [N, 1, C, 1] -> [N, C, 1, 1]

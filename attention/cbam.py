"""Convolutional Block Attention Module: channel gates, then a gate for each position."""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from attention.base import Attention
from attention.squeeze_excitation import check_reduction


class CBAM(Attention):
    """S. Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018: [N, C, H, W] -> the same shape.

    Equation 2: channel gates sigmoid(MLP(mean) + MLP(max)), mean and max over each plane, with one shared MLP. Equation 3:
    position gates sigmoid(conv7x7([mean; max])), mean and max over the channels of the gated map. As in the authors' code, the
    convolution has no bias and is followed by batch norm. Raises ValueError where ``reduction`` does not divide C.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        check_reduction(channels, reduction)
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)
        self.conv = nn.Conv2D(2, 1, 7, padding=3, bias_attr=False)
        self.bn = nn.BatchNorm2D(1)

    def forward(self, x: Tensor) -> Tensor:
        # Pooling and maxout compute the maxima: the gradient of paddle.max takes thousands of times as long on a CPU
        pooled = paddle.stack([x.mean(axis=[2, 3]), F.adaptive_max_pool2d(x, 1).flatten(1)])  # [2, N, C]
        gates = F.sigmoid(self.fc2(F.relu(self.fc1(pooled))).sum(axis=0))  # [N, C]
        x = x * gates.unsqueeze([2, 3])  # gates [N, C] -> [N, C, 1, 1]
        pooled = paddle.concat([x.mean(axis=1, keepdim=True), F.maxout(x, x.shape[1])], axis=1)  # [N, 2, H, W]
        return x * F.sigmoid(self.bn(self.conv(pooled)))

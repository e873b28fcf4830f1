"""Squeeze-and-Excitation: channel gates from two linear layers over the pooled channels."""

import paddle.nn.functional as F
from paddle import Tensor, nn

from attention.base import Attention
from attention.initial_values import uniform_by_fan_in


class SqueezeExcitation(Attention):
    """J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018: [N, C, H, W] -> the same shape.

    Equation 2: z = mean of each plane; equation 3: s = sigmoid(W2 relu(W1 z)); equation 4: x * s. W1 reduces C to C /
    ``reduction`` values; both layers have a bias, which the published 28.09 M parameters of SE-ResNet50 include. Weights and
    biases start uniform within 1 / sqrt(fan_in): PyTorch's default, which the ports of SE-ResNet to PyTorch keep; the authors
    published no code that trains. Raises ValueError where ``reduction`` does not divide C.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        check_reduction(channels, reduction)
        self.fc1, self.fc2 = _linear(channels, channels // reduction), _linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        gates = F.sigmoid(self.fc2(F.relu(self.fc1(x.mean(axis=[2, 3])))))  # [N, C]
        return x * gates.unsqueeze([2, 3])  # gates [N, C] -> [N, C, 1, 1]


def _linear(inputs, outputs):
    start = uniform_by_fan_in(inputs)
    return nn.Linear(inputs, outputs, weight_attr=start, bias_attr=start)


def check_reduction(channels: int, reduction: int) -> None:
    """Raise ValueError unless channels / reduction is a whole number, at least 1."""
    if reduction < 1 or channels % reduction:
        raise ValueError(f"reduction = {reduction} with {channels} channels: it must divide them")

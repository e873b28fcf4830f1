"""Squeeze-and-Excitation: channel gates from two linear layers over the pooled channels."""

import paddle.nn.functional as F
from paddle import Tensor, nn

from attention.base import Attention
from attention.fixed_convolution import fixed_convolution
from attention.initial_values import uniform_by_fan_in


class SqueezeExcitation(Attention):
    """J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018: [N, C, H, W] -> the same shape.

    Equation 2: z = mean of each plane; equation 3: s = sigmoid(W2 relu(W1 z)); equation 4: x * s. W1 reduces C to C /
    ``reduction`` values; both layers have a bias, which the published 28.09 M parameters of SE-ResNet50 include. Weights and
    biases start uniform within 1 / sqrt(fan_in): PyTorch's default, which the ports of SE-ResNet to PyTorch keep; the authors
    published no code that trains. Raises ValueError where ``reduction`` does not divide C.
    """

    def __init__(self, channels: int, reduction: int = 16, data_format: str = "NCHW"):
        super().__init__(data_format)
        check_reduction(channels, reduction)
        self.fc1, self.fc2 = _linear(channels, channels // reduction), _linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        gates = F.sigmoid(self.fc2(F.relu(self.fc1(x.mean(axis=self.plane_axes)))))  # [N, C]
        return x * gates.unsqueeze(self.plane_axes)  # gates [N, C] -> [N, C, 1, 1] or [N, 1, 1, C]

    def export_form(self) -> "ConvolvedGates":
        return ConvolvedGates(self.fc1, self.fc2)


class ConvolvedGates(Attention):
    """Export form: the two linear layers as 1x1 convolutions of the pooled map [N, C, 1, 1]."""

    def __init__(self, fc1: nn.Linear, fc2: nn.Linear):
        super().__init__()
        self.mlp = convolved_mlp(fc1, fc2)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1)))


def convolved_mlp(fc1: nn.Linear, fc2: nn.Linear) -> nn.Sequential:
    """``fc2``(relu(``fc1``(x))) as 1x1 convolutions: [N, C, 1, 1] -> the same shape."""

    def convolved(linear):
        return fixed_convolution(linear.weight.t().unsqueeze([2, 3]), linear.bias)  # weight [in, out] -> [out, in, 1, 1]

    return nn.Sequential(convolved(fc1), nn.ReLU(), convolved(fc2))


def _linear(inputs, outputs):
    start = uniform_by_fan_in(inputs)
    return nn.Linear(inputs, outputs, weight_attr=start, bias_attr=start)


def check_reduction(channels: int, reduction: int) -> None:
    """Raise ValueError unless channels / reduction is a whole number, at least 1."""
    if reduction < 1 or channels % reduction:
        raise ValueError(f"reduction = {reduction} with {channels} channels: it must divide them")

"""Convolutional Block Attention Module: channel gates, then a gate for each position."""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn
from paddle.nn.initializer import Constant, KaimingNormal

from attention.base import Attention
from attention.fixed_convolution import fixed_convolution
from attention.initial_values import uniform_by_fan_in
from attention.squeeze_excitation import check_reduction, convolved_mlp
from ops.broadcast import gated

MOMENTUM = 0.99  # as Paddle counts it; PyTorch's 0.01
EARLIER_MOMENTUM = 0.9


class CBAM(Attention):
    """S. Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018: [N, C, H, W] -> the same shape.

    Equation 2: channel gates sigmoid(MLP(mean) + MLP(max)), mean and max over each plane, with one shared MLP. Equation 3:
    position gates sigmoid(conv7x7([mean; max])), mean and max over the channels of the gated map. As in the authors' code, the
    convolution has no bias and is followed by batch norm, whose running statistics keep 0.99 of their value at each step.

    Initial values as in the authors' code: MLP weights uniform within 1 / sqrt(fan_in), biases 0; convolution normal with
    deviation sqrt(2 / 49); weight and bias of the batch norm 0, so every position gate starts at 1/2. ``earlier``: let the
    statistics keep 0.9, as runs of earlier versions did. Raises ValueError where ``reduction`` does not divide C.
    """

    def __init__(self, channels: int, reduction: int = 16, earlier: bool = False, data_format: str = "NCHW"):
        super().__init__(data_format)
        check_reduction(channels, reduction)
        hidden = channels // reduction
        self.fc1 = nn.Linear(channels, hidden, weight_attr=uniform_by_fan_in(channels), bias_attr=Constant(0.0))
        self.fc2 = nn.Linear(hidden, channels, weight_attr=uniform_by_fan_in(hidden), bias_attr=Constant(0.0))
        # Paddle's KaimingNormal computes the fan-in itself; the authors initialise by fan-out, so it gets that as the fan-in
        start = KaimingNormal(fan_in=7 * 7)
        self.conv = nn.Conv2D(2, 1, 7, padding=3, weight_attr=start, bias_attr=False, data_format=data_format)
        momentum = EARLIER_MOMENTUM if earlier else MOMENTUM
        self.bn = nn.BatchNorm2D(1, momentum, weight_attr=Constant(0.0), data_format=data_format)

    def forward(self, x: Tensor) -> Tensor:
        # Pooling and maxout compute the maxima: the gradient of paddle.max takes thousands of times as long on a CPU
        axis, channels = self.channel_axis, x.shape[self.channel_axis]
        if self.data_format == "NHWC":  # for which Paddle has no adaptive pooling of maxima
            values = x.shape[1] * x.shape[2]
            positions = x.reshape([-1, values, 1, channels])  # from [N, H, W, C]
            largest = F.maxout(positions, values) if values > 1 else positions  # [N, 1, 1, C]; one value is no maxout
        else:
            largest = F.adaptive_max_pool2d(x, 1)  # [N, C, 1, 1]
        pooled = paddle.stack([x.mean(axis=self.plane_axes), largest.flatten(1)])  # [2, N, C]
        gates = F.sigmoid(self.fc2(F.relu(self.fc1(pooled))).sum(axis=0))  # [N, C]
        x = x * gates.unsqueeze(self.plane_axes)  # gates [N, C] -> [N, C, 1, 1] or [N, 1, 1, C]
        pooled = paddle.concat([x.mean(axis=axis, keepdim=True), F.maxout(x, channels, axis)], axis)  # [N, 2, H, W]
        return gated(x, F.sigmoid(self.bn(self.conv(pooled))))

    def export_form(self) -> "CBAMForm":
        return CBAMForm(self)


class CBAMForm(Attention):
    """Export form of a ``trained`` layer: without maxout, which few runtimes have, and with 1x1 convolutions for the MLP."""

    def __init__(self, trained: CBAM):
        super().__init__()
        channels = trained.fc1.weight.shape[0]
        self.mlp, self.conv, self.bn = convolved_mlp(trained.fc1, trained.fc2), trained.conv, trained.bn
        self.mean = fixed_convolution(paddle.full([1, channels, 1, 1], 1 / channels))  # oneDNN is slower at the mean itself

    def forward(self, x: Tensor) -> Tensor:
        largest = F.max_pool2d(x, x.shape[2:])  # [N, C, 1, 1]; for the adaptive pooling oneDNN has no code
        x = x * F.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(largest))
        pooled = paddle.concat([self.mean(x), x.max(axis=1, keepdim=True)], axis=1)  # [N, 2, H, W]
        return x * F.sigmoid(self.bn(self.conv(pooled)))

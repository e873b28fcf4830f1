"""Convolutions made of trained parameters, for the forms in which networks are exported."""

from collections.abc import Sequence
from typing import Optional, Union

import numpy as np
import paddle
from paddle import Tensor, nn

from ops.batch_norm import BatchNorm2D, finished

BLOCK = 8  # channels that runtimes keep together with AVX2
PLANES = 2
"""EPSANet-50 in ONNX Runtime on two AMD cores with AVX2, ms for 1 and 16 photographs, against 59 and 999 of ResNet50: groups as
they are 148 and 2,139; joined 110 and 1,719; plane by plane up to 1 output 102 and 1,474, to 2 95 and 1,385, to 4 90 and 1,412.
In Paddle Inference joined 101 and 1,373, up to 2 109 and 1,335, up to 4 116 and 1,422 (ResNet50: 73 and 1,044)."""


def fixed_convolution(
    weight: Tensor,
    bias: Optional[Tensor] = None,
    groups: int = 1,
    stride: Union[int, Sequence[int]] = 1,
    padding: Union[int, Sequence[int]] = 0,
) -> nn.Conv2D:
    """The convolution with ``weight`` [out, in / ``groups``, height, width] and ``bias`` [out]; None: without bias."""
    outputs, inputs, height, width = weight.shape
    made = nn.Conv2D(
        inputs * groups, outputs, [height, width], stride, padding, groups=groups, bias_attr=False if bias is None else None
    )
    made.weight.set_value(weight)
    if bias is not None:
        made.bias.set_value(bias)
    return made


def convolution_with_norm(conv: nn.Conv2D, norm: BatchNorm2D, channels: np.ndarray) -> nn.Conv2D:
    """The output ``channels`` of ``norm``(``conv``(x)) in evaluation mode, in that order, as one convolution."""
    kept = paddle.to_tensor(channels)
    factor = norm.weight * paddle.rsqrt(norm._variance + norm._epsilon)  # [C]
    bias = norm.bias - norm._mean * factor
    if conv.bias is not None:
        bias = bias + conv.bias * factor
    weight = conv.weight * factor.reshape([-1, 1, 1, 1])  # from [C]
    return fixed_convolution(weight[kept], bias[kept], conv._groups, conv._stride, conv._padding)


class PlaneConvolutions(nn.Layer):
    """The grouped convolution ``conv``, without bias, plane by plane: each input channel by itself, then their sums.

    A group has ``outputs`` channels; for each of them there is a depthwise convolution of all input channels.
    """

    def __init__(self, conv: nn.Conv2D):
        super().__init__()
        weight, groups = conv.weight.numpy(), conv._groups
        self.outputs, inputs = weight.shape[0] // groups, weight.shape[1]  # of a group
        by_output = weight.reshape(groups, self.outputs, inputs, 1, *weight.shape[2:]).swapaxes(0, 1)
        for index, planes in enumerate(by_output):
            planes = paddle.to_tensor(planes.reshape(groups * inputs, 1, *weight.shape[2:]))
            depthwise = fixed_convolution(planes, None, groups * inputs, conv._stride, conv._padding)
            self.add_sublayer(f"depthwise_{index}", depthwise)
        ones = np.zeros((groups, self.outputs, self.outputs, groups, inputs), weight.dtype)  # [output, of the planes]
        for group in range(groups):
            for output in range(self.outputs):
                ones[group, output, output, group] = 1
        self.sums = fixed_convolution(paddle.to_tensor(ones.reshape(weight.shape[0], -1, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        planes = [getattr(self, f"depthwise_{index}")(x) for index in range(self.outputs)]
        return self.sums(planes[0] if len(planes) == 1 else paddle.concat(planes, axis=1))


def convolution_in_blocks(conv: nn.Conv2D) -> nn.Layer:
    """A layer that computes ``conv``, without bias, in a form that runtimes compute fast if its groups are small.

    Runtimes keep channels in blocks, and convolve what does not fill them group by group. Up to PLANES outputs a group they are
    faster plane by plane; other groups are joined with their neighbours, with weights of zero between them, to BLOCK channels.
    """
    weight, groups = conv.weight.numpy(), conv._groups
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]  # of a group
    joined = next((n for n in range(1, groups) if groups % n == 0 and n * min(outputs, inputs) >= BLOCK), groups)
    if joined == 1:
        return conv
    if outputs <= PLANES:
        return PlaneConvolutions(conv)
    filled = np.zeros((weight.shape[0], joined * inputs, *weight.shape[2:]), weight.dtype)
    for output, own in enumerate(weight):
        start = output // outputs % joined * inputs
        filled[output, start : start + inputs] = own
    return fixed_convolution(paddle.to_tensor(filled), None, groups // joined, conv._stride, conv._padding)


class FoldedNorm(nn.Layer):
    """What remains of a batch norm that a convolution has taken in: the addition of the ``residual`` with ReLU, or ``relu``."""

    def forward(self, x: Tensor, residual: Optional[Tensor] = None, relu: bool = False) -> Tensor:
        return finished(x, residual, relu)


def fold_norm(owner: nn.Layer, conv: str, norm: str) -> None:
    """Let the convolution ``conv`` of ``owner`` take in its batch norm ``norm``, unless either is another kind of layer."""
    convolution, batch_norm = getattr(owner, conv), getattr(owner, norm)
    if isinstance(convolution, nn.Conv2D) and isinstance(batch_norm, BatchNorm2D):
        folded = convolution_with_norm(convolution, batch_norm, np.arange(convolution.weight.shape[0]))
        owner.add_sublayer(conv, folded)
        owner.add_sublayer(norm, FoldedNorm())

"""Convolutions made of trained parameters, for the forms in which networks are exported."""

from collections.abc import Sequence
from typing import Optional, Union

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ops.batch_norm import BatchNorm2D


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


class FoldedNorm(nn.Layer):
    """What remains of a batch norm that a convolution has taken in: the addition of the ``residual`` with ReLU, or ``relu``."""

    def forward(self, x: Tensor, residual: Optional[Tensor] = None, relu: bool = False) -> Tensor:
        if residual is not None:
            return F.relu(x + residual)
        return F.relu(x) if relu else x


def fold_norm(owner: nn.Layer, conv: str, norm: str) -> None:
    """Let the convolution ``conv`` of ``owner`` take in its batch norm ``norm``, unless either is another kind of layer."""
    convolution, batch_norm = getattr(owner, conv), getattr(owner, norm)
    if isinstance(convolution, nn.Conv2D) and isinstance(batch_norm, BatchNorm2D):
        folded = convolution_with_norm(convolution, batch_norm, np.arange(convolution.weight.shape[0]))
        owner.add_sublayer(conv, folded)
        owner.add_sublayer(norm, FoldedNorm())

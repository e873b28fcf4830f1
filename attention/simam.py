"""SimAM: a gate for each value, computed from its distance to the mean of its plane; no parameters."""

import math
from typing import Optional

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from attention.base import Attention


class SimAM(Attention):
    """L. Yang et al., "SimAM: A Simple, Parameter-Free Attention Module", ICML 2021: [N, C, H, W] -> the same shape.

    The inverse of equation 5's minimal energy, with M = H * W values t on a plane, mean mu and variance v = sum((t - mu)^2) /
    (M - 1): 1 / e = (t - mu)^2 / (4 (v + lambda)) + 1/2; equation 6: x * sigmoid(1 / e). ``channels`` is unused: all attention
    layers take it. ``e_lambda``: lambda, 1e-4 in the paper's experiments with CIFAR, 0.1 in the authors' commands for ImageNet;
    raises ValueError unless it is above zero. Computes in float32 for half precision, which would overflow; on 1x1 maps the
    gate is sigmoid(1/2).
    """

    place = "inside"

    def __init__(self, channels: Optional[int] = None, e_lambda: float = 1e-4, data_format: str = "NCHW"):
        super().__init__(data_format)
        if not e_lambda > 0:
            raise ValueError(f"e_lambda = {e_lambda}: must be above zero, or a constant plane divides by zero")
        self.e_lambda = e_lambda

    def forward(self, x: Tensor) -> Tensor:
        wide = x.astype("float32") if x.dtype in (paddle.float16, paddle.bfloat16) else x
        squares = (wide - wide.mean(axis=self.plane_axes, keepdim=True)).square()
        values = math.prod(x.shape[axis] for axis in self.plane_axes)
        variance = squares.sum(axis=self.plane_axes, keepdim=True) / max(values - 1, 1)
        gates = F.sigmoid(squares / (4 * (variance + self.e_lambda)) + 0.5)
        return (wide * gates).astype(x.dtype)

    def export_form(self) -> "PooledSimAM":
        return PooledSimAM(self.e_lambda)


class PooledSimAM(Attention):
    """Export form: means by pooling, and one factor for each plane in place of a division of each value."""

    place = "inside"

    def __init__(self, e_lambda: float):
        super().__init__()
        self.e_lambda = e_lambda

    def forward(self, x: Tensor) -> Tensor:
        centred = x - F.adaptive_avg_pool2d(x, 1)
        squares = centred * centred
        values = x.shape[2] * x.shape[3]
        variance = F.adaptive_avg_pool2d(squares, 1) * (values / max(values - 1, 1))
        # paddle2onnx aborts at a number divided by a tensor
        rstd = paddle.rsqrt(variance + self.e_lambda)
        return x * F.sigmoid(squares * (0.25 * rstd * rstd) + 0.5)

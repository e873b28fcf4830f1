"""SimAM: a gate for every single value, from its distance to its plane's mean; no parameters."""

import paddle
import paddle.nn.functional as F

from attention.base import Attention


class SimAM(Attention):
    """L. Yang et al., "SimAM: A Simple, Parameter-Free Attention Module", ICML 2021: [N, C, H, W] -> the same shape.

    The inverse of equation 5's minimal energy, with M = H * W values t on a plane, mean mu and variance v = sum((t - mu)^2) /
    (M - 1): 1 / e = (t - mu)^2 / (4 (v + lambda)) + 1/2; equation 6: x * sigmoid(1 / e). ``channels`` is taken so that all
    attention layers are built alike; ``e_lambda``: 1e-4 in the paper's experiments with CIFAR, 0.1 in the authors' commands for
    ImageNet. Works in float32 inside, so that half precision does not overflow; on 1x1 maps the gate is sigmoid(1/2).
    """

    place = "inside"

    def __init__(self, channels=None, e_lambda=1e-4):
        super().__init__()
        if not e_lambda > 0:
            raise ValueError(f"e_lambda = {e_lambda}: must be above zero, or a constant plane divides by zero")
        self.e_lambda = e_lambda

    def forward(self, x):
        wide = x.astype("float32") if x.dtype in (paddle.float16, paddle.bfloat16) else x
        squares = (wide - wide.mean(axis=[2, 3], keepdim=True)).square()
        values = x.shape[2] * x.shape[3]
        variance = squares.sum(axis=[2, 3], keepdim=True) / max(values - 1, 1)
        gates = F.sigmoid(squares / (4 * (variance + self.e_lambda)) + 0.5)
        return (wide * gates).astype(x.dtype)

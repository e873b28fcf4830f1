"""Spatial Group-wise Enhance: in each group of channels, positions that resemble the group's mean are enhanced."""

import math

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Constant

from attention.base import Attention, InitialMap

EPSILON = 1e-5


class SpatialGroupEnhance(Attention):
    """X. Li et al., "Spatial Group-wise Enhance", arXiv 1905.09646, 2019: [N, C, H, W] -> the same shape.

    In each of ``groups`` groups: equation 1, g = mean over the positions; equation 2, c_i = g . x_i; equation 3, c normalised
    over the positions; equation 4, a = gamma c + beta; equation 5, x_i * sigmoid(a_i). gamma starts at 0, beta at 1, as in the
    authors' code. Raises ValueError where ``groups`` does not divide C.
    """

    def __init__(self, channels, groups=64):
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(f"groups = {groups} with {channels} channels: it must divide them")
        self.groups = groups
        self.weight = self.create_parameter([1, groups, 1], default_initializer=Constant(0.0))
        self.bias = self.create_parameter([1, groups, 1], default_initializer=Constant(1.0))

    def initial_map(self, channels):
        """Every channel times sigmoid(0 * c + 1)."""
        return InitialMap(np.arange(channels), 1 / (1 + math.exp(-1)))

    def forward(self, x):
        channels, height, width = x.shape[1:]
        grouped = x.reshape([-1, self.groups, channels // self.groups, height * width])  # [N, groups, C / groups, H * W]
        alike = (grouped * grouped.mean(axis=3, keepdim=True)).sum(axis=2)  # [N, groups, H * W]
        alike = alike - alike.mean(axis=2, keepdim=True)
        # the root of 0 has no gradient: on maps of a single value that would be NaN
        deviation = paddle.sqrt(alike.square().mean(axis=2, keepdim=True) + 1e-12)
        alike = alike / (deviation + EPSILON)
        gates = F.sigmoid(self.weight * alike + self.bias)
        return (grouped * gates.unsqueeze(2)).reshape([-1, channels, height, width])

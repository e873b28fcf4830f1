"""Spatial Group-wise Enhance: in each group of channels, enhance the positions that resemble the group's mean."""

import math

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.nn.initializer import Constant

from attention.base import Attention, InitialMap
from attention.fixed_convolution import fixed_convolution
from ops.broadcast import gated, spread

EPSILON = 1e-5
SMALLEST = 1e-30  # the square root has no gradient at 0, which would give NaN on constant maps and those of a single value


class SpatialGroupEnhance(Attention):
    """X. Li et al., "Spatial Group-wise Enhance", arXiv 1905.09646, 2019: [N, C, H, W] -> the same shape.

    In each of ``groups`` groups: equation 1, g = mean over the positions; equation 2, c_i = g . x_i; equation 3, c normalised
    over the positions; equation 4, a = gamma c + beta; equation 5, x_i * sigmoid(a_i). The deviation of equation 3 divides by
    M = H * W positions in the paper, by M - 1 in the authors' code, which this layer follows; to the deviation 1e-5 is added.
    On 1x1 maps c is 0. gamma starts at 0, beta at 1, as in the authors' code.

    ``earlier``: divide by M, as runs of earlier versions did. Raises ValueError where ``groups`` does not divide C.
    """

    def __init__(self, channels: int, groups: int = 64, earlier: bool = False, data_format: str = "NCHW"):
        super().__init__(data_format)
        if groups < 1 or channels % groups:
            raise ValueError(f"groups = {groups} with {channels} channels: it must divide them")
        self.channels, self.groups, self.earlier = channels, groups, earlier
        self.weight = self.create_parameter([1, groups, 1], default_initializer=Constant(0.0))
        self.bias = self.create_parameter([1, groups, 1], default_initializer=Constant(1.0))

    def initial_map(self, channels: int) -> InitialMap:
        """Each channel times sigmoid(0 * c + 1)."""
        return InitialMap(np.arange(channels), 1 / (1 + math.exp(-1)))

    def forward(self, x: Tensor) -> Tensor:
        members, values = self.channels // self.groups, math.prod(x.shape[axis] for axis in self.plane_axes)
        if self.data_format == "NHWC":
            grouped = x.reshape([-1, values, self.groups, members])  # [N, H * W, groups, C / groups]
            along, across, of_groups = 1, 3, [self.groups, 1]
        else:
            grouped = x.reshape([-1, self.groups, members, values])  # [N, groups, C / groups, H * W]
            along, across, of_groups = 3, 2, [self.groups, 1, 1]
        # [N, groups, 1, H * W] or [N, H * W, groups, 1]
        similarity = (grouped * grouped.mean(axis=along, keepdim=True)).sum(axis=across, keepdim=True)
        similarity = similarity - similarity.mean(axis=along, keepdim=True)
        positions = values if self.earlier else max(values - 1, 1)
        variance = similarity.square().sum(axis=along, keepdim=True) / positions
        similarity = similarity / (paddle.sqrt(variance.clip(min=SMALLEST)) + EPSILON)
        # Each from [1, groups, 1]
        gamma, beta = (spread(value.reshape([1, *of_groups]), similarity) for value in (self.weight, self.bias))
        gates = F.sigmoid(gamma * similarity + beta)
        return gated(grouped, gates).reshape([-1, *x.shape[1:]])  # from the shape of grouped

    def export_form(self) -> "ConvolvedGroups":
        return ConvolvedGroups(self)


class ConvolvedGroups(Attention):
    """Export form of a ``trained`` layer: grouped 1x1 convolutions of ones add the channels of a group and repeat its gate."""

    def __init__(self, trained: SpatialGroupEnhance):
        super().__init__()
        self.groups, self.earlier, members = trained.groups, trained.earlier, trained.channels // trained.groups
        self.add_members = fixed_convolution(paddle.ones([self.groups, members, 1, 1]), groups=self.groups)
        self.repeat = fixed_convolution(paddle.ones([trained.channels, 1, 1, 1]), groups=self.groups)
        weight, bias = trained.weight.reshape([self.groups, 1, 1, 1]), trained.bias.flatten()
        self.gates = fixed_convolution(weight, bias, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        similarity = self.add_members(x * F.adaptive_avg_pool2d(x, 1))  # [N, groups, H, W]
        similarity = similarity - F.adaptive_avg_pool2d(similarity, 1)
        positions = x.shape[2] * x.shape[3]
        unbiased = 1.0 if self.earlier else positions / max(positions - 1, 1)
        variance = F.adaptive_avg_pool2d(similarity * similarity, 1) * unbiased
        return x * self.repeat(F.sigmoid(self.gates(similarity / (paddle.sqrt(variance) + EPSILON))))

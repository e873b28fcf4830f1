"""What all attention layers have in common."""

from typing import NamedTuple, Optional

import numpy as np
import paddle.nn.functional as F
from paddle import Tensor, nn

from ops.batch_norm import BatchNorm2D


class InitialMap(NamedTuple):
    """What a layer computes with its initial parameters, if that is a scaled permutation of the channels.

    ``order``: int [C]; channel i of the output depends on channel order[i] of the input alone. ``factor``: the number that
    multiplies it, the same for all photographs, positions and channels; None where there is no such number.
    """

    order: np.ndarray
    factor: Optional[float]


class Attention(nn.Layer):
    """A layer that maps [N, C, H, W] to the same shape, for use in a residual block.

    ``place``: where its paper puts it. "end": after the block's last batch norm, before the residual addition. "inside": on the
    output of the 3x3 convolution, before its batch norm.
    """

    place = "end"

    def end_block(self, x: Tensor, norm: BatchNorm2D, residual: Tensor) -> Tensor:
        """relu(attention(norm(x)) + residual), the end of a residual block; ``norm``: the block's last batch norm."""
        return F.relu(self(norm(x)) + residual)

    def initial_map(self, channels: int) -> InitialMap:
        """The ``InitialMap`` of the layer for C = ``channels``; here: each channel maps to itself, the factor is unknown."""
        return InitialMap(np.arange(channels), None)

"""What every attention layer has in common."""

from typing import NamedTuple

import numpy as np
import paddle.nn.functional as F
from paddle import nn


class InitialMap(NamedTuple):
    """What a layer does with its initial parameters, if that is simple.

    ``order``: int [C]; channel i of the output is made of channel order[i] of the input alone. ``factor``: what it is
    multiplied by, the same for every photograph, position and channel; None where there is no such number.
    """

    order: np.ndarray
    factor: object


class Attention(nn.Layer):
    """A layer that maps [N, C, H, W] to the same shape, for a place in a residual block.

    ``place``: where its paper puts it. "end": after the block's last batch norm, before the residual addition. "inside": on the
    output of the 3x3 convolution, before its batch norm.
    """

    place = "end"

    def end_block(self, x, norm, residual):
        """relu(attention(norm(x)) + residual), the end of a residual block; ``norm``: its last ``BatchNorm2D``."""
        return F.relu(self(norm(x)) + residual)

    def initial_map(self, channels):
        """The ``InitialMap`` of the layer for C = ``channels``; here: every channel by itself, its gates unknown."""
        return InitialMap(np.arange(channels), None)

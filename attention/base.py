"""What all attention layers have in common."""

from typing import NamedTuple, Optional

import numpy as np
import paddle.nn.functional as F
from paddle import Tensor, nn

from ops import channel_blocks
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
    output of the 3x3 convolution, before its batch norm. ``data_format``: "NCHW", or "NHWC" for maps [N, H, W, C], as Paddle's
    layers have it, with the same parameters; ``channel_axis`` and ``plane_axes`` are the axes of such maps.
    """

    place = "end"

    def __init__(self, data_format: str = "NCHW"):
        super().__init__()
        self.data_format = data_format
        self.channel_axis, self.plane_axes = (3, [1, 2]) if data_format == "NHWC" else (1, [2, 3])

    def end_block(self, x: Tensor, norm: BatchNorm2D, residual: Tensor) -> Tensor:
        """relu(attention(norm(x)) + residual), the end of a residual block; ``norm``: the block's last batch norm."""
        return F.relu(channel_blocks.through(self, norm(x)) + residual)

    def export_form(self) -> "Attention":
        """A layer that computes the same in evaluation mode, from operators that other runtimes have and run fast.

        That is: of four dimensions at most, without regrouping reshapes, for any N. Here: the layer itself.
        """
        return self

    def end_form(self, conv: nn.Conv2D, norm: BatchNorm2D) -> nn.Layer:
        """The same for attention(norm(conv(x))); channel i of the output is channel end_order(C)[i] of what that gives."""
        return nn.Sequential(conv, norm, self.export_form())

    def end_order(self, channels: int) -> np.ndarray:
        """The order in which ``end_form`` gives the C = ``channels`` channels: int [C]."""
        return np.arange(channels)

    def initial_map(self, channels: int) -> InitialMap:
        """The ``InitialMap`` of the layer for C = ``channels``; here: each channel maps to itself, the factor is unknown."""
        return InitialMap(np.arange(channels), None)

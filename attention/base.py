"""What every attention layer has in common."""

import paddle.nn.functional as F
from paddle import nn


class Attention(nn.Layer):
    """A layer that maps [N, C, H, W] to the same shape, for a place in a residual block.

    ``place``: where its paper puts it. "end": after the block's last batch norm, before the residual addition. "inside": on the
    output of the 3x3 convolution, before its batch norm.
    """

    place = "end"

    def end_block(self, x, norm, residual):
        """relu(attention(norm(x)) + residual), the end of a residual block; ``norm``: its last ``BatchNorm2D``."""
        return F.relu(self(norm(x)) + residual)

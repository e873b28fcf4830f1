"""The convolution of all networks here: Paddle's, which on a CPU oneDNN computes, over the whole batch at once."""

import paddle
from paddle import Tensor, nn

from ops import fused


class Conv2D(nn.Conv2D):
    """Paddle's Conv2D; in float32 NCHW on a CPU oneDNN's convolution runs in place of Paddle's (ops/csrc/convolution.cc).

    Parameters and their names are Paddle's, and so are the values but for rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W], with the data format "NHWC" [N, H, W, C] -> the same with other channels and sides.

        Feature maps in blocks of channels (ops/channel_blocks.py), where it takes them -> the same.
        """
        numbers = self._numbers()
        if numbers is None or not fused.convolves(x, self.weight):
            return nn.Conv2D.forward(self, x)  # not super(): Paddle 2.6 converts this to code in which that fails
        return self._by_onednn(x, numbers)

    def _by_onednn(self, x, numbers):
        gradients = (not x.stop_gradient, not self.weight.stop_gradient)
        y = fused.run("onednn_convolution", x if x.is_contiguous() else x.contiguous(), self.weight, numbers, *gradients)
        if self.bias is None:
            return y
        return y + self.bias.reshape([1, -1, 1, 1] if len(x.shape) == 4 else [1, -1, 1, 1, x.shape[4]])

    def takes_blocks(self, lanes: int) -> bool:
        """Whether it takes feature maps in blocks of ``lanes`` channels, and returns such."""
        return self._numbers() is not None and self._in_channels % lanes == 0 and self._out_channels % lanes == 0

    @paddle.jit.not_to_static
    def _numbers(self):
        """[stride, padding, dilation, groups], of height and width; None: not a convolution for oneDNN."""
        paddings = _pair(self._updated_padding)
        if (
            self._data_format != "NCHW"
            or self._padding_mode != "zeros"
            or self._padding_algorithm != "EXPLICIT"
            or not paddings
        ):
            return None
        return [*_pair(self._stride), *paddings, *_pair(self._dilation), self._groups]


def _pair(value):
    pair = [value, value] if isinstance(value, int) else list(value)
    return pair if len(pair) == 2 else None

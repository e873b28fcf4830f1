"""Max pooling that takes feature maps in blocks of channels too (ops/channel_blocks.py)."""

import paddle
from paddle import Tensor, nn

from ops import fused


class MaxPool2D(nn.MaxPool2D):
    """Paddle's MaxPool2D; feature maps in blocks of channels are pooled by ops/csrc/paddle_pooling.cc, with the same values."""

    def __init__(self, kernel_size: int, stride: int, padding: int, data_format: str = "NCHW"):
        super().__init__(kernel_size, stride, padding, data_format=data_format)
        self._numbers = [*[kernel_size] * 2, *[stride] * 2, *[padding] * 2]

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W], with the data format "NHWC" [N, H, W, C], or in blocks of channels -> the same with other sides."""
        return self._in_blocks(x) if len(x.shape) == 5 else nn.MaxPool2D.forward(self, x)

    @paddle.jit.not_to_static
    def _in_blocks(self, x):
        return fused.run("blocks_max_pooling", fused.dense(x), self._numbers)

    def takes_blocks(self, lanes: int) -> bool:
        """Whether it takes feature maps in blocks of ``lanes`` channels, and returns such."""
        return self.data_format == "NCHW"

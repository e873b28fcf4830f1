"""The convolution of all networks here: Paddle's, which on a CPU oneDNN computes, over the whole batch at once."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from paddle import Tensor, nn

from ops import fused

_bfloat16 = contextvars.ContextVar("bfloat16", default=False)  # each thread has its own


@contextlib.contextmanager
def in_bfloat16() -> Iterator[None]:
    """Within the block, where oneDNN convolves on a CPU: factors rounded to bfloat16, their products added in float32.

    The backward pass of what is computed within does the same. Weights and feature maps stay in float32.
    """
    token = _bfloat16.set(True)
    try:
        yield
    finally:
        _bfloat16.reset(token)


@contextlib.contextmanager
def own_convolutions(when: str) -> Iterator[None]:
    """Within the block, for comparisons: our own convolutions, ops/csrc/winograd.h and grouped.h, run in place of oneDNN's
    "never", or "always": wherever there is code for them, gain or not. It applies to all threads, and to backward passes within
    the block."""
    fused.choose_own_convolutions({"never": 0, "always": 2}[when])
    try:
        yield
    finally:
        fused.choose_own_convolutions(1)


class Conv2D(nn.Conv2D):
    """Paddle's Conv2D; in float32 NCHW on a CPU oneDNN's convolution runs in place of Paddle's (ops/csrc/convolution.cc).

    Parameters and their names are Paddle's, and so are the values but for rounding.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._numbers = _numbers(self)

    def forward(self, x: Tensor, lanes: int = 0) -> Tensor:
        """[N, C, H, W], with the data format "NHWC" [N, H, W, C] -> the same with other channels and sides.

        Feature maps in blocks of channels (ops/channel_blocks.py), where it takes them -> the same. ``lanes``: [N, C, H, W] ->
        such blocks of so many channels, where it makes them.
        """
        if self._numbers is None or not fused.convolves(x, self.weight):
            return nn.Conv2D.forward(self, x)  # not super(): Paddle 2.6 converts this to code in which that fails
        return self._by_onednn(x, lanes)

    def _by_onednn(self, x, lanes):
        *parameters, numbers, of_weight, bfloat16 = self.operands(x, lanes)
        arguments = (numbers, not x.stop_gradient, of_weight, bfloat16)
        return fused.run("onednn_convolution", fused.dense(x), *parameters, *arguments)

    def operands(self, x: Tensor, lanes: int = 0) -> tuple[Tensor, Tensor, list[int], bool, bool]:
        """What operators take besides ``x``: weight, bias, numbers, whether their gradients are wanted, whether in bfloat16."""
        bias = fused.absent(x, x.dtype) if self.bias is None else self.bias
        of_weight = not (self.weight.stop_gradient and bias.stop_gradient)
        return self.weight, bias, [*self._numbers, lanes], of_weight, _bfloat16.get()

    def takes_blocks(self, lanes: int) -> bool:
        """Whether it takes feature maps in blocks of ``lanes`` channels, and returns such."""
        return self.makes_blocks(lanes) and self._in_channels % lanes == 0

    def makes_blocks(self, lanes: int) -> bool:
        """Whether it can return blocks of ``lanes`` channels of what it finds in feature maps [N, C, H, W]."""
        return self._numbers is not None and self._out_channels % lanes == 0


def convolve_by_onednn(network: nn.Layer) -> nn.Layer:
    """``network``, whose plain convolutions of Paddle's become those of this module, with the parameters that they have."""
    for layer in network.sublayers():
        if type(layer) is nn.Conv2D:
            layer.__class__ = Conv2D  # not another layer: its parameters, their names and what was drawn for them stay
            layer._numbers = _numbers(layer)
    return network


def _numbers(layer):
    """[stride, padding, dilation, groups], of height and width; None: not a convolution for oneDNN."""
    paddings = _pair(layer._updated_padding)
    explicit = layer._padding_mode == "zeros" and layer._padding_algorithm == "EXPLICIT" and paddings
    if layer._data_format != "NCHW" or not explicit:
        return None
    return [*_pair(layer._stride), *paddings, *_pair(layer._dilation), layer._groups]


def _pair(value):
    pair = [value, value] if isinstance(value, int) else list(value)
    return pair if len(pair) == 2 else None

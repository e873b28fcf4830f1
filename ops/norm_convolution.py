"""Batch norm with ReLU and the convolution that follows, whose backward pass does without the feature map between the two.

The map between them is computed a second time from what batch norm was given, one more pass over it: T. Chen et al., "Training
Deep Nets with Sublinear Memory Cost", 2016, where the results of cheap layers are dropped and those of convolutions kept.
"""

import paddle
from paddle import Tensor, nn

from ops import channel_blocks, fused
from ops.batch_norm import BatchNorm2D, apply_norm, fusable, with_statistics
from ops.convolution import Conv2D


def convolve_normed(conv: nn.Layer, norm: nn.Layer, x: Tensor) -> Tensor:
    """``conv``(relu(``norm``(``x``))): [N, C, H, W], [N, H, W, C] or in blocks of channels (ops/channel_blocks.py) -> the same.

    In blocks of channels one operator does it all, with the same values, and keeps ``x`` alone for the backward pass.
    """
    if _is_one_operator(conv, norm, x):
        return _in_one(conv, norm, x)
    return channel_blocks.through(conv, apply_norm(norm, x, relu=True))


@paddle.jit.not_to_static
def _is_one_operator(conv, norm, x):
    if len(x.shape) != 5 or not isinstance(norm, BatchNorm2D) or not isinstance(conv, Conv2D):
        return False
    if not channel_blocks.takes_blocks(conv, x.shape[4]) or norm.weight.dtype != x.dtype:
        return False
    return fused.convolves(x, conv.weight) and fusable(x, norm.norm())


@paddle.jit.not_to_static
def _in_one(conv, norm, x):
    x, values = with_statistics(x, norm.norm())
    of_norm = not (x.stop_gradient and values.weight.stop_gradient and values.bias.stop_gradient)
    weight, bias, numbers, of_weight, bfloat16 = conv.operands(x)
    arguments = (numbers, of_norm, of_weight, bfloat16, values.training, values.momentum, values.epsilon)
    return fused.run("norm_convolution", fused.dense(x), *values[:4], weight, bias, *arguments)

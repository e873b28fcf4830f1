"""Feature maps in blocks of channels, [N, C / lanes, H, W, lanes]: the layout in which oneDNN convolves on a CPU.

Where a network works in it, no convolution reorders its feature maps, and the fused operators, whose vectors then hold
channels, lose nothing on planes of a few pixels (ops/csrc/blocked_kernels.h). ``lanes`` is 8 or 16, as the processor has it.
"""

from collections.abc import Iterable
from typing import Callable

import paddle
from paddle import Tensor, nn

from ops import fused


@paddle.jit.not_to_static  # Paddle 2.6 would convert it to code that does not compile
def split(x: Tensor, stages: Iterable[Iterable[nn.Layer]]) -> Tensor:
    """``x`` [N, C, H, W] in blocks of channels where every layer of the ``stages`` takes them; else ``x`` as it is.

    A stage is a sequence of layers, each of which says in a method ``takes_blocks(lanes)`` whether it takes such maps and
    returns such. A layer with hooks does not: whoever looks at a feature map finds [N, C, H, W]. A single photograph of which
    batch norm takes statistics stays as it is, and so does what is in blocks already.
    """
    if len(x.shape) == 5:
        return x
    lanes = _lanes(x, list(stages))
    return fused.run("channel_blocks", fused.dense(x), lanes) if lanes and x.shape[1] % lanes == 0 else x


@paddle.jit.not_to_static
def wanted(x: Tensor, first: nn.Layer, stages: Iterable[Iterable[nn.Layer]]) -> int:
    """Channels in a block, where ``first`` can make blocks of ``x`` [N, C, H, W] and all ``stages`` take them; else 0.

    ``first``(x, lanes) is then the beginning of what ``split`` would leave to the ``stages``.
    """
    if not hasattr(first, "makes_blocks") or _is_watched(first):
        return 0
    lanes = _lanes(x, list(stages))
    return lanes if lanes and first.makes_blocks(lanes) else 0


@paddle.jit.not_to_static
def join(x: Tensor) -> Tensor:
    """What ``split`` returned, or what layers made of it, as [N, C, H, W]."""
    return fused.run("channel_blocks", fused.dense(x), x.shape[4]) if len(x.shape) == 5 else x


def through(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``layer``(``x``); around one that does not take blocks of channels, ``x`` in blocks is made [N, C, H, W], and so back."""
    if len(x.shape) != 5 or takes_blocks(layer, x.shape[4]):
        return layer(x)
    return fused.run("channel_blocks", fused.dense(layer(join(x))), x.shape[4])


def _lanes(x, stages):
    """Channels in a block, where every layer of the ``stages`` takes them; else 0."""
    layers = [part for stage in stages for part in ([stage] if isinstance(stage, nn.Layer) else stage)]
    parts = [part for layer in layers for part in layer.sublayers(include_self=True)]
    if x.shape[0] == 1 and any(part.training for part in parts):
        return 0  # a channel may come to a single value, whose batch norm is Paddle's: see ops.batch_norm.fusable
    lanes = fused.lanes(x)
    if not lanes or any(_is_watched(layer) for layer in layers):
        return 0
    return lanes if all(takes_blocks(layer, lanes) for stage in stages for layer in stage) else 0


def _is_watched(layer):
    parts = layer.sublayers(include_self=True)
    return any(part._forward_pre_hooks or part._forward_post_hooks for part in parts)


def takes_blocks(layer: Callable[[Tensor], Tensor], lanes: int) -> bool:
    """Whether ``layer`` takes feature maps in blocks of ``lanes`` channels; one that does not say so does not."""
    return hasattr(layer, "takes_blocks") and layer.takes_blocks(lanes)

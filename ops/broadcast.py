"""Values repeated along axes of a feature map before an operator takes both.

On a CPU Paddle's operators repeat values along the last axes quickly, as the gate of each channel [N, C, 1, 1] of a map. Along
other axes, as a gate of each position [N, 1, H, W] or a value of each channel [1, C, 1, 1], they take up to 25 times as long as
for two maps of one shape, forward and back.
"""

from typing import Any, Optional

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer


@paddle.jit.not_to_static
def spread(values: Tensor, like: Tensor) -> Tensor:
    """``values``, repeated to the shape of ``like`` where that makes the operator that takes both faster: on a CPU.

    ``values`` has as many axes as ``like``, each as long or of length 1. On GPUs, and in traced networks, it stays as it is.
    """
    return values.expand_as(like) if _is_on_cpu(like) else values


@paddle.jit.not_to_static
def gated(x: Tensor, gates: Tensor) -> Tensor:
    """``x`` * ``gates``, which has as many axes, each as long or of length 1. As quick as with ``spread``, and for the way
    back it keeps no map of the repeated gates."""
    return _Gated.apply(x, gates) if _is_on_cpu(x) else x * gates


class _Gated(PyLayer):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Tensor) -> Tensor:
        ctx.save_for_backward(x, gates)
        return x * gates.expand_as(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Optional[Tensor], Optional[Tensor]]:
        x, gates = ctx.saved_tensor()
        repeated = [axis for axis, length in enumerate(gates.shape) if length == 1]
        dx = None if x.stop_gradient else dy * gates.expand_as(x)
        return dx, None if gates.stop_gradient else (dy * x).sum(axis=repeated, keepdim=True)


def _is_on_cpu(x):
    """Whether ``x`` is a tensor, and not of a network that is being traced, in the host's memory."""
    return isinstance(x, paddle.Tensor) and x.place.is_cpu_place()

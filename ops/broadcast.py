"""Values repeated along axes of a feature map before an operator takes both.

On a CPU Paddle's operators repeat values along the last axes quickly, as the gate of each channel [N, C, 1, 1] of a map. Along
other axes, as a gate of each position [N, 1, H, W] or a value of each channel [1, C, 1, 1], they take up to 25 times as long as
for two maps of one shape, forward and back.
"""

import paddle
from paddle import Tensor


@paddle.jit.not_to_static
def spread(values: Tensor, like: Tensor) -> Tensor:
    """``values``, repeated to the shape of ``like`` where that makes the operator that takes both faster: on a CPU.

    ``values`` has as many axes as ``like``, each as long or of length 1. On GPUs, and in traced networks, it stays as it is.
    """
    if not isinstance(like, paddle.Tensor) or not like.place.is_cpu_place():
        return values
    return values.expand_as(like)

"""Batch norm together with the steps that follow it in a residual block: the addition of the residual and ReLU.

S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015, algorithm 1. ``batch_norm`` and ``batch_norm_reference`` compute the
same; the first uses one fused operator where possible (ops/csrc/block_end.h has the algebra), the second plain operators only.
Feature maps are [N, C, H, W] or, with ``channels_last``, [N, H, W, C]; those of ``batch_norm`` also in blocks of channels,
[N, C / lanes, H, W, lanes] (ops/channel_blocks.py).
"""

import math
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ops import fused


class Norm(NamedTuple):
    """The tensors and numbers of one batch norm. ``weight``, ``bias``, ``running_mean``, ``running_variance``: [C].

    ``training``: normalise with the statistics of the batch, through which gradients flow, and update the running ones:
    running = momentum * running + (1 - momentum) * batch. Otherwise normalise with the running ones. ``over_processes``: None,
    or what takes the statistics of all processes instead, see ops.synchronised_norm.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_variance: Tensor
    training: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    over_processes: Optional[Callable] = None


def with_statistics(x: Tensor, norm: Norm, channels_last: bool = False) -> tuple[Tensor, Norm]:
    """``x`` and ``norm`` as they are, or with the statistics of all processes as fixed ones, where they are to be computed."""
    if norm.training and norm.over_processes:
        return norm.over_processes(x, norm, channels_last)
    return x, norm


def batch_norm_reference(
    x: Tensor, norm: Norm, residual: Optional[Tensor] = None, relu: bool = False, channels_last: bool = False
) -> Tensor:
    """Batch norm in plain Paddle operators: x [N, C, H, W], with ``channels_last`` [N, H, W, C] -> the same shape.

    With ``residual`` of the same shape: relu(batch_norm(x) + residual); else, with ``relu``: relu(batch_norm(x)).
    """
    y = F.batch_norm(
        x,
        norm.running_mean,
        norm.running_variance,
        norm.weight,
        norm.bias,
        training=norm.training,
        momentum=norm.momentum,
        epsilon=norm.epsilon,
        data_format="NHWC" if channels_last else "NCHW",
    )
    return finished(y, residual, relu)


def finished(y: Tensor, residual: Optional[Tensor], relu: bool) -> Tensor:
    """What follows a batch norm in a residual block, in plain operators: relu(y + residual); relu(y) with ``relu``; y."""
    if residual is not None:
        return F.relu(y + residual)
    return F.relu(y) if relu else y


def apply_norm(norm: nn.Layer, x: Tensor, residual: Optional[Tensor] = None, relu: bool = False) -> Tensor:
    """``norm``(x, residual, relu), whatever kind of batch norm it is.

    paddle.nn.SyncBatchNorm.convert_sync_batchnorm puts layers that only normalise in the place of every BatchNorm2D.
    """
    if isinstance(norm, nn.SyncBatchNorm):
        return finished(norm(x), residual, relu)
    return norm(x, residual, relu)


def batch_norm(
    x: Tensor, norm: Norm, residual: Optional[Tensor] = None, relu: bool = False, channels_last: bool = False
) -> Tensor:
    """As ``batch_norm_reference``; fused where possible, and over all processes where ``norm`` says so."""
    x, norm = with_statistics(x, norm, channels_last)
    if not fusable(x, norm, channels_last):
        return batch_norm_reference(x, norm, residual, relu, channels_last)
    return block_end(x, norm, None, residual, relu, channels_last)


def fusable(x: Tensor, norm: Optional[Norm], channels_last: bool = False, half: int = 0) -> bool:
    """Whether ``block_end`` can process x, with ``norm`` (None: none) before it; the rest as in ``fused.usable``."""
    if not fused.usable(x, channels_last, half):
        return False
    if norm is None:
        return True
    if norm.running_mean.dtype != _type_of_parameters(x):  # a copy of another type would not be updated
        return False
    # Paddle's batch norm returns x unchanged where a channel has a single value; the fused operator would not
    return not norm.training or math.prod(x.shape) > norm.weight.shape[0]


def block_end(
    x: Tensor,
    norm: Optional[Norm],
    attention: Optional[Sequence[Tensor]],
    residual: Optional[Tensor],
    relu: bool,
    channels_last: bool = False,
) -> Tensor:
    """The fused operator: ``norm``, then ``attention``, then the addition of ``residual`` with ReLU, or ``relu`` alone.

    x [N, C, H, W], with ``channels_last`` [N, H, W, C] -> the same shape. None leaves a step out; ``attention``: the six
    parameters of Shuffle Attention. Requires that ``fusable`` has returned True.
    """
    kind = _type_of_parameters(x)
    none = fused.absent(x, kind)
    norm = norm or Norm(none, none, none, none, False)
    half = attention[0].shape[1] if attention else 0
    # Mixed precision of level O2 keeps parameters in 16 bits
    tensors = [value if value.dtype == kind else value.astype(kind) for value in (*norm[:4], *(attention or [none] * 6))]
    statistics = (norm.training, norm.momentum, norm.epsilon, channels_last)
    if residual is not None:
        return fused.run("block_end", fused.dense(x), fused.dense(residual.astype(x.dtype)), *tensors, half, *statistics)
    return fused.run("block_norm", fused.dense(x), *tensors, half, relu, *statistics)


def _type_of_parameters(x):
    return paddle.float64 if x.dtype == paddle.float64 else paddle.float32  # also for feature maps of 16 bits


class BatchNorm2D(nn.BatchNorm2D):
    """Paddle's BatchNorm2D, with the addition of a ``residual`` and ReLU, or ``relu`` alone, in the same pass.

    Parameters, buffers and their names are Paddle's.
    """

    over_processes: Optional[Callable] = None

    def __init__(self, num_features: int, momentum: float = 0.9, epsilon: float = 1e-5, data_format: str = "NCHW"):
        super().__init__(num_features, momentum, epsilon, data_format=data_format)

    def forward(self, x: Tensor, residual: Optional[Tensor] = None, relu: bool = False) -> Tensor:
        """[N, C, H, W], with the data format "NHWC" [N, H, W, C] -> the same shape; see ``batch_norm_reference``."""
        return batch_norm(x, self.norm(), residual, relu, self._data_format == "NHWC")

    def takes_blocks(self, lanes: int) -> bool:
        """Whether it takes feature maps in blocks of ``lanes`` channels, and returns such."""
        fits = self._data_format == "NCHW" and self.weight.shape[0] % lanes == 0
        return fits and self._mean.dtype == paddle.float32

    def norm(self) -> Norm:
        """The tensors and numbers of this layer, for an operator that includes it."""
        tensors = (self.weight, self.bias, self._mean, self._variance)
        return Norm(*tensors, self.training, self._momentum, self._epsilon, self.over_processes)

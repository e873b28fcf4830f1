"""Batch norm by the mean and variance of all processes' photographs, where each process has a part of the batch.

The statistics are computed and added up first, and the layer then normalises by them as by running ones, so the fused operators
take part as they are. What that leaves out of the gradient is added here. With x_hat = (x - mean) * rstd, N values of a
channel in all processes together, and g the gradient of the layer's output (Ioffe and Szegedy, ICML 2015, section 3),

    dx = weight * rstd * (g - sum(g) / N - x_hat * sum(g * x_hat) / N).

The first term is what a layer with fixed statistics gives back; sum(g) and sum(g * x_hat) are the gradients that it gives to
its bias and its weight, added up over the processes.
"""

import dataclasses
from typing import Any, Optional

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer

from ops.batch_norm import BatchNorm2D, Norm, batch_norm
from processes import group

SMALL_PLANE = 4  # pixels of a map [N, C, H, W], as in the last stage at 64 px: the fused batch norm takes ten times as long


def synchronise(network: nn.Layer) -> None:
    """From now on every batch norm of ``network`` that learns has the statistics of all processes."""
    for layer in network.sublayers(include_self=True):
        if type(layer) is nn.BatchNorm2D:
            layer.__class__ = BatchNorm2D  # the same parameters, buffers and numbers
        if isinstance(layer, BatchNorm2D):
            layer.over_processes = over_processes


def over_processes(x: Tensor, norm: Norm, channels_last: bool) -> tuple[Tensor, Norm]:
    """``x`` [N, C, H, W], with ``channels_last`` [N, H, W, C], and ``norm`` with the statistics of all processes as fixed ones.

    ``x`` may be in blocks of channels too (ops/channel_blocks.py). Updates the running statistics of ``norm``.
    """
    mean, variance, count = _statistics(x, norm, channels_last)
    rstd = paddle.rsqrt(variance + norm.epsilon)
    x, weight, bias = _ThroughStatistics.apply(
        x, norm.weight, norm.bias, _Fixed(mean, variance, rstd, count, norm.epsilon, channels_last)
    )
    return x, norm._replace(weight=weight, bias=bias, running_mean=mean, running_variance=variance, training=False)


@paddle.no_grad()
def _statistics(x, norm, channels_last):
    """Mean and variance of each channel over all processes, [C], and over how many values."""
    channels = norm.running_mean.shape[0]
    values = x.size // channels
    mean, variance = (moment.astype("float64") for moment in _moments(x.detach(), norm, channels_last))
    # Added up in float64: a square less a square loses half of the digits
    own = paddle.concat([mean * values, (variance + mean.square()) * values, paddle.full([1], values, "float64")])
    sums = group.total(own)
    count = sums[-1:]
    mean = sums[:channels] / count
    variance = (sums[channels:-1] / count - mean.square()).clip(min=0.0)
    momentum = float(np.float32(norm.momentum))  # as Paddle's operator has it
    for running, batch in ((norm.running_mean, mean), (norm.running_variance, variance)):
        kept = running * momentum + (1 - momentum) * batch.astype(running.dtype)
        paddle.assign(kept, output=running)
    kind = norm.running_mean.dtype
    return mean.astype(kind), variance.astype(kind), count.astype(kind)


def _moments(x, norm, channels_last):
    """Mean and variance of each channel of ``x``, [C] each."""
    channels, kind = norm.running_mean.shape[0], norm.running_mean.dtype
    if channels_last or (len(x.shape) == 4 and x.shape[2] * x.shape[3] <= SMALL_PLANE):
        axes = [0, 1, 2] if channels_last else [0, 2, 3]
        x = x.astype(kind)
        mean = x.mean(axis=axes, keepdim=True)
        return mean.reshape([channels]), (x - mean).square().mean(axis=axes)  # from [1, C, 1, 1] or [1, 1, 1, C]
    # A batch norm gives them as running ones that forget all before: of larger maps in half the time of the above
    mean, variance = paddle.zeros([channels], kind), paddle.zeros([channels], kind)
    ones = paddle.ones([channels], kind)
    batch_norm(x, Norm(ones, paddle.zeros_like(ones), mean, variance, training=True, momentum=0.0))
    return mean, variance


@dataclasses.dataclass
class _Fixed:
    """What the gradient needs besides: statistics of each channel, [C], and over how many values they are, [1]."""

    mean: Tensor
    variance: Tensor
    rstd: Tensor
    count: Tensor
    epsilon: float
    channels_last: bool


class _ThroughStatistics(PyLayer):
    """x, weight and bias as they are; on the way back, what flows through the statistics of all processes is added."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, fixed: _Fixed) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(x, weight, bias)
        ctx.fixed = fixed
        return x.reshape(x.shape), weight.clone(), bias.clone()  # of x a view: the memory is the same

    @staticmethod
    def backward(ctx: Any, dx: Tensor, dweight: Tensor, dbias: Tensor) -> tuple[Optional[Tensor], ...]:
        x, weight, bias = ctx.saved_tensor()
        fixed = ctx.fixed
        channels = weight.shape[0]
        sums = group.total(paddle.concat([dweight, dbias]))
        factor = weight * fixed.rstd / fixed.count
        # factor * (x_hat * sum(g * x_hat) + sum(g)), as a batch norm with fixed statistics: one pass
        flowed = Norm(
            factor * sums[:channels], factor * sums[channels:], fixed.mean, fixed.variance, False, epsilon=fixed.epsilon
        )
        gradients = (dx - batch_norm(x, flowed, channels_last=fixed.channels_last), dweight, dbias)
        return tuple(None if one.stop_gradient else gradient for one, gradient in zip((x, weight, bias), gradients))

"""A tiny training step through the fused operator, compared with plain ones, before the operator is trusted on this machine.

A library can load and still not run: kernels for another GPU, a driver older than the compiler, a compiler that errs.
"""

from typing import Callable, Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

IMAGES, CHANNELS, HEIGHT, WIDTH, HALF = 2, 8, 3, 5, 2
WIDE = 9, 8  # of a map large enough for Winograd's convolution
EPSILON = 1e-5
TOLERANCE = 1e-3  # of the largest value: only a defect is that far off
TOLERANCE_OF_BFLOAT16 = 2e-2  # a rounding is at most 0.2% of a factor
ROUNDING_OF_FLOAT32 = 1e-5


def fault(run: Callable[..., Tensor], channels_last: bool = False) -> Optional[str]:
    """What is wrong with the operator ``block_end`` on Paddle's current device, in words; None if nothing.

    ``run(name, *arguments)`` calls an operator and returns its first output. ``channels_last``: with NHWC feature maps.
    """
    shape = [IMAGES, CHANNELS, HEIGHT, WIDTH]
    sizes = [shape, shape, [CHANNELS], [CHANNELS], *[[1, HALF, 1, 1]] * 4, [HALF], [HALF]]
    with paddle.enable_grad(), paddle.amp.auto_cast(enable=False):
        inputs = [_varied(size, place) for place, size in enumerate(sizes)]
        weights = _varied(shape, len(sizes))
        x, residual, *parameters = inputs
        running = paddle.zeros([CHANNELS], "float32"), paddle.ones([CHANNELS], "float32")
        try:
            maps = [x, residual]
            if channels_last:
                maps = [value.transpose([0, 2, 3, 1]).contiguous() for value in maps]  # [N, C, H, W] -> [N, H, W, C]
            numbers = (HALF, True, 0.9, EPSILON, channels_last)
            fused = run("block_end", *maps, *parameters[:2], *running, *parameters[2:], *numbers)
            if channels_last:
                fused = fused.transpose([0, 3, 1, 2])  # [N, H, W, C] -> [N, C, H, W]
            found = [fused.detach(), *paddle.grad((fused * weights).sum(), inputs)]
            values = [tensor.numpy() for tensor in found]  # waits for a GPU, whose errors come late
        except (RuntimeError, OSError) as error:  # Paddle has no narrower class for what an operator throws
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return f"a first step with them fails: {next((line for line in lines if 'block_end' in line), lines[-1])}"
        plain = _plain(x, residual, *parameters)
        expected = [plain.detach(), *paddle.grad((plain * weights).sum(), inputs)]
    return None if _agree(values, expected) else "a first step with them gives other values than the plain operators"


def fault_of_convolution(run: Callable[..., Tensor], bfloat16: bool = False) -> Optional[str]:
    """The same of the operator ``onednn_convolution`` on a CPU, in float32 or ``bfloat16``: of few channels in groups, of so
    many that oneDNN has the weights in tiles, and in float32 of groups so narrow that it does not run at all."""
    few = ([2, 4, 6, 5], [6, 2, 3, 3], [6], [2, 6, 3, 3]), 2, 1, 2
    many = ([2, 32, 5, 4], [32, 32, 3, 3], [32], [2, 32, 5, 4]), 1, 1, 1
    narrow = ([3, 64, 4, 3], [32, 4, 7, 7], [0], [3, 32, 4, 3]), 1, 3, 16
    faults = (_fault_of_shape(run, bfloat16, *shape) for shape in (few, many, *([] if bfloat16 else [narrow])))
    return next(filter(None, faults), None)


def _fault_of_shape(run, bfloat16, sizes, stride, padding, groups):
    """Of one convolution; ``sizes``: of map, weights, bias ([0]: none) and result."""
    with paddle.enable_grad(), paddle.amp.auto_cast(enable=False):
        *inputs, weights = (_varied(shape, place) for place, shape in enumerate(sizes))
        wanted = [value for value in inputs if value.shape[0]]
        plain = F.conv2d(*wanted, stride=stride, padding=padding, groups=groups)
        try:
            y = run("onednn_convolution", *inputs, [stride] * 2 + [padding] * 2 + [1, 1, groups, 0], True, True, bfloat16)
            found, expected = ([z.detach(), *paddle.grad((z * weights).sum(), wanted)] for z in (y, plain))
        except (RuntimeError, OSError) as error:
            return f"a first convolution by oneDNN fails: {str(error).strip().splitlines()[-1]}"
    values = [tensor.numpy() for tensor in found]
    if bfloat16 and _agree(values, expected, ROUNDING_OF_FLOAT32):
        return "oneDNN has no convolutions in bfloat16 here"
    good = _agree(values, expected, TOLERANCE_OF_BFLOAT16 if bfloat16 else TOLERANCE)
    return None if good else "a first convolution by oneDNN gives other values than Paddle's"


def fault_of_blocks(run: Callable[..., Tensor], lanes: int) -> Optional[str]:
    """The same of the operators on feature maps in blocks of ``lanes`` channels, against those in NCHW."""
    if not lanes:
        return None
    channels, half = 4 * lanes, lanes // 4
    shape, wide = [IMAGES, channels, HEIGHT, WIDTH], [IMAGES, channels, *WIDE]
    kernels = [channels, 3, 3, 3], [channels, channels, 1, 1], [channels, channels, 3, 3]
    sizes = [shape, shape, [channels], [channels], *[[half]] * 6, [IMAGES, 3, HEIGHT, WIDTH], *kernels, wide]
    with paddle.enable_grad(), paddle.amp.auto_cast(enable=False):
        inputs = [_varied(size, place) for place, size in enumerate(sizes)]
        x, residual, *parameters, images, first, second, third, wide_map = inputs
        bias = paddle.empty([0], "float32")

        def step(blocked):
            running = paddle.zeros([channels], "float32"), paddle.ones([channels], "float32")
            maps = [run("channel_blocks", z, lanes) if blocked else z for z in (x, residual, wide_map)]
            y = run("block_end", *maps[:2], *parameters[:2], *running, *parameters[2:], half, True, 0.9, EPSILON, False)
            z = run("onednn_convolution", images, first, bias, [1] * 7 + [lanes * blocked], True, True, False)
            z = run("onednn_convolution", z, second, bias, [1, 1, 0, 0, 1, 1, 1, 0], True, True, False)
            normed = (*parameters[:2], paddle.zeros([channels], "float32"), paddle.ones([channels], "float32"))
            ninefold = third, bias, [1] * 7 + [0], True, True, False  # Winograd's convolution, in blocks
            if blocked:
                tiled = run("norm_convolution", maps[2], *normed, *ninefold, True, 0.9, EPSILON)
            else:
                tiled = run("block_norm", maps[2], *normed, *[bias] * 6, 0, True, True, 0.9, EPSILON, False)
                tiled = run("onednn_convolution", tiled, *ninefold)
            pooled = run("blocks_max_pooling", maps[0], [3, 3, 2, 2, 1, 1]) if blocked else F.max_pool2d(x, 3, 2, 1)
            found = [run("channel_blocks", value, lanes) if blocked else value for value in (y, z, tiled, pooled)]
            loss = sum((value * _varied(value.shape, 9)).sum() for value in found)
            return [*(value.detach() for value in found), *running, *normed[2:], *paddle.grad(loss, inputs)]

        try:
            found = step(True), step(False)
        except (RuntimeError, OSError) as error:
            return f"a first step in blocks of channels fails: {str(error).strip().splitlines()[-1]}"
    values = [tensor.numpy() for tensor in found[0]]
    return None if _agree(values, found[1]) else "a first step in blocks of channels gives other values"


def _agree(values, expected, tolerance=TOLERANCE):
    """Whether arrays are close to the tensors that they should be; NaN is not."""
    pairs = zip(values, (tensor.numpy() for tensor in expected))
    return all(np.abs(value - wanted).max() <= tolerance * np.abs(wanted).max() for value, wanted in pairs)


def _varied(shape, place):
    """A tensor of different values, around zero; no random ones, so that training draws the same with and without the test."""
    values = np.sin(np.arange(1, np.prod(shape) + 1) * (1.3 + 0.1 * place)).astype(np.float32)
    return paddle.to_tensor(values.reshape(shape), stop_gradient=False)


def _plain(x, residual, norm_weight, norm_bias, cweight, cbias, sweight, sbias, gamma, beta) -> Tensor:
    """relu(shuffle attention(batch norm(x)) + residual): ops/csrc/block_end.h, one step after the other."""
    mean = x.mean(axis=[0, 2, 3], keepdim=True)
    variance = (x - mean).square().mean(axis=[0, 2, 3], keepdim=True)
    z = (x - mean) * paddle.rsqrt(variance + EPSILON)
    z = z * norm_weight.reshape([1, CHANNELS, 1, 1]) + norm_bias.reshape([1, CHANNELS, 1, 1])
    z = z.reshape([-1, 2, HALF, HEIGHT, WIDTH])  # [N * groups, branch, C / (2 * groups), H, W]
    z_channel, z_spatial = z[:, 0], z[:, 1]
    y_channel = z_channel * F.sigmoid(cweight * z_channel.mean(axis=[2, 3], keepdim=True) + cbias)
    centred = z_spatial - z_spatial.mean(axis=[2, 3], keepdim=True)
    normal = centred * paddle.rsqrt(centred.square().mean(axis=[2, 3], keepdim=True) + EPSILON)
    normal = normal * gamma.reshape([1, HALF, 1, 1]) + beta.reshape([1, HALF, 1, 1])
    y_spatial = z_spatial * F.sigmoid(sweight * normal + sbias)
    y = paddle.stack([y_channel, y_spatial], axis=1).reshape([-1, 2, CHANNELS // 2, HEIGHT, WIDTH])
    y = y.transpose([0, 2, 1, 3, 4]).reshape([-1, CHANNELS, HEIGHT, WIDTH])  # the channel shuffle
    return F.relu(y + residual)

"""Size and cost of a network, as papers report them."""

import contextlib
import io
import math
import statistics
import time
from typing import NamedTuple, Optional

import numpy as np
import paddle
from paddle import nn

from ops.batch_norm import BatchNorm2D
from ops.convolution import Conv2D
from ops.fused import plain_operators


def parameter_counts(network: nn.Layer) -> tuple[int, int]:
    """(number of learnable parameters, of batch norm's running statistics, which Paddle counts among the parameters)."""
    sizes = [(int(np.prod(p.shape)), p.stop_gradient) for p in network.parameters()]
    return sum(n for n, fixed in sizes if not fixed), sum(n for n, fixed in sizes if fixed)


def multiply_adds(network: nn.Layer, image_size: int) -> int:
    """Multiply-adds of one forward pass over an image [1, 3, image_size, image_size], as paddle.flops counts them.

    Convolutions, linear layers, normalisations and pooling count; the few element-wise operations of attention do not.
    """
    was_training = network.training
    # paddle.flops prints its own report, and a line for each type of layer that it does not count
    with contextlib.redirect_stdout(io.StringIO()), plain_operators():
        ours = {BatchNorm2D: _count_batch_norm, Conv2D: _count_convolution}
        total = paddle.flops(network, [1, 3, image_size, image_size], custom_ops=ours)
    if was_training:
        network.train()
    return int(total)


def latencies(classifiers: dict[str, nn.Layer], image_size: int, rounds: int = 9) -> dict[str, float]:
    """{name: milliseconds that the classifier takes for one image, the median over the rounds}, after one warm-up round.

    Every round measures all classifiers in turn, so that other load on the machine affects all alike. They are left in
    evaluation mode.
    """
    measured = _milliseconds(classifiers, image_size, rounds)
    return {name: statistics.median(values) for name, values in measured.items()}


ROUNDS = 25
"""That a difference of latencies is measured in: its interval then lies between the eighth and the eighteenth of them."""


class AddedLatency(NamedTuple):
    """Milliseconds more for one image: the ``median`` over rounds, with its 95% interval ``low`` to ``high``."""

    median: float
    low: float
    high: float


def added_latencies(classifiers: dict[str, nn.Layer], image_size: int, rounds: Optional[int] = None) -> dict[str, AddedLatency]:
    """{name: how much longer the classifier takes than the first of them, of the same round}, for all others.

    Measured as by ``latencies``, in so many ``rounds``, by default ROUNDS. The interval is that of the sign test, between two
    of the sorted differences.
    """
    rounds = rounds or ROUNDS
    measured = _milliseconds(classifiers, image_size, rounds)
    first, *others = measured
    found = {}
    for name in others:
        differences = sorted(own - base for own, base in zip(measured[name], measured[first]))
        place = max(0, math.floor(rounds / 2 - 0.98 * math.sqrt(rounds)))  # 1.96 deviations of a binomial number of halves
        found[name] = AddedLatency(statistics.median(differences), differences[place], differences[-1 - place])
    return found


def _milliseconds(classifiers, image_size, rounds):
    """{name: what each round took}."""
    image = paddle.randint(0, 256, [1, 3, image_size, image_size]).astype("uint8")
    seconds = {name: [] for name in classifiers}
    for classifier in classifiers.values():
        classifier.eval()
    with paddle.no_grad():
        for _ in range(rounds + 1):
            for name, classifier in classifiers.items():
                started = time.perf_counter()
                classifier(image).numpy()  # waits for the device
                seconds[name].append(time.perf_counter() - started)
    return {name: [1000 * value for value in values[1:]] for name, values in seconds.items()}


def _count_batch_norm(layer, inputs, output):
    layer.total_ops += 2 * inputs[0].size  # as paddle.flops counts Paddle's own batch norm


def _count_convolution(layer, _, output):
    of_each = int(np.prod(layer.weight.shape[1:])) + (layer.bias is not None)  # as paddle.flops counts Paddle's own
    layer.total_ops += output.size * of_each


def summarize(network: nn.Layer, name: str, num_classes: int, image_size: int) -> str:
    """A few lines: learnable parameters, running statistics, multiply-adds."""
    learnable, running_statistics = parameter_counts(network)
    total = multiply_adds(network, image_size)
    return (
        f"{name}, {num_classes} classes, {image_size}x{image_size} pixels\n"
        f"  learnable parameters       {learnable:>14,}\n"
        f"  batch norm's statistics    {running_statistics:>14,}\n"
        f"  multiply-adds an image     {total:>14,}  ({total / 1e9:.2f} G)"
    )

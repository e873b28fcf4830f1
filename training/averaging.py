"""The average of the weights over a training, in which older steps count less: an exponential moving average.

B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992, with exponential weights. Validation,
best.safetensors and all that follows from it use the average; training goes on with its own weights.
"""

import contextlib
import math
from collections.abc import Iterator

import paddle
from paddle import Tensor, nn

UPDATES_PER_HALF_LIFE, LEAST_STEPS = 8, 3
"""Each update reads and writes all weights once, which takes up to 4% of a step; between two updates are at least 3 steps.

Weights change little from step to step: with 8 updates per half-life the average is as steady as one over 23 states of equal
weight, (1 + d) / (1 - d) with d = 0.5 ** (1 / 8).
"""


class WeightAverage:
    """The averages of the parameters and running statistics of ``network``, by their names in its state_dict.

    Of T steps, step t counts in proportion to d ** (T - t), d = 0.5 ** (1 / (``half_life`` * ``steps_per_epoch``)): half as
    much after ``half_life`` epochs. Near the start the decay is lower, (1 + t) / (10 + t), so that the random initial weights
    are soon forgotten. Frozen parameters and counters are the network's own.
    """

    def __init__(self, network: nn.Layer, half_life: float, steps_per_epoch: int):
        steps = half_life * steps_per_epoch
        self.steps_per_epoch, self.decay = steps_per_epoch, 0.5 ** (1 / steps)
        self.every = max(LEAST_STEPS, int(steps / UPDATES_PER_HALF_LIFE))
        frozen = {  # Paddle takes the running statistics of batch norm for parameters too; they are vectors
            name for name, parameter in network.named_parameters() if parameter.stop_gradient and parameter.ndim > 1
        }
        self.weights: dict[str, Tensor] = {
            name: value
            for name, value in network.state_dict().items()
            if name not in frozen and paddle.is_floating_point(value)
        }
        self.averages: dict[str, Tensor] = {name: value.detach().clone() for name, value in self.weights.items()}

    @paddle.no_grad()
    def update(self, epoch: int, step: int) -> None:
        """Take in the weights after step ``step`` (from 0) of ``epoch`` (from 0).

        The average is computed every few steps and after the last of an epoch: the weights then count for the steps since.
        """
        done = step + 1
        if done % self.every and done != self.steps_per_epoch:
            return
        since = step - step % self.every
        before = epoch * self.steps_per_epoch
        kept = math.prod(min(self.decay, (1 + t) / (10 + t)) for t in range(before + since, before + done))
        for name, weight in self.weights.items():
            average = self.averages[name]
            average.add_((weight - average).scale_(1 - kept))  # lerp_, which is the same, takes ten times as long on a CPU

    @contextlib.contextmanager
    def in_network(self) -> Iterator[None]:
        """Within the block the network has the averages; what it has then at the end are the averages from then on.

        The network's tensors stay the same objects: the optimiser and the fused operators refer to them.
        """
        own = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._put(self.averages)
        try:
            yield
        finally:
            self.averages = {name: weight.detach().clone() for name, weight in self.weights.items()}
            self._put(own)

    @paddle.no_grad()
    def _put(self, values):
        for name, weight in self.weights.items():
            paddle.assign(values[name], output=weight)

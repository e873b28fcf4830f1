"""Initial values that PyTorch draws where a network's authors leave them to it."""

import math

from paddle.nn.initializer import Uniform


def uniform_by_fan_in(fan_in: int) -> Uniform:
    """PyTorch's default for weights and biases of linear layers and convolutions: uniform within 1 / sqrt(fan_in).

    ``fan_in``: values that one output is computed from, kernel included. PyTorch calls it kaiming_uniform(a = sqrt(5)), whose
    bound sqrt(6 / ((1 + a^2) * fan_in)) is the same.
    """
    bound = 1 / math.sqrt(fan_in)
    return Uniform(-bound, bound)

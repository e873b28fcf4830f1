"""What happens to the gradients between the backward pass and the update of the weights."""

import math
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import Tensor


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of those ``parameters`` that have one."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


@paddle.no_grad()
def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean length of all ``gradients`` as one vector, a scalar on the device."""
    flat = (gradient.reshape([-1]) for gradient in gradients)  # of any shape -> [size]
    return paddle.stack([paddle.matmul(values, values) for values in flat]).sum().sqrt()  # the fastest of Paddle's sums


@paddle.no_grad()
def shorten(gradients: Sequence[Tensor], most: float) -> None:
    """Scale ``gradients`` so that their ``total_norm`` is at most ``most``; shorter ones stay as they are.

    R. Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013, algorithm 1. An optimiser with
    Paddle's ClipGradByGlobalNorm would take each group of its parameters, as those without decay, for itself.
    """
    factor = most / total_norm(gradients).clip(min=most)
    for gradient in gradients:
        gradient.multiply_(factor)


class LossScaling:
    """The factor by which the loss is multiplied before the backward pass of float16, and the gradients divided after it.

    P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2: gradients below float16's smallest number would
    be zero. The factor halves where a gradient is not finite, and that step is skipped; it doubles after ``PATIENCE`` steps
    without. Paddle's GradScaler does the same, but prints a line at each change into the progress bar.
    """

    START, PATIENCE, LEAST = 2.0**16, 2000, 2.0**-14

    def __init__(self) -> None:
        self.scale, self.good_steps = self.START, 0

    @paddle.no_grad()
    def unscaled(self, gradients: Sequence[Tensor]) -> bool:
        """Divide ``gradients`` by the scale; False, with the scale halved, if not all are finite.

        One number goes to the host.
        """
        if not math.isfinite(float(total_norm(gradients))):
            self.scale, self.good_steps = self.scale / 2, 0
            return False
        for gradient in gradients:
            gradient.scale_(1 / self.scale)  # a power of two: exact
        self.good_steps += 1
        if self.good_steps == self.PATIENCE:
            self.scale, self.good_steps = self.scale * 2, 0
        return True

    @property
    def is_hopeless(self) -> bool:
        """Whether the scale has halved so often that none will do: the gradients themselves are not finite."""
        return self.scale < self.LEAST

    def state(self) -> dict[str, Any]:
        """For the header of a checkpoint; ``restore`` reads it."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state()``."""
        self.scale, self.good_steps = state["scale"], state["good_steps"]

"""What one insertion did: the losses of the photographs that judge it, and the values of its gates."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Optional

import numpy as np

from insertion.gain import calibrated_losses
from insertion.operation import NORM, Operated, Operation

NAMES = {NORM: "batch norm alone"}
"""What tables call a block that is no attention layer."""


class Tried(NamedTuple):
    """Of an ``operation``: ``losses`` float64 [N] and ``right`` bool [N] of the photographs judged, ``losses`` as in gain.py.

    ``gates``: {name of a parameter: its value}, as trained; ``start_loss``: the mean loss before that, None where the start is
    exact; ``training_loss``: the mean of the last epoch; NaN where nothing was trained, or in vain; ``seconds``: in all.
    """

    operation: Operation
    losses: np.ndarray
    right: np.ndarray
    gates: Mapping[str, np.ndarray]
    start_loss: Optional[float]
    training_loss: float
    seconds: float

    @classmethod
    def of(
        cls, operation: Operation, logits: np.ndarray, labels: np.ndarray, gates: Optional[Mapping[str, np.ndarray]] = None,
        start_loss: Optional[float] = None, training_loss: float = math.nan, seconds: float = 0.0,
    ) -> "Tried":  # fmt: skip
        """By the ``logits`` [N, C] of the photographs with ``labels`` [N] after the training."""
        right = logits.argmax(axis=1) == labels
        losses = calibrated_losses(logits, labels) if np.isfinite(logits).all() else np.full(len(labels), np.nan)
        return cls(operation, losses, right, gates or {}, start_loss, training_loss, seconds)

    @property
    def name(self) -> str:
        """Of the block, for people."""
        return NAMES.get(self.operation.block, self.operation.block)

    @property
    def diverged(self) -> bool:
        """Whether its answers are no numbers."""
        return not np.isfinite(self.losses).all()

    @property
    def parameters(self) -> int:
        """How many numbers the network has more."""
        return 0 if self.operation.block == NORM else sum(value.size for value in self.gates.values())

    def line(self, before: "Tried") -> str:
        """One line for the terminal; ``before``: the network as it was."""
        stages = " ".join(map(str, self.operation.stages))
        loss = "diverged" if self.diverged else f"loss {before.losses.mean():.4f} -> {self.losses.mean():.4f}"
        return f"stage {stages}, {self.name}: {loss}, {self.seconds:.0f} s"


def gate_values(operated: Operated) -> dict[str, np.ndarray]:
    """{name: value} of the gates as they are now."""
    return {name: parameter.numpy() for name, parameter in operated.gates.items()}

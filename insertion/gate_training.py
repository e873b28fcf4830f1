"""Training of the gates alone: everything else is frozen, and batch norms normalise by their running statistics."""

import math
from typing import Callable

import numpy as np
import paddle
import paddle.nn.functional as F

from insertion.operation import Operated
from insertion.stage_inputs import StageInputs

LEARNING_RATE = 0.01


def train_gates(
    operated: Operated, inputs: StageInputs, epochs: int, batch_size: int, seed: int = 0,
    learning_rate: float = LEARNING_RATE, progress: Callable[[int], None] = lambda step: None,
) -> float:  # fmt: skip
    """Train the gates by Adam and a cosine of the learning rate on the photographs of ``inputs``, of the stage that has them.

    Each epoch sees every photograph once, in an order by ``seed``, in one of its views. The loss is the cross-entropy. Returns
    the mean loss of the last epoch: NaN where the training diverged, or nothing was trained.
    """
    network, count = operated.classifier.network, len(inputs.photographs)
    steps = -(-count // batch_size)
    if not (operated.gates and epochs):
        return math.nan
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(learning_rate, epochs * steps)
    optimizer = paddle.optimizer.Adam(schedule, parameters=list(operated.gates.values()))
    total = math.nan
    for epoch in range(epochs):
        total = 0.0
        order = np.random.default_rng((seed, epoch)).permutation(count)
        for step, rows in enumerate(np.array_split(order, steps), start=1):
            seen, labels = inputs.batch(rows, view=epoch)
            loss = F.cross_entropy(network.from_stage(inputs.stage, seen), labels)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad(set_to_zero=False)
            schedule.step()
            total += float(loss) * len(rows)
            progress(epoch * steps + step)
        if not math.isfinite(total):
            return math.nan
    return total / count


def logits_of(operated: Operated, inputs: StageInputs, batch_size: int) -> np.ndarray:
    """float32 [N, C]: the logits of the photographs of ``inputs``, in their order."""
    network, found = operated.classifier.network, []
    with paddle.no_grad():
        for start in range(0, len(inputs.photographs), batch_size):
            rows = np.arange(start, min(start + batch_size, len(inputs.photographs)))
            found.append(network.from_stage(inputs.stage, inputs.batch(rows)[0]).numpy())
    return np.concatenate(found)

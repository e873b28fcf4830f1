"""The learning rate schedule and the optimisers."""

import math
from typing import Any, Optional

import paddle
from paddle import nn

from networks.stages import last_linear

WITH_WEIGHTS = (
    nn.Linear, nn.Conv1D, nn.Conv2D, nn.Conv3D, nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose
)  # fmt: skip
"""Layers on whose weights decay acts. Gates of attention may have parameters called ``weight`` as well: those of SGE do."""
SCHEDULES = ("cosine", "cosine_by_epoch", "step", "constant")


def learning_rate_factor(
    step: float,
    steps_per_epoch: int,
    epochs: int,
    schedule: str,
    warmup_epochs: float = 0.0,
    step_epochs: int = 30,
    step_gamma: float = 0.1,
) -> float:
    """The learning rate of optimiser step ``step`` (from 0), as a share of its peak.

    It rises linearly over ``warmup_epochs``. Then "cosine" falls to zero at the end of training (I. Loshchilov, F. Hutter,
    "SGDR", ICLR 2017, eq. 5, without restarts); "cosine_by_epoch" does so too, but keeps the rate of an epoch's first step
    throughout the epoch; "step" multiplies the rate by ``step_gamma`` after every ``step_epochs`` epochs from the start of
    training; "constant" keeps it. Raises ValueError for another schedule.
    """
    warmup = warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule in ("cosine", "cosine_by_epoch"):
        if schedule == "cosine_by_epoch":
            step = max(step - step % steps_per_epoch, warmup)  # a warm-up may end within an epoch
        progress = (step - warmup) / max(epochs * steps_per_epoch - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    if schedule == "step":
        return step_gamma ** (step // (step_epochs * steps_per_epoch))
    if schedule == "constant":
        return 1.0
    raise ValueError(f"schedule = {schedule!r}: expected one of {', '.join(SCHEDULES)}")


def build_optimizer(
    network: nn.Layer,
    steps_per_epoch: int,
    epochs: int,
    *,
    optimizer: str = "momentum",
    learning_rate: float = 0.0125,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    decay_norm_and_bias: bool = False,
    head_lr: Optional[float] = None,
    schedule: Optional[dict[str, Any]] = None,
) -> paddle.optimizer.Optimizer:
    """A Paddle optimiser over the learnable parameters of ``network``, its learning rate a function of the step.

    ``optimizer``: "momentum" (SGD with momentum), "adam" or "adamw". ``weight_decay`` is an L2 term in the gradient,
    decoupled with "adamw"; it acts on the weights of convolutions and linear layers alone, with ``decay_norm_and_bias`` on all.
    ``head_lr``: the peak rate of the last linear layer, which follows the same schedule; None: ``learning_rate``.
    ``schedule``: the remaining arguments of learning_rate_factor. Raises ValueError for an unknown optimiser or schedule, or a
    ``head_lr`` where no layer is linear.
    """
    of_schedule = schedule or {"schedule": "constant"}

    def factor(step):
        return learning_rate_factor(step, steps_per_epoch, epochs, **of_schedule)

    factor(0)  # raises the ValueError for an unknown schedule now, not in the first step
    rate = paddle.optimizer.lr.LambdaDecay(learning_rate, factor)
    head_factor = 1.0 if head_lr is None else head_lr / learning_rate
    groups = _groups(network, decay_norm_and_bias, head_factor)
    options = {"learning_rate": rate, "parameters": groups, "weight_decay": weight_decay}
    if optimizer == "momentum":
        return paddle.optimizer.Momentum(momentum=momentum, **options)
    if optimizer == "adam":
        return paddle.optimizer.Adam(**options)
    if optimizer == "adamw":
        return paddle.optimizer.AdamW(**options)
    raise ValueError(f"optimizer = {optimizer!r}: expected momentum, adam or adamw")


def _groups(network, decay_norm_and_bias, head_factor):
    """The learnable parameters, or groups of them as Paddle's optimisers take them: without decay, with a rate of their own.

    Paddle calls a group's factor of the learning rate "learning_rate".
    """
    decayed, head = _decayed(network), _of_head(network, head_factor)
    found: dict[tuple[bool, bool], list] = {}
    for parameter in network.parameters():
        if not parameter.stop_gradient:
            kind = (decay_norm_and_bias or parameter.name in decayed, parameter.name in head)
            found.setdefault(kind, []).append(parameter)
    if found.keys() == {(True, False)}:
        return found[True, False]
    groups = []
    for (decays, is_head), parameters in found.items():
        groups.append({"params": parameters})
        if not decays:
            groups[-1]["weight_decay"] = 0.0
        if is_head:
            groups[-1]["learning_rate"] = head_factor
    return groups


def _of_head(network, factor) -> set[str]:
    """The names of the parameters in the last linear layer, unless their rate is that of all, as ``factor`` says."""
    if factor == 1.0:
        return set()
    head = last_linear(network)
    if head is None:
        raise ValueError("head_lr: the network has no linear layer; leave it out")
    return {parameter.name for parameter in head[1].parameters()}


def _decayed(network) -> set[str]:
    """The names of the weights of convolutions and linear layers."""
    return {layer.weight.name for layer in network.sublayers(include_self=True) if isinstance(layer, WITH_WEIGHTS)}

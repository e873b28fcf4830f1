"""The learning rate schedule and the optimisers."""

import math
from typing import Any, Optional

import paddle

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
    network: paddle.nn.Layer,
    steps_per_epoch: int,
    epochs: int,
    *,
    optimizer: str = "momentum",
    learning_rate: float = 0.0125,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    decay_norm_and_bias: bool = True,
    head_lr: Optional[float] = None,
    schedule: Optional[dict[str, Any]] = None,
) -> paddle.optimizer.Optimizer:
    """A Paddle optimiser over the learnable parameters of ``network``, its learning rate a function of the step.

    ``optimizer``: "momentum" (SGD with momentum), "adam" or "adamw". ``weight_decay`` is an L2 term in the gradient,
    decoupled with "adamw"; without ``decay_norm_and_bias`` it acts only on the weights of convolutions and linear layers.
    ``schedule``: the remaining arguments of learning_rate_factor. Raises ValueError for an unknown optimiser or schedule.
    """
    of_schedule = schedule or {"schedule": "constant"}

    def factor(step):
        return learning_rate_factor(step, steps_per_epoch, epochs, **of_schedule)

    factor(0)  # raises the ValueError for an unknown schedule now, not in the first step
    rate = paddle.optimizer.lr.LambdaDecay(learning_rate, factor)
    learnable = [parameter for parameter in network.parameters() if not parameter.stop_gradient]
    if decay_norm_and_bias:
        groups = learnable
    else:
        weights, others = _weights_and_others(network)
        groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    options = {"learning_rate": rate, "parameters": groups, "weight_decay": weight_decay}
    if optimizer == "momentum":
        return paddle.optimizer.Momentum(momentum=momentum, **options)
    if optimizer == "adam":
        return paddle.optimizer.Adam(**options)
    if optimizer == "adamw":
        return paddle.optimizer.AdamW(**options)
    raise ValueError(f"optimizer = {optimizer!r}: expected momentum, adam or adamw")


def _weights_and_others(network):
    """The learnable parameters: (weights of convolutions and linear layers, all others)."""
    weights, others = [], []
    for layer in network.sublayers(include_self=True):
        for name, parameter in layer.named_parameters(include_sublayers=False):
            if parameter.stop_gradient:
                continue
            is_weight = name == "weight" and parameter.ndim > 1
            (weights if is_weight else others).append(parameter)
    return weights, others

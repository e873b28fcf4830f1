"""The numbers that a network computes with: 32 bits, or mixed with 16 bits on a GPU, or on a CPU that multiplies in bfloat16.

P. Micikevicius et al., "Mixed Precision Training", ICLR 2018: weights, their gradients, the loss and the statistics of batch
norm stay in float32; convolutions and matrix products take and give 16 bits. bfloat16 has float32's range; float16 has not, so
its loss is scaled: see training.gradients.LossScaling. On a CPU convolutions alone round their factors to bfloat16; feature
maps and all sums stay in float32.
"""

from collections.abc import Collection
from typing import NamedTuple, Optional

import paddle
from paddle import Tensor, nn

from machine.processor import cpu_identity
from messages.terminal import print_line
from ops import fused
from ops.convolution import in_bfloat16

FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
LEAST_CAPABILITY = {BFLOAT16: (8, 0), FLOAT16: (7, 0)}
"""The compute capability from which on a GPU has fast arithmetic of this type."""
BFLOAT16_ON_CPU = ("avx512_bf16", "amx_bf16")
"""Flags of the CPUs that have it, of which one is enough."""


class Choice(NamedTuple):
    """The precision that applies, and one line that says why it is not the one that was asked for, or None."""

    precision: str
    note: Optional[str] = None


def choose(asked: str, device: str, capability: Optional[tuple[int, int]] = None, flags: Collection[str] = ()) -> Choice:
    """What ``asked`` ("auto", "float32", "bfloat16" or "float16") means on ``device``, "cpu" or "gpu".

    ``capability``: the GPU's compute capability; ``flags``: the CPU's. "auto" is bfloat16 where a GPU has it, else float32.
    """
    if device != "gpu" or capability is None:
        return _choose_on_cpu(asked, flags)
    kind = BFLOAT16 if asked == "auto" else asked
    least = LEAST_CAPABILITY.get(kind, (0, 0))
    if tuple(capability) >= least:
        return Choice(kind)
    if asked == "auto":
        return Choice(FLOAT32)
    has_float16 = tuple(capability) >= LEAST_CAPABILITY[FLOAT16]
    return Choice(
        FLOAT32,
        f"note: precision = '{asked}': this GPU has compute capability {capability[0]}.{capability[1]}, and {asked} needs "
        f"{least[0]}.{least[1]}: it computes in float32{'; --precision float16 is for such a GPU' * has_float16}",
    )


def _choose_on_cpu(asked, flags):
    if asked == FLOAT16:
        return Choice(FLOAT32, "note: precision = 'float16': for GPUs alone: a CPU computes in float32")
    if asked != BFLOAT16:
        return Choice(FLOAT32)
    if any(flag in flags for flag in BFLOAT16_ON_CPU):
        return Choice(BFLOAT16)
    lacks = " nor ".join(BFLOAT16_ON_CPU)
    return Choice(FLOAT32, f"note: precision = 'bfloat16': this processor has neither {lacks}: it computes in float32")


def precision_of(asked: str, device: str, layout: str = "nchw") -> str:
    """The precision that ``asked`` means on ``device``, which Paddle has been set to; says in one line if it is another one.

    ``layout``: of the network. Call ``ops.fused.set_mode`` before: on a CPU the fused operators bring the convolutions in
    bfloat16.
    """
    if device == "gpu":
        choice = choose(asked, device, paddle.device.cuda.get_device_capability())
    else:
        choice = choose(asked, device, flags=cpu_identity()[1])
        if choice.precision == BFLOAT16 and (obstacle := _obstacle_on_cpu(layout)):
            choice = Choice(FLOAT32, f"note: precision = '{asked}': {obstacle}: the processor computes in float32")
    if choice.note:
        print_line(choice.note)
    return choice.precision


def _obstacle_on_cpu(layout):
    if layout != "nchw":
        return f"not with --layout {layout}, in which Paddle itself convolves"
    return fused.obstacle_of_bfloat16()


def logits_of(network: nn.Layer, images: Tensor, precision: str = FLOAT32) -> Tensor:
    """``network`` of ``images`` [N, 3, H, W], computed in ``precision``: logits [N, C] in float32.

    Level O1 of Paddle's automatic mixed precision keeps the weights in float32; its batch norm, as the fused operators, takes
    16 bits with parameters and statistics in float32.
    """
    if precision == FLOAT32:
        return network(images)
    if precision == BFLOAT16 and _is_on_cpu(images):
        with in_bfloat16():
            return network(images)
    with paddle.amp.auto_cast(dtype=precision, level="O1"):
        logits = network(images)
    return logits.astype("float32")


def _is_on_cpu(images):
    return images.place.is_cpu_place()

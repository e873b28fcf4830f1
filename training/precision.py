"""The numbers that a network computes with: 32 bits, or mixed with 16 bits on a GPU.

P. Micikevicius et al., "Mixed Precision Training", ICLR 2018: weights, their gradients, the loss and the statistics of batch
norm stay in float32; convolutions and matrix products take and give 16 bits. bfloat16 has float32's range; float16 has not, so
its loss is scaled: see training.gradients.LossScaling.
"""

from typing import NamedTuple, Optional

import paddle
from paddle import Tensor, nn

from messages.terminal import print_line

FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
LEAST_CAPABILITY = {BFLOAT16: (8, 0), FLOAT16: (7, 0)}
"""The compute capability from which on a GPU has fast arithmetic of this type."""


class Choice(NamedTuple):
    """The precision that applies, and one line that says why it is not the one that was asked for, or None."""

    precision: str
    note: Optional[str] = None


def choose(asked: str, device: str, capability: Optional[tuple[int, int]] = None) -> Choice:
    """What ``asked`` ("auto", "float32", "bfloat16" or "float16") means on ``device``, "cpu" or "gpu".

    ``capability``: the GPU's compute capability. "auto" is bfloat16 where a GPU has it, else float32.
    """
    if device != "gpu" or capability is None:
        if asked in LEAST_CAPABILITY:
            return Choice(FLOAT32, f"note: precision = '{asked}': a CPU computes in float32; the setting applies to GPUs alone")
        return Choice(FLOAT32)
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


def precision_of(asked: str, device: str) -> str:
    """The precision that ``asked`` means on ``device``, which Paddle has been set to; says in one line if it is another one."""
    capability = paddle.device.cuda.get_device_capability() if device == "gpu" else None
    choice = choose(asked, device, capability)
    if choice.note:
        print_line(choice.note)
    return choice.precision


def logits_of(network: nn.Layer, images: Tensor, precision: str = FLOAT32) -> Tensor:
    """``network`` of ``images`` [N, 3, H, W], computed in ``precision``: logits [N, C] in float32.

    Level O1 of Paddle's automatic mixed precision keeps the weights in float32; its batch norm, as the fused operators, takes
    16 bits with parameters and statistics in float32.
    """
    if precision == FLOAT32:
        return network(images)
    with paddle.amp.auto_cast(dtype=precision, level="O1"):
        logits = network(images)
    return logits.astype("float32")

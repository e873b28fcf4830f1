"""The size of the training images in each epoch: they may be smaller than in evaluation, and grow.

Small images cost less: a step at half the side takes about a quarter of the time. Progressive growth is that of J. Howard's
entry to DAWNBench (fast.ai, 2018); M. Tan and Q. Le, "EfficientNetV2", ICML 2021, section 4, grow the augmentation as well.
"""

from collections.abc import Sequence
from typing import Any

COARSE, FINE = 32, 8  # pixels; networks halve the sides up to five times
COARSE_FROM = 128  # pixels of the full size: below, multiples of 32 would leave one or two steps to grow in


def size_of_epoch(epoch: int, epochs: int, full: int, progressive: float) -> int:
    """The side of the training images in ``epoch`` (from 0) of ``epochs``, in pixels: at most ``full``.

    It begins at the share ``progressive`` of ``full`` and grows evenly over the first 80% of the epochs, in multiples of 32
    pixels, below 128 of 8; from then on it is ``full``, and so it is in the last epoch of any training.
    """
    growing = epochs * 4 // 5
    if progressive >= 1 or epoch >= growing:
        return full
    exact = full * (progressive + (1 - progressive) * epoch / growing)
    multiple = COARSE if full >= COARSE_FROM else FINE
    return min(full, max(1, int(exact / multiple + 0.5)) * multiple)


def next_size(history: Sequence[dict[str, Any]], epochs: int, full: int, progressive: float) -> int:
    """The side in the epoch that follows those of ``history`` (see trained.history), as in ``size_of_epoch``.

    Never below that of an earlier epoch: a training that goes on with more epochs does not shrink its images again.
    """
    reached = max((row.get("train_size") or 0 for row in history), default=0)
    return max(size_of_epoch(len(history), epochs, full, progressive), min(reached, full))

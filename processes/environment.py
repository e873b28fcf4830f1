"""What the processes of a group know of each other before they have imported Paddle."""

import dataclasses
import os

from machine.parent_process import OF_LAUNCH

RANK, COUNT = "PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM"
"""Environment variables that paddle.distributed.launch sets; a cluster may set them too, but not OF_LAUNCH."""
LOST = "another process has ended"
"""So begins the error of a process that ends because another one has."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of the work that is for one of ``count`` processes: number ``rank``, from 0."""

    rank: int = 0
    count: int = 1


ALONE = Part()


def here() -> Part:
    """The part of this process, by the environment that it was started with."""
    return Part(int(os.environ.get(RANK, 0)), int(os.environ.get(COUNT, 1))) if is_launched() else ALONE


def is_launched() -> bool:
    """Whether this process is one of several that were launched together."""
    return OF_LAUNCH in os.environ

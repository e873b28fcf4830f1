"""The group of processes that paddle.distributed.launch has started, of which this is one, and what its members exchange.

A process that was started alone is a group of one: then nothing here waits or copies. All members call the same functions in
the same order; each waits for the others. The engine is paddle.distributed: NCCL between GPUs, Gloo between CPUs.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Optional

import numpy as np
import paddle
from paddle import Tensor

from messages.user_error import UserError
from processes.environment import LOST, here
from processes.interface import use_interface_of_launch
from processes.meetings import Meetings
from processes.priority import new_threads_give_way

_meetings: Optional[Meetings] = None
ENGINES = ("gloo/", "Gloo", "NCCL", "nccl", "TCPStore", "distributed/store/")  # in the errors of a connection that has ended


class MemberLost(UserError):
    """Another process of the group has ended before its time."""

    exit_code = 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return here().rank == 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within the block this process is connected with the other members, and only the first prints to stdout.

    Paddle's device must be set before. Raises MemberLost where another member ends within it.
    """
    if here().count == 1:
        yield
        return
    with contextlib.ExitStack() as stack:
        if not is_first():
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        with losses_named():
            if not paddle.distributed.is_initialized():
                use_interface_of_launch()
                with new_threads_give_way():
                    paddle.distributed.init_parallel_env()
            with _beating():
                yield
                meet()  # the first process holds the store of the others: it ends last


@contextlib.contextmanager
def _beating():
    """Within the block the others know that this process lives, where they need to know it."""
    global _meetings
    if paddle.distributed.get_backend().lower() == "gloo":
        _meetings = Meetings(here().rank, here().count)
    try:
        yield
    finally:
        if _meetings:
            _meetings.end()
        _meetings = None


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Raise MemberLost in place of what Paddle raises within the block where another member has ended."""
    try:
        yield
    except (RuntimeError, ValueError, OSError, SystemError) as error:  # what Paddle throws for its libraries
        if here().count == 1 or isinstance(error, UserError) or not any(name in str(error) for name in ENGINES):
            raise
        raise MemberLost(LOST) from error


def meet() -> None:
    """Wait until all members are here, for as long as it takes: Gloo waits for others at most 30 seconds.

    Does nothing where they talk through NCCL, which waits for half an hour. It takes a part of a second: it is for where they
    have done different things, not for every step.
    """
    if _meetings and not _meetings.meet():
        raise MemberLost(LOST)


def agree(text: object, what: str) -> None:
    """Raise UserError unless all members say the same ``text``; ``what`` names it."""
    first = from_first(str(text))
    if first != str(text):
        raise UserError(f"{what} is {text} here and {first} in the first process: another one came up meanwhile; name it")


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """The first member goes through the block alone, and the others once it has, however long that takes."""
    if not is_first():
        meet()
    yield
    if is_first():
        meet()
    meet()


@paddle.no_grad()
def total(value: Tensor) -> Tensor:
    """The sum over the members of a tensor that has the same shape and type in each; for a group of one the tensor itself."""
    if here().count == 1:
        return value
    value = value.clone()
    paddle.distributed.all_reduce(value)
    return value


def totals(values: Sequence[float]) -> list[float]:
    """The sums over the members of ``values``, in float64."""
    if here().count == 1:
        return list(values)
    return total(paddle.to_tensor(np.asarray(values, "float64"))).numpy().tolist()


@paddle.no_grad()
def gathered(value: Tensor) -> list[Tensor]:
    """The tensors of all members, by rank; they have the same type and shape, but for the first dimension, which may be 0."""
    if here().count == 1:
        return [value]
    sizes: list[Tensor] = []
    paddle.distributed.all_gather(sizes, paddle.to_tensor([value.shape[0]], dtype="int64"))
    lengths = [int(size) for size in sizes]
    if not any(lengths):
        return [value] * len(lengths)
    padding = max(lengths) - value.shape[0]
    if padding:
        value = paddle.concat([value, paddle.zeros([padding, *value.shape[1:]], value.dtype)])
    parts: list[Tensor] = []
    paddle.distributed.all_gather(parts, value)
    return [part[:length] for part, length in zip(parts, lengths)]


def gathered_arrays(array: np.ndarray) -> list[np.ndarray]:
    """As ``gathered``, of NumPy's arrays."""
    if here().count == 1:
        return [array]
    return [part.numpy() for part in gathered(paddle.to_tensor(array))]


def gathered_texts(text: str) -> list[str]:
    """The texts of all members, by rank."""
    if here().count == 1:
        return [text]
    own = np.frombuffer(text.encode("utf-8", "surrogateescape") + b"\n", np.uint8)  # an array is never empty
    return [part[:-1].tobytes().decode("utf-8", "surrogateescape") for part in gathered_arrays(own)]


def from_first(text: str = "") -> str:
    """The ``text`` of the first member; the others wait for it."""
    return gathered_texts(text)[0]

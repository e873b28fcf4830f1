"""The queue before the networks: request threads put photographs in, and one thread, which owns Paddle, computes in batches."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Callable

from inference.predictor import EngineError
from messages.user_error import UserError

Work = Callable[[list[Any]], Any]
"""Computes a batch: a list of items -> as many results, as a list or an array."""


WAKE_SECONDS = 0.3  # after which a waiting ``run`` sees Ctrl-C at the latest


class BusyError(UserError):
    """The queue is full: the sender must try again later."""


class ModelQueue:
    """``run`` computes, in the thread that calls it, what ``submit`` puts in from any thread.

    Items that wait for the same work are computed together, the longest waiting first, up to ``batch_size`` at once.
    ``max_waiting``: photographs that may be on their way from ``admitted`` to their answer.
    """

    def __init__(self, max_waiting: int, batch_size: int):
        self.max_waiting, self.batch_size = max_waiting, batch_size
        self.admitted_now = 0
        self._tasks: collections.deque[tuple[Work, Any, Future]] = collections.deque()
        self._changed = threading.Condition()
        self._stopped = False

    @contextlib.contextmanager
    def admitted(self, count: int) -> Iterator[None]:
        """Hold room for ``count`` photographs within the block; raises BusyError where there is none.

        A request asks before it decodes them: what waits is bounded together with the memory that it takes.
        """
        with self._changed:
            if self.admitted_now + count > self.max_waiting:
                raise BusyError(
                    f"{self.admitted_now} photographs are waiting, the most are {self.max_waiting}: try again later"
                )
            self.admitted_now += count
        try:
            yield
        finally:
            with self._changed:
                self.admitted_now -= count

    def submit(self, work: Work, item: Any) -> Future:
        """Put an item in; the future has its result, or the error that ``work`` raised."""
        future: Future = Future()
        with self._changed:
            self._tasks.append((work, item, future))
            self._changed.notify()
        return future

    def run(self) -> None:
        """Compute until ``stop``; an interruption of this thread, such as Ctrl-C, passes through, and EngineError."""
        while True:
            with self._changed:
                # Not for ever: a signal that the system hands to another thread does not wake this one, which acts on it
                while not (self._tasks or self._stopped):
                    self._changed.wait(WAKE_SECONDS)
                if self._stopped:
                    return
                work, batch = self._next_batch()
            try:
                results = work([item for item, _ in batch])
            except EngineError as error:  # nothing can be computed any more
                for _, future in batch:
                    future.set_exception(error)
                raise
            except Exception as error:  # belongs to the requests of this batch; the next ones go on
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results):
                future.set_result(result)

    def stop(self) -> None:
        """Let ``run`` return."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _next_batch(self):
        first, batch, others = self._tasks[0][0], [], []
        for work, item, future in self._tasks:
            if work == first and len(batch) < self.batch_size:
                batch.append((item, future))
            else:
                others.append((work, item, future))
        self._tasks = collections.deque(others)
        return first, batch

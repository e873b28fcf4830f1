"""Meetings of the processes of a group, at which each waits until all have come, however long that takes.

Gloo waits for others for 30 seconds. Here a thread of each process counts its steps to the meetings, and its own beats, in the
store of paddle.distributed, which the first process holds. Who waits for a process that no longer beats learns that it is lost.
"""

import threading
import time

import paddle

PAUSE = 0.02  # seconds between two looks of a process that waits
BEAT = 1.0  # seconds between two beats
LOST_AFTER = 25.0  # seconds without a beat


class Meetings:
    """Those of process ``rank`` among ``count``. One thread alone uses the store: its connection is not for several."""

    def __init__(self, rank: int, count: int):
        self.rank, self.count, self.number = rank, count, 0
        self._store = paddle.base.core.create_or_get_global_tcp_store()
        self._changed = threading.Condition()
        self._arrived, self._beats = [0] * count, [0] * count
        self._heard = [0.0] * count
        self._ends = self._store_is_gone = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def meet(self) -> bool:
        """Wait for all; returns whether they have come: False where one is lost."""
        with self._changed:
            self.number += 1
            self._heard = [time.monotonic()] * self.count  # nobody has listened since the last meeting
            self._changed.notify_all()
            while min(self._arrived) < self.number:
                late = time.monotonic() - LOST_AFTER
                missing = [rank for rank in range(self.count) if self._arrived[rank] < self.number]
                if self._store_is_gone or any(self._heard[rank] < late for rank in missing):
                    return False
                self._changed.wait(PAUSE)
        return True

    def end(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        self._thread.join(BEAT)

    def _run(self):
        said, beaten = 0, 0.0
        try:
            while not self._ends:
                now = time.monotonic()
                if now >= beaten + BEAT:
                    self._store.add(f"beats of {self.rank}", 1)
                    beaten = now
                while said < self.number:
                    self._store.add(f"meetings of {self.rank}", 1)
                    said += 1
                waits = min(self._arrived) < self.number
                if waits:
                    self._look()
                with self._changed:
                    self._changed.notify_all()
                    if said == self.number and not self._ends:
                        self._changed.wait(PAUSE if waits else BEAT)
        except (RuntimeError, OSError, SystemError):  # the first process, which holds it, has ended
            with self._changed:
                self._store_is_gone = True
                self._changed.notify_all()

    def _look(self):
        arrived = [self._store.add(f"meetings of {rank}", 0) for rank in range(self.count)]
        beats = [self._store.add(f"beats of {rank}", 0) for rank in range(self.count)]
        now = time.monotonic()
        with self._changed:
            for rank, count in enumerate(beats):
                if count != self._beats[rank]:
                    self._heard[rank] = now
            self._arrived, self._beats = arrived, beats

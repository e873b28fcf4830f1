"""Trainings side by side: how many run at the same time, and what of the machine each gets."""

import contextlib
import os
import queue
from collections.abc import Iterator
from typing import Any, NamedTuple

import paddle

from comparison.run_groups import ComparisonError
from config import Config
from machine.processor import available_cores, default_threads


class Place(NamedTuple):
    """What one training at a time has: settings instead of the user's, by name, and environment variables."""

    settings: dict[str, Any]
    environment: dict[str, str]


class Places:
    """The places for trainings at the same time; a free one goes to whoever asks first."""

    def __init__(self, places: list[Place]):
        self.count = len(places)
        self._free: queue.SimpleQueue[Place] = queue.SimpleQueue()
        for place in places:
            self._free.put(place)

    @contextlib.contextmanager
    def one(self) -> Iterator[Place]:
        """A place that is free, or will be."""
        place = self._free.get()
        try:
            yield place
        finally:
            self._free.put(place)


def one_at_a_time() -> Places:
    """A single place, with all of the machine."""
    return Places([Place({}, {})])


def places_for(config: Config, device: str) -> Places:
    """The places that ``config.parallel`` asks for on ``device``, "cpu" or "gpu".

    On GPUs one on each, all of them with "auto"; on a processor "auto" is one. Several share out the threads and the processes
    that read photographs, unless the user has set how many each training has. Raises ComparisonError where there are fewer
    GPUs.
    """
    if device == "gpu":
        gpus = _gpus()
        count = len(gpus) if config.parallel == "auto" else int(config.parallel)
        if config.processes != 1:  # each training takes several
            count = 1 if config.parallel == "auto" else count
        if count > len(gpus):
            raise ComparisonError(
                f"parallel = {count}: there are {len(gpus)} GPUs, one for each training at a time; --parallel auto takes all"
            )
        variables = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus[:count]]
    else:
        count = 1 if config.parallel == "auto" else int(config.parallel)
        variables = [{}] * count
    if count == 1:
        return one_at_a_time()
    shares = {"threads": max(default_threads() // count, 1), "num_workers": max(available_cores() // count - 1, 0)}
    own = {name: value for name, value in shares.items() if name not in config.given}
    return Places([Place(own, of_place) for of_place in variables])


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = paddle.device.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if len(named) >= count else [str(number) for number in range(count)]

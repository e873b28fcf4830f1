"""Trainings side by side: how many run at the same time, and what of the machine each gets."""

import contextlib
import os
import queue
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional, TypeVar

import paddle

from comparison.run_groups import ComparisonError
from comparison.script_process import ProcessFailed, end_scripts, run_script
from config import Config
from machine.energy import SHARED
from machine.processor import available_cores, default_threads

TRIES = 5  # of a training whose places are lost one after the other
Done = TypeVar("Done")


class PlaceLost(ProcessFailed):
    """The machine on which a script ran is gone; it may run elsewhere."""


class Place:
    """What one training at a time has: ``settings`` instead of the user's, by name, and ``environment`` variables."""

    def __init__(self, settings: Optional[dict[str, Any]] = None, environment: Optional[dict[str, str]] = None):
        self.settings, self.environment = settings or {}, environment or {}

    def run(self, script: str, arguments: Sequence[object], **how: Any) -> None:
        """Run a script here; arguments and errors are those of script_process.run_script, besides PlaceLost."""
        if self.environment:
            how["variables"] = self.environment
        run_script(script, arguments, **how)


class Places:
    """The places for trainings at the same time; a free one goes to whoever asks first."""

    def __init__(self, places: Sequence[Place]):
        self.count = len(places)
        self._free: queue.SimpleQueue[Place] = queue.SimpleQueue()
        for place in places:
            self._free.put(place)

    def end(self) -> None:
        """End the scripts that run in them."""
        end_scripts()

    def attempt(self, work: Callable[[Place], Done]) -> Done:
        """``work(place)`` with a free place, and with another one where it raises PlaceLost, at most ``TRIES`` times."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(PlaceLost), self.one() as place:
                return work(place)
        with self.one() as place:
            return work(place)

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
    return Places([Place()])


def places_for(config: Config, device: str) -> Places:
    """The places that ``config.parallel`` asks for on ``device``, "cpu" or "gpu".

    On GPUs one on each, all of them with "auto"; on a processor "auto" is one. Several share out the threads, those that read
    photographs too, and beside GPUs the processes that read, unless the user has set how many each training has. With
    ``config.ray`` they are those of a cluster. Raises ComparisonError where there are fewer GPUs, or no cluster.
    """
    if config.ray is not None:
        from comparison.ray_cluster import RayPlaces  # Ray is optional

        return RayPlaces(config)
    if device == "gpu":
        gpus = _gpus()
        count = len(gpus) if config.parallel == "auto" else int(config.parallel)
        if config.processes != 1:  # each training takes several
            count = 1 if config.parallel == "auto" else count
        if count > len(gpus):
            raise ComparisonError(
                f"parallel = {count}: there are {len(gpus)} GPUs, one for each training at a time; --parallel auto takes all"
            )
        variables = [{"CUDA_VISIBLE_DEVICES": gpu, SHARED: "1"} for gpu in gpus[:count]]
    else:
        count = 1 if config.parallel == "auto" else int(config.parallel)
        variables = [{SHARED: "1"}] * count
    if count == 1:
        return one_at_a_time()
    readers = max(available_cores() // count - 1, 0) if device == "gpu" else 0
    shares = {"threads": max(default_threads() // count, 1), "num_workers": readers}
    own = {name: value for name, value in shares.items() if name not in config.given}
    return Places([Place(own, of_place) for of_place in variables])


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = paddle.device.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if len(named) >= count else [str(number) for number in range(count)]

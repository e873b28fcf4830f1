"""The electrical energy that the machine uses, where it tells: RAPL counters of processors, NVML's of NVIDIA's cards.

A counter counts for all programs on the machine. Those of processors are readable for everybody on older systems and for root
alone on newer ones; in a virtual machine there usually are none.
"""

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

POWERCAP = Path("/sys/class/powercap")
SHARED = "TRAINS_BESIDE_OTHERS"
"""Environment variable: set where the toolkit itself runs several trainings at a time, of which each would count all."""
MOST_SECONDS = 30.0
"""Between two readings: a RAPL counter begins anew after 65 kJ at the earliest, with 500 W after two minutes."""


class Counter(NamedTuple):
    """``read()`` returns joules, which begin anew at ``top`` (None: never); it raises OSError or ValueError where it fails."""

    read: Callable[[], float]
    top: Optional[float] = None


class EnergyMeter:
    """The joules since its start, added to those ``before``, of an interrupted training. ``joules`` is None where they are not
    known: no counter can be read, or one failed."""

    def __init__(self, counters: Sequence[Counter] = (), before: Optional[float] = 0.0):
        self._counters, self._sum = list(counters), before
        self._last = self._read()
        self._at = time.monotonic()

    def sample(self) -> None:
        """To be called again and again, so that no counter begins anew twice between two readings."""
        if time.monotonic() - self._at >= MOST_SECONDS:
            self._add()

    @property
    def joules(self) -> Optional[float]:
        self._add()
        return self._sum if self._counters else None

    def continued(self, before: Optional[float]) -> "EnergyMeter":
        """One with the same counters for a training that has used so many joules; None: it is not known how many."""
        return EnergyMeter(self._counters if before is not None else (), before or 0.0)

    def _add(self):
        now, self._at = self._read(), time.monotonic()
        for counter, value, last in zip(self._counters, now, self._last):
            used = value - last
            if used < 0:
                used = used + counter.top if counter.top else 0.0
            self._sum += used
        self._last = now

    def _read(self):
        try:
            return [counter.read() for counter in self._counters]
        except (OSError, ValueError):
            self._counters = []
            return []


def energy_meter(card: Optional[int] = None) -> EnergyMeter:
    """Of the processors and, where Paddle computes on the GPU ``card``, of that. Where SHARED is set it counts nothing."""
    if os.environ.get(SHARED):
        return EnergyMeter()
    counters = _of_processors()
    if card is None:
        return EnergyMeter(counters)
    of_card = card_counter(card)
    return EnergyMeter([*counters, of_card] if of_card else ())  # without the card it would be the smaller part


def _of_processors() -> list[Counter]:
    """One for each processor, and for its memory where that is counted apart."""
    found = []
    for zone in sorted(POWERCAP.glob("intel-rapl:*")):  # AMD's as well
        try:
            name = (zone / "name").read_text().strip()
            if not name.startswith("package") and name != "dram":  # cores are part of the package, psys is all of it
                continue
            counter = Counter(_reader(zone / "energy_uj"), int((zone / "max_energy_range_uj").read_text()) / 1e6)
            counter.read()
        except (OSError, ValueError):  # not for us to read
            return []
        found.append(counter)
    return found


def _reader(file):
    return lambda: int(file.read_text()) / 1e6


def card_counter(card: int, library: Any = None) -> Optional[Counter]:
    """Of the GPU that Paddle knows as ``card``; None where NVML does not tell, or cannot tell which one that is."""
    try:
        nvml = library or ctypes.CDLL("libnvidia-ml.so.1")
        _check(nvml.nvmlInit_v2())
        handle = _handle(nvml, card)
        if handle is None:
            return None

        def read():
            millijoules = ctypes.c_ulonglong()
            _check(nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)))
            return millijoules.value / 1000

        read()
    except (OSError, AttributeError):  # no driver, or one from before Volta
        return None
    return Counter(read)


def _handle(nvml, card):
    """NVML numbers cards by their slots; CUDA does only where all are of one kind, or the user wants it so."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = named[card] if card < len(named) else str(card)
    handle = ctypes.c_void_p()
    if name.startswith("GPU-"):
        _check(nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)))
        return handle
    if not name.isdigit() or not (os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or _are_of_one_kind(nvml)):
        return None
    _check(nvml.nvmlDeviceGetHandleByIndex_v2(int(name), ctypes.byref(handle)))
    return handle


def _are_of_one_kind(nvml):
    count = ctypes.c_uint()
    _check(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    kinds = set()
    for number in range(count.value):
        handle, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        _check(nvml.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)))
        _check(nvml.nvmlDeviceGetName(handle, name, len(name)))
        kinds.add(name.value)
    return len(kinds) == 1


def _check(code):
    if code:
        raise OSError(f"NVML answers with error {code}")

"""Photographs that strangers send: read from memory in the request's thread, as many at once as memory and cores allow."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from data.photographs import PhotographBytes, claimed_pixels
from machine.processor import available_cores, return_freed_memory
from serving.served_network import ServedNetwork

LARGE = 25_000_000  # pixels: a photograph of more is decoded alone


class Decoder:
    """Decodes as many photographs at once as there are cores, and a large one, which can take a gigabyte, by itself."""

    def __init__(self, slots: int | None = None):
        self._slots = slots or available_cores()
        self._free = self._slots
        self._changed = threading.Condition()
        self._turn = threading.Lock()  # whoever waits for slots is served before those that come later

    def pixels(self, photograph: PhotographBytes, networks: list[ServedNetwork]) -> list[np.ndarray]:
        """uint8 [3, S, S] for each of ``networks``; networks of the same view share one. Raises PhotographError."""
        large = claimed_pixels(photograph) > LARGE
        seen: dict[object, np.ndarray] = {}
        with self._taken(self._slots if large else 1):
            try:
                for network in networks:
                    if network.view not in seen:
                        seen[network.view] = network.pixels(photograph)
            finally:
                if large:
                    return_freed_memory()
        return [seen[network.view] for network in networks]

    @contextlib.contextmanager
    def _taken(self, slots: int) -> Iterator[None]:
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= slots)
            self._free -= slots
        try:
            yield
        finally:
            with self._changed:
                self._free += slots
                self._changed.notify_all()

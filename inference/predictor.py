"""What answers for a trained network: the network itself, or on a CPU its program in Paddle Inference, which is faster."""

from __future__ import annotations

import re
import time
from typing import Protocol

import numpy as np
import paddle

from config import Config
from inference.program_cache import cached_program, forget_program, program_of
from inference.program_predictor import ERRORS, ProgramPredictor
from inference.program_process import ProgramProcess
from messages.reason import reason_of
from messages.terminal import print_line
from messages.user_error import UserError
from trained.trained_run import TrainedRun

ENGINES = ("auto", "dynamic", "inference")
TOLERANCE = 1e-5
"""Largest difference of a probability between the two. Trained networks: up to 2.5e-6 in single photographs, the median 2.4e-7
to 7.7e-7. Both round: the network's own answers differ by 7e-7 between batch sizes of 1 and 16."""
SECONDS_TO_MAKE, SECONDS_TO_LOAD = 6.0, 1.0  # of the program of a ResNet50, with its check, on two cores
SAVED = 0.25  # the share of the network's time that the program saves, or more
SLOWER = 1.2  # a program that takes so much longer than the network is not used; less may be chance
MAX_REASON = 300  # characters of an error of Paddle's


class EngineError(UserError):
    """--engine inference, and Paddle Inference cannot be used."""


class Predictor(Protocol):
    """``predict``: images uint8 [N, 3, S, S], N from 0 on -> class probabilities float32 [N, C]."""

    def predict(self, pixels: np.ndarray) -> np.ndarray: ...


def open_predictor(run: TrainedRun, config: Config, photographs: int | None = None, apart: bool = False) -> Predictor:
    """What answers for the network of ``run``, as ``config.engine`` says; call machine.device.select_device before.

    "dynamic": the network itself, ``config.batch_size`` images at once. "inference": its program in Paddle Inference with
    oneDNN; raises EngineError where that cannot run. "auto": the program on a CPU, where ``photographs``, the number that is
    expected (None: no end), repay the seconds that it takes to make or load. The program answers only after its answers to the
    first batch were those of the network, to TOLERANCE; otherwise the network does, and one line says why. ``apart``: the
    program runs in a process of its own, so that other threads of this one go on. ``predict`` is for one thread at a time.
    Raises as TrainedRun.classifier does.
    """
    network = NetworkPredictor(run, config.batch_size)
    if config.engine == "dynamic":
        return network
    if not paddle.get_device().startswith("cpu"):
        if config.engine == "inference":
            raise EngineError(f"engine = 'inference' runs on a CPU, and the device is {paddle.get_device()}: add --device cpu")
        return network
    program = ProgramProcess if apart else ProgramPredictor
    return _Choice(run, config, network, photographs, program)


class NetworkPredictor:
    """The network itself, ``batch_size`` images at once."""

    def __init__(self, run: TrainedRun, batch_size: int):
        self.run, self.batch_size = run, batch_size

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        return self.run.predict(pixels, self.batch_size)


class _Choice:
    """The network for the first batches, then the program where it repays itself, answers the same and is no slower."""

    def __init__(self, run, config, network, photographs, program):
        self.run, self.config, self.network, self.program = run, config, network, program
        self.left = photographs
        self._chosen: Predictor | None = None
        self._first: tuple[np.ndarray, np.ndarray] | None = None  # the first batch and the network's answers to it

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        if self._chosen is not None:
            return self._answers(pixels)
        if not len(pixels):
            return self.network.predict(pixels)
        started = time.monotonic()
        answers = self.network.predict(pixels)
        seconds = (time.monotonic() - started) / len(pixels)  # of one photograph; of the first batch, more than later
        self.left = self.left and max(0, self.left - len(pixels))
        second, self._first = self._first is not None, self._first or (pixels, answers)
        if self.config.engine == "inference" or self.left is None:
            self._choose(None)
        elif not self._repays(seconds):
            self._chosen = self.network
        elif second:
            self._choose(seconds)
        return answers

    def _answers(self, pixels):
        """Those of the chosen one; the network's from now on where the program cannot go on, as where its process is killed."""
        try:
            return self._chosen.predict(pixels)
        except ERRORS as error:
            if self._chosen is self.network:
                raise
            self._use_the_network(_short_reason(error))
            return self.network.predict(pixels)

    def _repays(self, seconds):
        cost = SECONDS_TO_LOAD if cached_program(self.run) else SECONDS_TO_MAKE
        return self.left * seconds * SAVED > cost

    def _choose(self, seconds):
        """Use the program, or the network where it cannot be used; ``seconds``: the network's for a photograph, if known."""
        pixels, answers = self._first
        self._first = None
        try:
            self._chosen = self._checked_program(pixels, answers, seconds)
        except _NotUsedError as error:
            self._use_the_network(error)

    def _use_the_network(self, reason):
        if self.config.engine == "inference":
            raise EngineError(f"engine = 'inference': {reason}; --engine auto uses the network itself instead") from None
        print_line(f"the network itself runs in place of its program in Paddle Inference: {reason}")
        self._chosen = self.network

    def _checked_program(self, pixels, answers, seconds):
        try:
            threads = self.config.resolved().threads
            program = self.program(program_of(self.run), self.run.settings.image_size, self.config.batch_size, threads)
            difference = float(np.abs(program.predict(pixels) - answers).max())
            started = time.monotonic()
            program.predict(pixels)
        except ERRORS as error:
            forget_program(self.run)
            raise _NotUsedError(_short_reason(error)) from None
        if not difference <= TOLERANCE:  # also where it is no number
            forget_program(self.run)
            raise _NotUsedError(f"their probabilities differ by {difference:.1g}, more than {TOLERANCE:g}")
        of_program = (time.monotonic() - started) / len(pixels)
        if seconds is not None and of_program > SLOWER * seconds:
            raise _NotUsedError(f"it takes {of_program * 1000:.0f} ms for a photograph, the network {seconds * 1000:.0f} ms")
        return program


class _NotUsedError(Exception):
    """The program cannot be used; the message says why."""


def _short_reason(error):
    """The sentence of an error that says what is wrong; Paddle's own are pages long, with a stack of C++ functions."""
    text = reason_of(error)
    found = re.search(r"\w+Error: (.*?)(?= \[Hint|$)", text)
    return (found.group(1) if found else text)[:MAX_REASON]

"""What answers for a trained network: the network itself, or on a CPU its program in Paddle Inference, which is faster."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import paddle

from config import Config
from inference.program import NAME, program_file
from inference.program_cache import cached_program, forget_program, program_of
from inference.silence import STDOUT, silenced
from messages.reason import reason_of
from messages.terminal import print_line
from messages.user_error import UserError
from trained.trained_run import TrainedRun

ENGINES = ("auto", "dynamic", "inference")
TOLERANCE = 1e-5
"""Largest difference of a probability between the two. Trained networks: up to 2.5e-6 in single photographs, the median 2.4e-7
to 7.7e-7. Both round: the network's own answers differ by 7e-7 between batch sizes of 1 and 16."""
SECONDS_TO_MAKE, SECONDS_TO_LOAD = 8.0, 2.0  # of a ResNet50's program, with its check, on two cores
SAVED = 0.25  # the share of the network's time that the program saves, or more
SLOWER = 1.2  # a program that takes so much longer than the network is not used; less may be chance
MAX_REASON = 300  # characters of an error of Paddle's
ERRORS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, OSError, MemoryError)
"""What Paddle raises where it cannot make, load or run a program."""


class EngineError(UserError):
    """--engine inference, and Paddle Inference cannot be used."""


class Predictor(Protocol):
    """``predict``: images uint8 [N, 3, S, S], N from 0 on -> class probabilities float32 [N, C]."""

    def predict(self, pixels: np.ndarray) -> np.ndarray: ...


def open_predictor(run: TrainedRun, config: Config, photographs: int | None = None) -> Predictor:
    """What answers for the network of ``run``, as ``config.engine`` says; call machine.device.select_device before.

    "dynamic": the network itself, ``config.batch_size`` images at once. "inference": its program in Paddle Inference with
    oneDNN; raises EngineError where that cannot run. "auto": the program on a CPU, where ``photographs``, the number that is
    expected (None: no end), repay the seconds that it takes to make or load. The program answers only after its answers to the
    first batch were those of the network, to TOLERANCE; otherwise the network does, and one line says why. Not for several
    threads at once. Raises as TrainedRun.classifier does.
    """
    network = NetworkPredictor(run, config.batch_size)
    if config.engine == "dynamic":
        return network
    if not paddle.get_device().startswith("cpu"):
        if config.engine == "inference":
            raise EngineError(f"engine = 'inference' runs on a CPU, and the device is {paddle.get_device()}: add --device cpu")
        return network
    return _Choice(run, config, network, photographs)


class NetworkPredictor:
    """The network itself, ``batch_size`` images at once."""

    def __init__(self, run: TrainedRun, batch_size: int):
        self.run, self.batch_size = run, batch_size

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        return self.run.predict(pixels, self.batch_size)


class ProgramPredictor:
    """The program in ``folder``, of images of side ``size``, run by Paddle Inference with oneDNN in ``threads`` threads.

    ``predict`` gives at most ``batch_size`` images to it at once. Raises one of ERRORS where it cannot be loaded or run.
    """

    def __init__(self, folder: Path, size: int, batch_size: int, threads: int):
        self.batch_size = batch_size
        with silenced(STDOUT):  # stderr stays, for the line of a process that is ended meanwhile
            self._predictor = _load(folder, threads)
            self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
            self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])
            self._none = self._run(np.zeros((1, 3, size, size), np.uint8))[:0]  # it chooses its kernels, and names some

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        if not len(pixels):
            return self._none
        return np.concatenate(
            [self._run(pixels[start : start + self.batch_size]) for start in range(0, len(pixels), self.batch_size)]
        )

    def _run(self, pixels):
        self._input.copy_from_cpu(np.ascontiguousarray(pixels))
        self._predictor.run()
        return self._output.copy_to_cpu()


class _Choice:
    """The network for the first batches, then the program where it repays itself, answers the same and is no slower."""

    def __init__(self, run, config, network, photographs):
        self.run, self.config, self.network = run, config, network
        self.left = photographs
        self._chosen: Predictor | None = None
        self._first: tuple[np.ndarray, np.ndarray] | None = None  # the first batch and the network's answers to it

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        if self._chosen is not None:
            return self._chosen.predict(pixels)
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
            if self.config.engine == "inference":
                raise EngineError(f"engine = 'inference': {error}; --engine auto uses the network itself instead") from None
            print_line(f"the network itself runs in place of its program in Paddle Inference: {error}")
            self._chosen = self.network

    def _checked_program(self, pixels, answers, seconds):
        try:
            threads = self.config.resolved().threads
            program = ProgramPredictor(program_of(self.run), self.run.settings.image_size, self.config.batch_size, threads)
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


def _load(folder, threads):
    config = paddle.inference.Config(str(program_file(folder)), str(folder / f"{NAME}.pdiparams"))
    config.disable_gpu()
    config.disable_glog_info()
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(threads)
    return paddle.inference.create_predictor(config)


def _short_reason(error):
    """The sentence of an error that says what is wrong; Paddle's own are pages long, with a stack of C++ functions."""
    text = reason_of(error)
    found = re.search(r"\w+Error: (.*?)(?= \[Hint|$)", text)
    return (found.group(1) if found else text)[:MAX_REASON]

"""A network's program in a process of its own, so that the threads of this one go on while Paddle Inference computes.

The process reads images from its standard input and writes answers to its standard output, each as an array in NumPy's format,
after its length. An answer of bytes in place of probabilities is the message of an error. It ends when its input ends, as where
this process is killed.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import weakref
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from machine import processor
from messages.reason import reason_of

ROOT = Path(__file__).resolve().parent.parent
LENGTH = struct.Struct("<Q")
ENDING_SECONDS = 2  # for the process to end by itself


class ProgramProcess:
    """As inference.program_predictor.ProgramPredictor, whose errors, and the end of the process, are RuntimeErrors here."""

    def __init__(self, folder: Path, size: int, batch_size: int, threads: int):
        arguments = map(str, (Path(folder).absolute(), size, batch_size, threads))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "inference.program_process", *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which then closes its input
        )  # fmt: skip
        self._end = weakref.finalize(self, _end, self._process)
        try:
            self._answer()  # it has loaded the program
        except BaseException:  # Ctrl-C does not wait for it
            self._process.kill()
            raise

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        try:
            _write(cast(BinaryIO, self._process.stdin), pixels)
        except OSError:
            raise RuntimeError(self._how_it_ended()) from None
        return self._answer()

    def _answer(self) -> np.ndarray:
        answer = _read(cast(BinaryIO, self._process.stdout))
        if answer is None:
            raise RuntimeError(self._how_it_ended())
        if answer.dtype == np.uint8:
            raise RuntimeError(answer.tobytes().decode())
        return answer

    def _how_it_ended(self):
        self._end()
        return f"its process ended with code {self._process.returncode}"


def _write(file: BinaryIO, array: np.ndarray) -> None:
    whole = io.BytesIO()
    np.lib.format.write_array(whole, np.ascontiguousarray(array))
    file.write(LENGTH.pack(whole.tell()) + whole.getvalue())
    file.flush()


def _read(file: BinaryIO) -> np.ndarray | None:
    """The next array; None at the end, also within an array."""
    head = file.read(LENGTH.size)
    content = file.read(*LENGTH.unpack(head)) if len(head) == LENGTH.size else b""
    try:
        return np.lib.format.read_array(io.BytesIO(content))
    except ValueError:
        return None


def _end(process):
    with contextlib.suppress(OSError):  # it has gone, and cannot take what is left of a request
        process.stdin.close()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def answer_requests(folder: Path, size: int, batch_size: int, threads: int, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer arrays of images with probabilities until ``requests`` end; the first answer, of no images, says that it can."""
    processor.configure(threads)
    from inference.program_predictor import ERRORS, ProgramPredictor  # imports Paddle, so only now

    images: np.ndarray | None = np.empty((0, 3, size, size), np.uint8)
    try:
        program = ProgramPredictor(folder, size, batch_size, threads)
        while images is not None:
            _write(answers, program.predict(images))
            images = _read(requests)
    except ERRORS as error:
        _write(answers, np.frombuffer(reason_of(error).encode(), np.uint8))


def main() -> None:
    folder, *numbers = sys.argv[1:]
    size, batch_size, threads = map(int, numbers)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Paddle prints is no answer
    answer_requests(Path(folder), size, batch_size, threads, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()

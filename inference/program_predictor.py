"""A network's program in Paddle Inference with oneDNN."""

from pathlib import Path

import numpy as np
import paddle

from inference.program import NAME, program_file
from inference.silence import STDOUT, silenced

ERRORS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, OSError, MemoryError)
"""What Paddle raises where it cannot make, load or run a program."""


class ProgramPredictor:
    """The program in ``folder``, of images of side ``size``, run by Paddle Inference with oneDNN in ``threads`` threads.

    ``predict``: images uint8 [N, 3, S, S], N from 0 on -> class probabilities float32 [N, C]; it gives at most ``batch_size``
    images to the program at once. No other thread of the process runs meanwhile: Paddle keeps Python's lock. Raises one of
    ERRORS where the program cannot be loaded or run.
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


def _load(folder, threads):
    config = paddle.inference.Config(str(program_file(folder)), str(folder / f"{NAME}.pdiparams"))
    config.disable_gpu()
    config.disable_glog_info()
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(threads)
    return paddle.inference.create_predictor(config)

"""The device that Paddle computes on: its choice, deterministic results, and the memory in use.

This module imports Paddle, so call processor.configure before importing it.
"""

import sys
from typing import Optional

import paddle

from machine.energy import EnergyMeter, energy_meter
from messages.terminal import print_line
from messages.user_error import UserError

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


class DeviceError(UserError):
    """The requested device cannot be used."""


def select_device(device: str) -> str:
    """Set Paddle's device to ``device`` ("auto", "cpu" or "gpu") and return "cpu" or "gpu"; raises DeviceError."""
    obstacle = _gpu_obstacle()
    if device == "gpu" and obstacle:
        raise DeviceError(f"device = 'gpu': {obstacle}; --device cpu runs on the processor")
    if device == "auto" and obstacle and paddle.is_compiled_with_cuda():
        print_line(f"running on the processor: {obstacle}")
    chosen = "cpu" if obstacle or device == "cpu" else "gpu"
    paddle.set_device(chosen)
    return chosen


def make_deterministic() -> None:
    """Make Paddle's GPU operators give the same bits every time; CPU operators always do with the same number of threads."""
    if paddle.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_cudnn_deterministic": True, "FLAGS_cudnn_exhaustive_search": False})


def peak_memory() -> Optional[float]:
    """The maximum memory in MB (2**20 bytes) that this process has held so far; None if the system does not report it.

    GPU memory if Paddle computes on a GPU, else main memory.
    """
    if paddle.get_device().startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated() / 2**20
    if resource is None:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def meter_of_device() -> EnergyMeter:
    """Of the energy that this process's device uses from now on, and the processors with it."""
    device = paddle.get_device()
    return energy_meter(int(device.partition(":")[2] or 0) if device.startswith("gpu") else None)


def _gpu_obstacle() -> Optional[str]:
    """The reason why this Paddle cannot use a GPU here, or None if it can."""
    if not paddle.is_compiled_with_cuda():
        return "this Paddle is a CPU build"
    if paddle.device.cuda.device_count() == 0:
        return "no CUDA GPU answers"
    capability = paddle.device.cuda.get_device_capability()
    if paddle.__version__.startswith("2.") and tuple(capability) >= (9, 0):
        return (
            f"Paddle {paddle.__version__} has no code for this GPU (compute capability {capability[0]}.{capability[1]}); "
            f"Paddle 3 from Paddle's own index has: see README"
        )
    return None

"""The device that Paddle computes on: the choice of it, whether it gives the same bits every time, the memory it takes.

This module imports Paddle: see processor.configure.
"""

import sys
from typing import Optional

import paddle

from messages.user_error import UserError

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


class DeviceError(UserError):
    """The device that was asked for is not there."""


def select_device(device: str) -> str:
    """Make ``device`` ("auto", "cpu" or "gpu") Paddle's device and return the one taken, "cpu" or "gpu"; raises DeviceError."""
    obstacle = _gpu_obstacle()
    if device == "gpu" and obstacle:
        raise DeviceError(f"device = 'gpu': {obstacle}; --device cpu runs on the processor")
    if device == "auto" and obstacle and paddle.is_compiled_with_cuda():
        print(f"running on the processor: {obstacle}", file=sys.stderr)
    taken = "cpu" if obstacle or device == "cpu" else "gpu"
    paddle.set_device(taken)
    return taken


def make_deterministic() -> None:
    """Let Paddle's GPU operators give the same bits every time; on a CPU they do, with the same number of threads."""
    if paddle.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_cudnn_deterministic": True, "FLAGS_cudnn_exhaustive_search": False})


def peak_memory() -> Optional[float]:
    """The most memory in MB that this process has held so far; None where the system does not tell.

    On the GPU where Paddle computes there, else main memory.
    """
    if paddle.get_device().startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated() / 2**20
    if resource is None:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _gpu_obstacle() -> Optional[str]:
    """Why this Paddle cannot use a GPU here, or None where it can."""
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

"""Decides whether the fused operators run, and is the only module that calls them.

The fused operators (ops/csrc) compute the same as the plain ones, in fewer passes over memory. They are an accelerator, never a
requirement: where they cannot be built or do not support a type, the plain ones run after one line that says why. The mode
applies to the whole process, like Paddle's device.
"""

import contextlib
import functools
import shutil
import sys
from collections.abc import Iterator
from typing import Any, Callable, Optional

import paddle
from paddle import Tensor

from messages.reason import reason_of
from messages.user_error import UserError
from ops import build

MODES = ("auto", "on", "off")
_mode = "auto"
_suspended = 0
_runner: Optional[Callable[..., Any]] = None  # calls an operator by its name; set when the library is loaded
_obstacle: Optional[str] = None  # why the library cannot be loaded
_reported: set[str] = set()


class FusedError(UserError):
    """--fused on, and the fused operators cannot run."""


def set_mode(mode: str) -> None:
    """Choose when the fused operators run. "auto": where possible; "on": always; "off": never.

    "on" builds and loads them now and raises FusedError where that fails; "auto" does so at their first use. Raises ValueError
    for another mode.
    """
    global _mode
    if mode not in MODES:
        raise ValueError(f"mode = {mode!r}: expected one of {', '.join(MODES)}")
    _mode = mode
    if mode == "on":
        _load()


@contextlib.contextmanager
def plain_operators() -> Iterator[None]:
    """Use plain operators only within the block, as exporting a model or counting its operations requires."""
    global _suspended
    _suspended += 1
    try:
        yield
    finally:
        _suspended -= 1


@paddle.jit.not_to_static  # Paddle 2.6 would convert it to code that does not compile
def usable(x: Tensor) -> bool:
    """Whether the fused operators are to process the feature map ``x`` [N, C, H, W]; the first call builds and loads them.

    In mode "on" raises FusedError where they cannot.
    """
    traced = not isinstance(x, paddle.Tensor)
    if _mode == "off" or _suspended or traced or 0 in x.shape:
        return False
    on_gpu = x.place.is_gpu_place()
    types = (paddle.float32, paddle.float16, paddle.bfloat16) if on_gpu else (paddle.float32, paddle.float64)
    if x.dtype not in types:
        return _refuse(f"they have no code for {x.dtype} on {'a GPU' if on_gpu else 'a CPU'}")
    if on_gpu and _cuda_arch() is None:
        return _refuse("no nvcc on PATH to build the CUDA kernels with")
    return _load()


def run(name: str, *arguments: Any) -> Tensor:
    """The first output of the operator ``name``; ``usable`` must have returned True before."""
    if _runner is None:
        raise RuntimeError("the fused operators are not loaded: call usable() first")
    return _runner(name, *arguments)[0]


def _refuse(reason: str) -> bool:
    """Report once why plain operators run; return False. In mode "on" raise FusedError instead."""
    if _mode == "on":
        raise FusedError(f"fused = 'on': {reason}; --fused auto runs the plain operators instead")
    if reason not in _reported:
        _reported.add(reason)
        print(f"plain operators run in place of the fused ones: {reason}", file=sys.stderr)
    return False


def _load() -> bool:
    """Build and load the library once; whether that succeeded."""
    global _runner, _obstacle
    if _runner is None and _obstacle is None:
        try:
            path = build.library(_cuda_arch())
            # Here and not at the top: a private module, which another version of Paddle may lack
            from paddle.utils.cpp_extension.extension_utils import load_op_meta_info_and_register_op

            load_op_meta_info_and_register_op(str(path))
            # Paddle 3 moved it
            _runner = getattr(paddle._C_ops, "_run_custom_op", None) or paddle.base.core.eager._run_custom_op
        except (OSError, RuntimeError, ImportError, AttributeError) as error:  # BuildError is a RuntimeError
            _obstacle = reason_of(error)
    return _refuse(_obstacle) if _obstacle else True


@functools.cache
def _cuda_arch() -> Optional[str]:
    """The architecture to build CUDA kernels for, such as "sm_80"; None to build for the CPU alone."""
    if not paddle.is_compiled_with_cuda() or paddle.device.cuda.device_count() == 0 or shutil.which("nvcc") is None:
        return None
    return "sm_{}{}".format(*paddle.device.cuda.get_device_capability())

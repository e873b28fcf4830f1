"""Whether the fused operators run, and the one place that calls them.

The fused operators (ops/csrc) compute what the plain ones do, in fewer passes over memory. They are an accelerator, never a
requirement: where they cannot be built or do not know a type, the plain ones run after one line that says why. The mode holds
for the whole process, as Paddle's device does.
"""

import contextlib
import functools
import shutil
import sys

import paddle

from messages.user_error import UserError

MODES = ("auto", "on", "off")
_mode = "auto"
_suspended = 0
_runner = None  # calls an operator by its name; set when the library is loaded
_obstacle = None  # why the library cannot be loaded
_reported = set()


class FusedError(UserError):
    """--fused on, and the fused operators cannot run."""


def set_mode(mode) -> None:
    """ "auto": use the fused operators where they can run; "on": raise FusedError where they cannot; "off": never.

    "on" builds and loads them at once, the others when they are first needed.
    """
    global _mode
    if mode not in MODES:
        raise ValueError(f"mode = {mode!r}: expected one of {', '.join(MODES)}")
    _mode = mode
    if mode == "on":
        _load()


@contextlib.contextmanager
def plain_operators():
    """Within: Paddle's own operators only, as an exported model and a count of operations need them."""
    global _suspended
    _suspended += 1
    try:
        yield
    finally:
        _suspended -= 1


@paddle.jit.not_to_static  # what Paddle 2.6 would make of it does not compile
def usable(x) -> bool:
    """Whether the fused operators take over for the feature map ``x`` [N, C, H, W]; builds and loads them when first asked.

    In mode "on" raises FusedError where they should but cannot.
    """
    traced = not isinstance(x, paddle.Tensor)
    if _mode == "off" or _suspended or traced or 0 in x.shape:
        return False
    on_gpu = x.place.is_gpu_place()
    types = (paddle.float32, paddle.float16, paddle.bfloat16) if on_gpu else (paddle.float32, paddle.float64)
    if x.dtype not in types:
        return _refuse(f"they have no code for {x.dtype} on {'a GPU' if on_gpu else 'a CPU'}")
    if on_gpu and _cuda_obstacle():
        return _refuse(_cuda_obstacle())
    return _load()


def run(name, *arguments):
    """The first output of the operator ``name``, which ``usable`` has found to be there."""
    return _runner(name, *arguments)[0]


def _refuse(reason) -> bool:
    if _mode == "on":
        raise FusedError(f"fused = 'on': {reason}; --fused auto runs the plain operators instead")
    if reason not in _reported:
        _reported.add(reason)
        print(f"plain operators run in place of the fused ones: {reason}", file=sys.stderr)
    return False


def _load() -> bool:
    global _runner, _obstacle
    if _runner is None and _obstacle is None:
        try:
            from ops import build

            path = build.library(_cuda_arch())
            from paddle.utils.cpp_extension.extension_utils import load_op_meta_info_and_register_op

            load_op_meta_info_and_register_op(str(path))
            # Paddle 3 has moved it
            _runner = getattr(paddle._C_ops, "_run_custom_op", None) or paddle.base.core.eager._run_custom_op
        except (OSError, RuntimeError, ImportError, AttributeError) as error:  # BuildError is a RuntimeError
            _obstacle = str(error)
    return _refuse(_obstacle) if _obstacle else True


def _cuda_obstacle():
    """Why the CUDA kernels are not there, or None."""
    return None if _cuda_arch() else "no nvcc on PATH to build the CUDA kernels with"


@functools.cache
def _cuda_arch():
    """The architecture to build CUDA kernels for, such as "sm_80"; None for the CPU alone."""
    if not paddle.is_compiled_with_cuda() or paddle.device.cuda.device_count() == 0 or shutil.which("nvcc") is None:
        return None
    return "sm_{}{}".format(*paddle.device.cuda.get_device_capability())

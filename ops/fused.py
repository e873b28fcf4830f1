"""Decides whether the fused operators run, and is the only module that calls them.

The fused operators (ops/csrc) compute the same as the plain ones, in fewer passes over memory. They are an accelerator, never a
requirement: where they cannot be built or do not support a type, the plain ones run after one line that says why. The mode
applies to the whole process, like Paddle's device.
"""

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import paddle
from paddle import Tensor

from machine.private_folder import loadable
from messages.reason import reason_of
from messages.terminal import print_line
from messages.user_error import UserError
from ops import build, cuda_kernels, self_test

MODES = ("auto", "on", "off")
TYPES_ON_GPU = (paddle.float32, paddle.float16, paddle.bfloat16)  # by the numbers of ops/csrc/block_end_capi.h
TYPES_ON_CPU = (paddle.float32, paddle.float64)
_mode = "auto"
_suspended = 0
_runner: Optional[Callable[..., Any]] = None  # calls an operator by its name; set when the operators are loaded
_kernels = cuda_kernels.Kernels()  # for the GPU; set when they are loaded
_kernels_take_cpu = False  # they run on the CPU, for tensors in the host's memory
_reported: set[str] = set()


class FusedError(UserError):
    """--fused on, and the fused operators cannot run."""


def set_mode(mode: str) -> None:
    """Choose when the fused operators run. "auto": where possible; "on": always; "off": never.

    "on" builds and loads them for Paddle's current device now and raises FusedError where that fails; "auto" does so at their
    first use. Raises ValueError for another mode.
    """
    global _mode
    if mode not in MODES:
        raise ValueError(f"mode = {mode!r}: expected one of {', '.join(MODES)}")
    _mode = mode
    if mode == "on" and (obstacle := _obstacle(on_gpu=paddle.get_device().startswith("gpu"))):
        _refuse(obstacle)


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
def usable(x: Tensor, channels_last: bool = False, half: int = 0) -> bool:
    """Whether the fused operators are to process the feature map ``x``; the first call builds and loads them.

    ``x``: [N, C, H, W], with ``channels_last`` [N, H, W, C], for which only the kernels have code: on a CPU plain operators
    run. ``half``: C / (2 * groups) of Shuffle Attention, 0 without. In mode "on" raises FusedError where they cannot.
    """
    traced = not isinstance(x, paddle.Tensor)
    if _mode == "off" or _suspended or traced or 0 in x.shape:
        return False
    on_gpu = x.place.is_gpu_place()
    if x.dtype not in (TYPES_ON_GPU if on_gpu else TYPES_ON_CPU):
        return _refuse(f"they have no code for {x.dtype} on {'a GPU' if on_gpu else 'a CPU'}")
    if channels_last and not on_gpu and not _kernels_take_cpu:
        # No line in mode "auto": on a CPU nobody asks for NHWC for its speed
        return _mode == "on" and _refuse("on a CPU they have no code for NHWC feature maps, as --layout nhwc asks for")
    obstacle = _obstacle_in_nhwc(on_gpu=on_gpu) if channels_last else _obstacle(on_gpu=on_gpu)
    if on_gpu and obstacle is None:
        obstacle = _obstacle_of_map(x, channels_last, half)
    return obstacle is None or _refuse(obstacle)


@paddle.jit.not_to_static
def convolves(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is to convolve ``x`` [N, C, H, W], or in blocks of channels, with ``weight``: on a CPU, in float32."""
    if not isinstance(x, paddle.Tensor) or x.dtype != paddle.float32 or weight.dtype != paddle.float32:
        return False
    if x.place.is_gpu_place() or not usable(x):
        return False
    obstacle = _obstacle_of_convolutions()
    if obstacle and obstacle not in _reported:
        _reported.add(obstacle)
        print_line(f"Paddle's own convolutions run: {obstacle}")
    return obstacle is None


@paddle.jit.not_to_static
def lanes(x: Tensor) -> int:
    """Channels in a block of the layout that oneDNN wants for maps like ``x`` [N, C, H, W]; 0: they are to stay as they are."""
    return _lanes() if convolves(x, x) else 0


def dense(x: Tensor) -> Tensor:
    """``x`` in the order of its shape, as the operators read memory: Paddle returns transposed and sliced tensors as views."""
    return x if x.is_contiguous() else x.contiguous()


def absent(x: Tensor, dtype: paddle.dtype) -> Tensor:
    """What stands for an input of an operator that does not apply, on the device of ``x``."""
    return _absent(dtype, x.place.gpu_device_id() if x.place.is_gpu_place() else None)


@functools.cache
def _absent(dtype, device):
    return paddle.to_tensor([], dtype, place=paddle.CPUPlace() if device is None else paddle.CUDAPlace(device))


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
        print_line(f"plain operators run in place of the fused ones: {reason}")
    return False


@functools.cache
def _obstacle(*, on_gpu: bool) -> Optional[str]:
    """Why the fused operators cannot run on a GPU, or on a CPU; None if they can. The first call builds, loads and tries them.

    Without kernels for the GPU, and even where these fail, the operators run on the CPU.
    """
    try:
        operators = _load_operators()
        if on_gpu:
            _load_kernels(operators)
        return _fault(channels_last=False)
    except (OSError, RuntimeError, ImportError, AttributeError) as error:  # BuildError is a RuntimeError
        return reason_of(error)


@functools.cache
def _obstacle_in_nhwc(*, on_gpu: bool) -> Optional[str]:
    """The same for feature maps in NHWC, for which the kernels have code of their own."""
    return _obstacle(on_gpu=on_gpu) or _fault(channels_last=True)


@functools.cache
def _obstacle_of_convolutions() -> Optional[str]:
    """Why oneDNN cannot convolve on the CPU; None if it can. The first call tries it."""
    asked = ctypes.CDLL(str(_load_operators())).convolution_obstacle
    asked.restype = ctypes.c_char_p
    reason = asked()
    return reason.decode() if reason else self_test.fault_of_convolution(run)


def obstacle_of_bfloat16() -> Optional[str]:
    """Why convolutions cannot run in bfloat16 on the CPU (ops.convolution.in_bfloat16); None if they can. The first call tries
    it, and builds and loads the operators."""
    if _mode == "off":
        return "--fused off"
    obstacle = _obstacle(on_gpu=False) or _obstacle_of_convolutions()
    return obstacle or self_test.fault_of_convolution(run, bfloat16=True)


@functools.cache
def _lanes() -> int:
    """Channels in a block, as oneDNN and the kernels have it on this processor; 0: none. The first call tries them."""
    asked = ctypes.CDLL(str(_load_operators())).convolution_lanes
    asked.restype = ctypes.c_int64
    size = asked()
    fault = self_test.fault_of_blocks(run, size)
    if fault is not None:
        print_line(f"feature maps stay in planes: {fault}")
    return size if fault is None else 0


def choose_own_convolutions(when: int) -> None:
    """Let our own convolutions run in place of oneDNN's never (0), by their rules (1), or wherever they can (2)."""
    ctypes.CDLL(str(_load_operators())).convolution_choose_own(when)


def _fault(*, channels_last):
    fault = self_test.fault(run, channels_last)
    return fault and (_kernels.fault or fault)


@functools.cache
def _load_operators() -> Path:
    global _runner
    name = loadable(build.built(build.Operators()))
    # Here and not at the top: a private module, which another version of Paddle may lack
    from paddle.utils.cpp_extension.extension_utils import load_op_meta_info_and_register_op

    load_op_meta_info_and_register_op(name)
    # Paddle 3 moved it
    _runner = getattr(paddle._C_ops, "_run_custom_op", None) or paddle.base.core.eager._run_custom_op
    return Path(name)


def _load_kernels(operators):
    """Let the loaded ``operators`` use kernels for the current GPU."""
    global _kernels
    _kernels = cuda_kernels.load()
    use_kernels(operators, _kernels.library)


def _obstacle_of_map(x: Tensor, channels_last: bool = False, half: int = 0) -> Optional[str]:
    """Why the loaded kernels cannot process this feature map on a GPU; None if they can."""
    device, current = x.place.gpu_device_id(), paddle.base.framework._current_expected_place()
    if not hasattr(current, "get_device_id") or current.get_device_id() != device:  # Paddle gives an operator its stream
        now = paddle.get_device()
        return f"a feature map is on gpu:{device} and the current device is {now}: call paddle.set_device before"
    if paddle.base.core.use_layout_autotune():
        return "paddle.incubate.autotune may store feature maps as NHWC, behind the operators: switch its layout off"
    dtype = TYPES_ON_GPU.index(x.dtype)
    if channels_last:
        return _obstacle_of_maps(dtype, x.shape[3], x.shape[1] * x.shape[2], half, True)
    return _obstacle_of_maps(dtype, 1, x.shape[2] * x.shape[3], 0, False)  # in NCHW the kernels depend on the plane alone


@functools.cache
def _obstacle_of_maps(dtype: int, channels: int, plane: int, half: int, channels_last: bool) -> Optional[str]:
    """Why the loaded kernels cannot process such feature maps; None if they can. The arguments are those of ``prepare``.

    The first call compiles them: where that fails in the middle of a training step, it is too late for plain operators.
    """
    return _kernels.prepare(dtype, channels, plane, half, channels_last)


def use_kernels(operators: Path, kernels: Optional[ctypes.CDLL], on_cpu: bool = False) -> None:
    """Let the library ``operators`` call the functions of ops/csrc/block_end_capi.h in ``kernels``; None: no longer.

    ``on_cpu``: for tensors in the host's memory too, as kernels that run on the CPU want it.
    """
    global _kernels_take_cpu
    _kernels_take_cpu = on_cpu and kernels is not None
    names = ("forward", "backward", "forward_workspace", "backward_workspace", "error")
    functions = [kernels and ctypes.cast(getattr(kernels, f"block_end_{name}"), ctypes.c_void_p) for name in names]
    ctypes.CDLL(str(operators)).block_end_use_kernels(*functions, int(on_cpu))

"""Runs every CUDA kernel of the block end on small feature maps, through the C interface and CUDA's driver alone.

    python benchmarks/cuda_small_shapes.py [--compiler nvcc|nvrtc] [--library FILE]

It is what benchmarks/gpu_sanitize.py has compute-sanitizer watch: each array has memory of its own, of its exact size, and what
the kernels write has no value before. Needs a GPU and NumPy, and nvcc or, with Paddle, NVRTC; not PyTorch.
"""

import argparse
import ctypes
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import block_end_interface as interface

DRIVER = "libcuda.so.1"
PLANES = (49, 196, 210, 300, 784, 1089, 1204, 1849, 3136, 4104)
"""Values of a plane: together they reach every layout of block_end_launch.h for planes, for each type."""
WIDTHS = {False: ((8, 2),), True: ((8, 2), (6, 3))}
"""(channels, half of the attention) by whether channels come last; then six of them reach the kernels for one at a time."""
IMAGES = 2
MOMENTUM, NORM_EPSILON, ATTENTION_EPSILON = 0.9, 1e-5, 1e-5
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...


class NoGpu(Exception):
    """Why no GPU can be used."""


class Device:
    """The first GPU, by CUDA's driver. Raises NoGpu."""

    def __init__(self, driver: Optional[str] = None):
        try:
            self.library = ctypes.CDLL(driver or DRIVER)
        except OSError as error:
            raise NoGpu(f"no NVIDIA driver ({error})") from None
        self.memory: list[int] = []
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self.stream = stream.value
        self.architecture = 10 * self._attribute(MAJOR, device) + self._attribute(MINOR, device)
        name = ctypes.create_string_buffer(100)
        self._call("cuDeviceGetName", name, len(name), device)
        self.name = name.value.decode(errors="replace")

    def empty(self, count: int) -> int:
        """The address of ``count`` bytes without a value."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(count))
        self.memory.append(address.value)
        return address.value

    def holding(self, values: np.ndarray) -> int:
        """The address of a copy of ``values``."""
        address = self.empty(values.nbytes)
        host, count = ctypes.c_void_p(values.ctypes.data), ctypes.c_size_t(values.nbytes)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), host, count)
        return address

    def read(self, address: int, like: np.ndarray) -> np.ndarray:
        """What is there, in an array like ``like``, after all work is done."""
        values = np.empty_like(like)
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))
        host, count = ctypes.c_void_p(values.ctypes.data), ctypes.c_size_t(values.nbytes)
        self._call("cuMemcpyDtoH_v2", host, ctypes.c_uint64(address), count)
        return values

    def free(self) -> None:
        """All of its memory."""
        while self.memory:
            self._call("cuMemFree_v2", ctypes.c_uint64(self.memory.pop()))

    def _attribute(self, which, device):
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), which, device)
        return value.value

    def _call(self, name, *arguments):
        error = getattr(self.library, name)(*arguments)
        if error:
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(error, ctypes.byref(text))
            raise NoGpu(f"{name} fails: {(text.value or b'an error without a name').decode()} ({error})")


class Case(NamedTuple):
    """One call of both passes. ``norm``: None, "batch" or "running"."""

    dtype: str
    plane: int
    channels_last: bool
    channels: int
    half: int
    norm: Optional[str]
    residual: bool
    relu: bool


def cases(planes: Sequence[int] = PLANES) -> Iterator[Case]:
    """The calls of a training and of an evaluation, for each size, type and layout."""
    kinds = (
        (True, "batch", True, True),  # the end of a block of an SA-ResNet
        (False, "batch", False, True),  # batch norm and ReLU
        (False, "batch", True, True),  # the end of a block of a ResNet
        (True, None, False, False),  # Shuffle Attention alone
        (True, "running", True, True),  # in evaluation
    )
    for channels_last, dtype, plane, kind in itertools.product(WIDTHS, interface.TYPES, planes, kinds):
        for channels, half in WIDTHS[channels_last]:
            yield Case(dtype, plane, channels_last, channels, half if kind[0] else 0, *kind[1:])


def run(device: Device, library: ctypes.CDLL, case: Case) -> Optional[str]:
    """Both passes of a case. Returns the name of an output that has a value which is no finite number, or None."""
    generator = np.random.default_rng(0)

    def drawn(*shape, mean=0.3):
        return (generator.standard_normal(shape) + mean).astype(np.float32)

    maps, host = encoded(drawn(IMAGES, case.channels, case.plane), case.dtype), {}
    inputs = {"x": maps, "dout": encoded(drawn(IMAGES, case.channels, case.plane), case.dtype)}
    written = {"out": maps, "dx": maps}
    if case.residual:
        inputs["residual"], written["dresidual"] = maps, maps
    if case.norm:
        inputs.update({name: drawn(case.channels, mean=1) for name in interface.NORM})
        inputs.update(running_mean=drawn(case.channels), running_variance=np.abs(drawn(case.channels)) + 0.5)
        written["channel_stats"] = drawn(case.channels, 2)
        written.update({f"d{name}": drawn(case.channels) for name in interface.NORM})
    if case.half:
        inputs.update({name: drawn(case.half) for name in interface.PARAMETERS})
        written["plane_stats"] = drawn(IMAGES, case.channels, 2)
        written.update({f"d{name}": drawn(case.half) for name in interface.PARAMETERS})
    shape = interface.shape_of(IMAGES, case.channels, case.plane, case.half, case.channels_last)
    options = (case.relu, case.norm == "batch", MOMENTUM, NORM_EPSILON, ATTENTION_EPSILON)
    try:
        pointers = {name: device.holding(values) for name, values in inputs.items()}
        pointers.update({name: device.empty(values.nbytes) for name, values in written.items()})
        workspace = device.empty(4 * interface.workspace_floats(library, shape))
        interface.call(library, "forward", case.dtype, shape, options, pointers, workspace, device.stream)
        if not (case.relu and case.residual):  # else block_end.h wants the output, for its sign
            pointers["out"], kept = None, pointers["out"]
            host["out"] = device.read(kept, maps)
        interface.call(library, "backward", case.dtype, shape, options, pointers, workspace, device.stream)
        host.update({name: device.read(pointers[name], written[name]) for name in written if pointers[name] is not None})
    finally:
        device.free()
    return next((name for name, values in host.items() if not finite(values)), None)


def encoded(values: np.ndarray, dtype: str) -> np.ndarray:
    """In the type of a feature map; bfloat16 as uint16 with its bits, the last ones cut off."""
    if dtype == "bfloat16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(dtype)


def finite(values: np.ndarray) -> bool:
    """Whether all are finite numbers; uint16 as the bits of bfloat16."""
    floats = (values.astype(np.uint32) << 16).view(np.float32) if values.dtype == np.uint16 else values
    return bool(np.isfinite(floats).all())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    by_default = "nvcc" if interface.find_tool("nvcc") else "nvrtc"
    parser.add_argument("--compiler", choices=("nvcc", "nvrtc"), default=by_default)
    parser.add_argument("--library", type=Path, metavar="FILE", help="kernels that nvcc has compiled before")
    parser.add_argument("--planes", nargs="+", type=int, default=PLANES, help="sizes of a plane, H * W")
    arguments = parser.parse_args()
    try:
        device = Device()
    except NoGpu as reason:
        print(f"This check needs an NVIDIA GPU: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        if arguments.library:
            library = interface.load(arguments.library)
        elif arguments.compiler == "nvcc":
            library = interface.load(interface.build(Path(folder), device.architecture))
        else:
            library = interface.kernels_of_nvrtc(device.architecture)
        chosen = list(cases(arguments.planes))
        for case in chosen:
            wrong = run(device, library, case)
            if wrong:
                print(f"{case}: {wrong} has a value that is no finite number", file=sys.stderr)
                return 1
    print(f"{device.name} (sm_{device.architecture}): {len(chosen)} calls of both passes, every output is finite")
    return 0


if __name__ == "__main__":
    sys.exit(main())

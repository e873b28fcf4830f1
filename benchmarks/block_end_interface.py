"""The C interface of the CUDA kernels (ops/csrc/block_end_capi.h), called from Python through ctypes.

Neither Paddle nor PyTorch is needed where nvcc compiles the kernels; NVRTC needs Paddle, any build of it.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "ops" / "csrc" / "block_end_capi.cu"
TYPES = ("float32", "float16", "bfloat16")  # by the numbers of block_end_capi.h
PARAMETERS = ("cweight", "cbias", "sweight", "sbias", "gamma", "beta")
NORM = ("norm_weight", "norm_bias")
FORWARD = ("x", "residual", *NORM, "running_mean", "running_variance", *PARAMETERS, "out", "plane_stats", "channel_stats")
BACKWARD = (
    "x", "out", "dout", *NORM, *PARAMETERS, "plane_stats", "channel_stats", "dx", "dresidual",
    *(f"d{name}" for name in (*NORM, *PARAMETERS)),
)  # fmt: skip
"""The pointers of each pass, in order."""
TOOLKIT = "/usr/local/cuda"


def find_tool(name: str) -> Optional[str]:
    """The path of a program of CUDA's toolkit: on PATH, else in $CUDA_HOME, $CUDA_PATH or /usr/local/cuda."""
    folders = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), TOOLKIT]
    places = [name, *(os.path.join(folder, "bin", name) for folder in folders if folder)]
    return next(filter(None, map(shutil.which, places)), None)


def build(folder: Path, architecture: int, options: Sequence[str] = ()) -> Path:
    """The kernels as a library in ``folder``, compiled by nvcc for GPUs of ``architecture``, such as 80. Raises SystemExit."""
    nvcc = find_tool("nvcc")
    if nvcc is None:
        raise SystemExit("nvcc, CUDA's compiler, is not there; install the CUDA toolkit, or use --compiler nvrtc.")
    target = Path(folder) / "block_end.so"
    command = [nvcc, "-O3", "-std=c++17", f"-arch=sm_{architecture}", *options, "-shared", "-Xcompiler", "-fPIC"]
    if subprocess.run([*command, str(SOURCE), "-o", str(target)], check=False).returncode:
        raise SystemExit("nvcc failed, see above.")
    return target


def kernels_of_nvrtc(architecture: Optional[int] = None) -> ctypes.CDLL:
    """The library that launches what NVRTC compiles, as in a training. Raises SystemExit."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from ops import cuda_kernels, nvrtc  # here: they need Paddle, which is optional with nvcc

    compiler = nvrtc.find(architecture)
    if compiler is None:
        raise SystemExit(f"NVRTC is not installed: pip install {nvrtc.package()}")
    try:
        kernels = cuda_kernels.KernelsOfNvrtc(compiler, cuda_kernels.DRIVER)
    except (RuntimeError, OSError) as error:  # BuildError is a RuntimeError
        raise SystemExit(f"The kernels cannot be had: {error}") from None
    kernels.library.kernels = kernels  # its functions call this object
    return typed(kernels.library)


def load(path: object) -> ctypes.CDLL:
    """The library of the kernels, opened with the types of block_end_capi.h."""
    return typed(ctypes.CDLL(str(path)))


def typed(library: ctypes.CDLL) -> ctypes.CDLL:
    for name in ("block_end_forward_workspace", "block_end_backward_workspace"):
        getattr(library, name).restype = ctypes.c_int64
    library.block_end_error.restype = ctypes.c_char_p
    return library


def shape_of(images: int, channels: int, plane: int, half: int, channels_last: bool = False) -> ctypes.Array:
    """``plane``: H * W. ``half``: C / (2 * groups), 0 without attention."""
    return (ctypes.c_int64 * 5)(images, channels, plane, half, channels_last)


def workspace_floats(library: ctypes.CDLL, shape: ctypes.Array) -> int:
    """How many floats of workspace serve both passes."""
    return max(library.block_end_forward_workspace(shape), library.block_end_backward_workspace(shape))


def call(
    library: ctypes.CDLL, name: str, dtype: str, shape: ctypes.Array, options: tuple, pointers: Mapping[str, Optional[int]],
    workspace: int, stream: Optional[int],
) -> None:  # fmt: skip
    """Queue the pass ``name``, "forward" or "backward". Raises SystemExit for an error of CUDA's.

    ``options``: ReLU, batch statistics, momentum, batch norm's epsilon, the attention's. ``pointers``: addresses by the names
    in FORWARD or BACKWARD; what is missing is null.
    """
    relu, batch_statistics, *values = options
    addresses = [pointers.get(each) for each in (FORWARD if name == "forward" else BACKWARD)]
    error = getattr(library, f"block_end_{name}")(
        TYPES.index(dtype), shape, int(relu), int(batch_statistics), (ctypes.c_double * 3)(*values),
        (ctypes.c_void_p * len(addresses))(*addresses), ctypes.c_void_p(workspace), ctypes.c_void_p(stream),
    )  # fmt: skip
    if error:
        raise SystemExit(f"CUDA error {error}: {library.block_end_error(error).decode()}")

"""The CUDA kernels in this process: compiled for its GPU and loaded, by NVRTC where there is one, else by nvcc.

With NVRTC, each size and type of feature map is compiled when it is first needed, for the very card, and launched through
CUDA's driver; neither a CUDA toolkit nor its runtime is needed. NVRTC comes first, although nvcc may be there too: it is of
Paddle's own version of CUDA, so that the driver knows its machine code, and a few sizes compile faster than all of them.
"""

import _thread
import ctypes
from pathlib import Path
from typing import Optional

import paddle

from machine.private_folder import loadable, open_private
from messages.reason import reason_of
from messages.terminal import print_line
from ops import build, nvrtc
from ops.build import BuildError, Library
from ops.nvrtc import Nvrtc

DRIVER = "libcuda.so.1"
TYPES = ("float", "__half", "__nv_bfloat16")  # by the numbers of block_end_capi.h
_said: set[int] = set()  # the architectures for which a line has said that kernels are compiled


class Cubin(Library):
    """Machine code of block_end_cubin.cu for GPUs of one architecture, such as 80: the kernels of one type and layout.

    ``dtype``: a number of block_end_capi.h. ``layout``: vector, threads, loads. With ``dtype`` -1, the kernels without either.
    """

    name = "kernels.cubin"
    quiet = True

    def __init__(self, compiler: Nvrtc, dtype: int, layout: tuple[int, int, int], architecture: int):
        self.compiler, self.architecture = compiler, architecture
        self.built_for = f"GPUs (sm_{architecture})"
        self.options = ["-std=c++17", f"-I{build.SOURCES}"]
        if dtype >= 0:
            self.options.append(f"-DBLOCK_END_TYPE={TYPES[dtype]}")
            self.options += [f"-DBLOCK_END_{name}={value}" for name, value in zip(("VECTOR", "THREADS", "LOADS"), layout)]

    def make(self, folder: Path) -> None:
        if self.architecture not in _said:
            _said.add(self.architecture)
            name = f"NVRTC {self.compiler.version}"
            print_line(f"{name} compiles the fused operators for {self.built_for}, each size of feature map once ...")
        source = build.SOURCES / "block_end_cubin.cu"
        (folder / self.name).write_bytes(self.compiler.compile(source, self.options, self.architecture))

    def recipe(self) -> list[str]:
        return [f"NVRTC {self.compiler.version}", f"sm_{self.architecture}", *self.options]


class Kernels:
    """Loaded kernels: ``library`` has the functions of block_end_capi.h. ``fault``: why the last build failed, or None."""

    library: ctypes.CDLL
    fault: Optional[str] = None

    def prepare(self, dtype: int, channels: int, plane: int, half: int, channels_last: bool) -> Optional[str]:
        """Get ready for feature maps on the current GPU. Returns what is in the way, or None.

        ``dtype``: a number of block_end_capi.h. ``plane``: H * W. ``half``: C / (2 * groups), 0 without attention.
        """
        return None


class KernelsOfNvcc(Kernels):
    """All kernels in one library, launched by the CUDA runtime in it. Raises BuildError, OSError.

    ``architecture``: of the GPU, such as 80. ``why``: why not NVRTC, for the line that says that they are built, or "".
    """

    def __init__(self, architecture: int, why: str = ""):
        library = build.CudaKernels(f"sm_{architecture}")
        if why:
            library.built_for += f" with nvcc ({why})"
        self.library = ctypes.CDLL(loadable(build.built(library)))


class KernelsOfNvrtc(Kernels):
    """Kernels that NVRTC compiles when a launch needs them. Raises BuildError, OSError.

    ``driver``: the library of CUDA's driver, which launches them.
    """

    def __init__(self, compiler: Nvrtc, driver: str):
        self.compiler = compiler
        self.library = ctypes.CDLL(loadable(build.built(build.CudaLauncher())))
        self.library.block_end_error.restype = ctypes.c_char_p
        self.library.block_end_open.restype = ctypes.c_char_p
        self._image = b""
        # An attribute: the library calls it as long as it is loaded
        self._builder = ctypes.CFUNCTYPE(ctypes.c_void_p, *[ctypes.c_int] * 5)(self._build)
        fault = self.library.block_end_open(driver.encode(), self._builder)
        if fault:
            raise BuildError(f"the CUDA driver cannot be used: {fault.decode(errors='replace')}")

    def prepare(self, dtype: int, channels: int, plane: int, half: int, channels_last: bool) -> Optional[str]:
        self.fault = None
        error = self.library.block_end_prepare(dtype, (ctypes.c_int64 * 5)(1, channels, plane, half, channels_last))
        return self.fault or (f"CUDA error: {self.library.block_end_error(error).decode()}" if error else None)

    def _build(self, dtype, vector, threads, loads, architecture):
        """The address of the machine code, for block_end_driver.cc; None where it cannot be built, for which see ``fault``."""
        try:
            cubin = Cubin(self.compiler, dtype, (vector, threads, loads), architecture)
            with open_private(build.built(cubin)) as file:
                self._image = file.read()  # kept until the next call
        except (BuildError, OSError) as error:
            self.fault = reason_of(error)
            return None
        except KeyboardInterrupt:  # C++ cannot pass it on
            self.fault = "interrupted"
            _thread.interrupt_main()
            return None
        return ctypes.cast(self._image, ctypes.c_void_p).value


def load() -> Kernels:
    """The kernels for Paddle's current GPU. Raises BuildError, OSError where they cannot be had.

    nvcc serves where there is no NVRTC, or none that knows the GPU: that of an older CUDA than the card.
    """
    major, minor = paddle.device.cuda.get_device_capability()
    architecture = 10 * major + minor
    compiler = nvrtc.find(architecture)
    if compiler is not None and compiler.knows(architecture):
        return KernelsOfNvrtc(compiler, DRIVER)
    why = compiler.ignorance_of(architecture) if compiler is not None else ""
    try:
        return KernelsOfNvcc(architecture, why)
    except BuildError as error:
        remedy = f"pip install {'--upgrade ' if why else ''}{nvrtc.package()}"
        raise BuildError(f"{why or 'no NVRTC'} ({remedy}), and {error}", error.output) from None

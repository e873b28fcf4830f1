"""NVRTC, CUDA's compiler as a library, which Paddle 3's packages for GPUs bring along: where it is, and one call to compile.

It needs no other part of CUDA and no compiler for C++.
"""

import ctypes
import ctypes.util
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Optional

import paddle

from ops.compilers import LOG_LINES, BuildError

TOOLKIT = "/usr/local/cuda"


class Nvrtc:
    """The library at ``path``, opened. Raises OSError where it cannot be, AttributeError where it is older than CUDA 11.2."""

    def __init__(self, path: str):
        # NVRTC looks for this one by its name; where that fails, it finds it already loaded
        beside = Path(path).parent.glob("libnvrtc-builtins.so*") if os.path.isabs(path) else ()
        for builtins in sorted(beside):
            ctypes.CDLL(str(builtins))
        self.path, self._library = path, ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        _ = self._library.nvrtcGetCUBIN, self._library.nvrtcGetSupportedArchs  # the newest of the functions that are used
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, source: Path, options: Sequence[str], architecture: int) -> bytes:
        """The machine code (a cubin) of a file of device code for GPUs of one architecture, such as 80. Raises BuildError."""
        name = f"NVRTC {self.version}"
        if not self.knows(architecture):
            raise BuildError(self.ignorance_of(architecture))
        words = [word.encode() for word in (f"-arch=sm_{architecture}", *options)]
        program = ctypes.c_void_p()
        text = source.read_bytes()
        self._check(self._library.nvrtcCreateProgram(ctypes.byref(program), text, source.name.encode(), 0, None, None))
        try:
            error = self._library.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
            if error:
                log = self._bytes("ProgramLog", program).decode(errors="replace").rstrip("\0\n")
                last = " | ".join(line.strip() for line in log.splitlines()[-LOG_LINES:]) or self._text(error)
                raise BuildError(f"{name} failed: {last}", f"{name} {' '.join(options)} {source}\n{log}")
            return self._bytes("CUBIN", program)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def knows(self, architecture: int) -> bool:
        """Whether it compiles for GPUs of this architecture, such as 80. Raises BuildError."""
        return architecture in self.architectures()

    def ignorance_of(self, architecture: int) -> str:
        """That it does not, in words."""
        known = self.architectures()
        rule = f"only sm_{min(known)} to sm_{max(known)}"
        return f"NVRTC {self.version} ({self.path}) does not know GPUs of sm_{architecture}, {rule}"

    def architectures(self) -> list[int]:
        """Those that it has code for: [..., 80, 86, 90]. Raises BuildError."""
        count = ctypes.c_int()
        self._check(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        numbers = (ctypes.c_int * count.value)()
        self._check(self._library.nvrtcGetSupportedArchs(numbers))
        return list(numbers)

    def _bytes(self, what, program):
        """What nvrtcGet``what`` writes."""
        size = ctypes.c_size_t()
        self._check(self._library[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
        content = ctypes.create_string_buffer(size.value)
        self._check(self._library[f"nvrtcGet{what}"](program, content))
        return content.raw

    def _text(self, error):
        return self._library.nvrtcGetErrorString(error).decode()

    def _check(self, error):
        if error:
            raise BuildError(f"NVRTC ({self.path}) failed: {self._text(error)}")


def find(architecture: Optional[int] = None) -> Optional[Nvrtc]:
    """NVRTC of the packages that Paddle brings, else of a CUDA toolkit; None where there is none.

    Among several, one that knows GPUs of ``architecture``, such as 80, and then one for Paddle's own version of CUDA: the
    driver of a machine where Paddle runs knows its machine code.
    """
    of_paddle = str(paddle.version.cuda()).split(".")[0]
    found = sorted(_places(), key=lambda path: _major(path) != of_paddle)  # else in their order
    first = None
    for compiler in _that_open([*found, *filter(None, [ctypes.util.find_library("nvrtc")])]):
        if architecture is None or compiler.knows(architecture):
            return compiler
        first = first or compiler
    return first


def _that_open(paths: Iterable[str]) -> Iterator[Nvrtc]:
    for path in paths:
        try:
            compiler = Nvrtc(path)
            usable = bool(compiler.architectures())
        except (OSError, AttributeError, BuildError):  # damaged, for another processor, or too old
            continue
        if usable:
            yield compiler


def package() -> str:
    """The name of the package that holds NVRTC for Paddle's version of CUDA."""
    major = str(paddle.version.cuda()).split(".")[0]
    return f"nvidia-cuda-nvrtc-cu{major}" if major in ("11", "12") else "nvidia-cuda-nvrtc"


def _places() -> Iterator[str]:
    packages = importlib.util.find_spec("nvidia")
    for folder in (packages and packages.submodule_search_locations) or []:
        yield from _libraries(Path(folder).absolute().glob("*/lib/libnvrtc.so.*"))
    for root in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), sys.prefix, TOOLKIT):
        for folder in ("lib64", "lib") if root else ():
            yield from _libraries(Path(str(root), folder).absolute().glob("libnvrtc.so.*"))


def _libraries(paths):
    return sorted(map(str, paths), reverse=True)


def _major(path):
    version = re.search(r"\.so\.(\d+)", path)
    return version and version[1]

"""Compiles the operators of ops/csrc on first use, into a cache folder for later processes.

The folder's name is a hash of everything that could change the result (sources, flags, compiler, Paddle), so a stale library is
never loaded. Processes that start together build once: one holds a lock, the others wait for it, and the library appears whole
or not at all. What runs as code is taken only from files that no other user can have written: see machine.private_folder.
Paddle's own ``cpp_extension.load`` does none of this safely: it races with itself on a cold cache, and overlooks changed
headers.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import paddle

from machine import cache_folder
from machine.cache_folder import cache_root
from machine.locks import locked
from machine.private_folder import NotPrivateError, is_private, make_private
from machine.temporary_folder import temporary_folder
from messages.reason import reason_of
from messages.terminal import print_line
from ops.compilers import PATIENCE, BuildError, find_compiler, find_nvcc, identity, run_all

SOURCES = Path(__file__).parent / "csrc"
LOG = "build.log"  # what a compiler that failed has said

BASE_FLAGS = ["-O3", "-std=c++17", "-fPIC"]
# (namespace for the CPU kernels, flags of an instruction set); the library chooses one by the CPU when it runs
GENERIC = ("generic", [])
X86_LEVELS = [
    ("avx2", ["-mavx2", "-mfma"]),
    ("avx512", ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]),
]


class Library:
    """A file of machine code to build: how it is made, and what its content depends on."""

    name: str
    """Of its file."""
    built_for: str
    """What it serves, in words."""
    quiet = False
    """Whether nothing is printed while it is built."""

    def make(self, folder: Path) -> None:
        """Write the file into ``folder``. Raises BuildError, OSError."""
        raise NotImplementedError

    def recipe(self) -> list[str]:
        """What decides the content besides the sources. It runs no compiler: the file may be built already. Raises OSError."""
        raise NotImplementedError

    def digest(self) -> str:
        """A hash of everything that determines the file. Raises OSError."""
        digest = hashlib.sha256("\0".join(self.recipe()).encode())
        for source in sorted(SOURCES.iterdir()):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
        return digest.hexdigest()[:20]


class CompiledLibrary(Library):
    """A shared library that commands compile and link. ``patience``: seconds after which one of them is given up."""

    patience: float = PATIENCE

    def compile_commands(self, folder: Path) -> list[list[str]]:
        """One command for each object file in ``folder``; they are independent of each other."""
        raise NotImplementedError

    def link_command(self, folder: Path, objects: Sequence[str]) -> list[str]:
        """The command that links ``objects`` to the library in ``folder``."""
        raise NotImplementedError

    def tools(self) -> list[str]:
        """Which compilers and versions decide the result. Raises OSError."""
        raise NotImplementedError

    def make(self, folder: Path) -> None:
        compilations = self.compile_commands(folder)
        run_all(compilations, self.patience)
        run_all([self.link_command(folder, [command[-1] for command in compilations])], self.patience)

    def recipe(self) -> list[str]:
        nowhere = Path("build")
        return [*self.tools(), repr(self.compile_commands(nowhere)), repr(self.link_command(nowhere, []))]


class Operators(CompiledLibrary):
    """The operators with their CPU kernels, for this Paddle and this compiler. Raises BuildError without a compiler.

    On a GPU they call the functions of block_end_capi.h in a library of its own, which may be missing: see ops/cuda_kernels.py.
    """

    name = "block_end.so"

    def __init__(self):
        self.compiler = find_compiler()
        self.package = Path(paddle.__file__).parent
        self.levels = [GENERIC, *X86_LEVELS] if os.uname().machine in ("x86_64", "amd64") else [GENERIC]
        self.built_for = f"CPU ({', '.join(name for name, _ in self.levels)})"

    def compile_commands(self, folder: Path) -> list[list[str]]:
        levels = ["-DHAVE_X86_LEVELS"] if len(self.levels) > 1 else []
        include = self.package / "include"
        # -isystem: no warnings about Paddle's headers; PADDLE_NO_PYTHON: a pip install lacks the headers for Python
        with_paddle = ["-isystem", str(include), "-isystem", str(include / "third_party")]
        with_paddle += ["-DPADDLE_WITH_CUSTOM_KERNEL", "-DPADDLE_NO_PYTHON"]
        compiler = [*self.compiler, *BASE_FLAGS, *levels]
        commands = []

        def compile_to(name, command, source):
            commands.append([*command, "-c", str(SOURCES / source), "-o", str(folder / f"{name}.o")])

        # The longest first, so that no core waits at the end for another. They pass tensors on: -O1 loses nothing at run time.
        for name in ("convolution", "cpu", "gpu", "ops", "pooling"):
            compile_to(f"paddle_{name}", [*compiler, "-O1", "-fopenmp", *with_paddle], f"paddle_{name}.cc")
        for name, flags in self.levels:
            of_level = [*compiler, "-fopenmp-simd", f"-DLEVEL={name}", *flags]
            compile_to(name, of_level, "cpu_kernels.cc")
            if flags:  # without, a vector has too few lanes
                of_blocks = [*of_level, "-fno-math-errno", "-Wno-psabi"]
                compile_to(f"{name}_blocked", of_blocks, "blocked_kernels.cc")
                compile_to(f"{name}_winograd", of_blocks, "winograd_kernels.cc")
                compile_to(f"{name}_grouped", of_blocks, "grouped_kernels.cc")
        for name in ("convolution", "winograd", "grouped", "subsampling", "plain_weights"):
            compile_to(name, [*compiler, "-fopenmp"], f"{name}.cc")
        return commands

    def link_command(self, folder: Path, objects: Sequence[str]) -> list[str]:
        libraries = ["-l:libpaddle.so"]
        # Paddle computes with the OpenMP that it ships; the threads of a second OpenMP would compete for the same cores
        libraries += ["-l:libiomp5.so"] if (self.package / "libs" / "libiomp5.so").exists() else ["-fopenmp"]
        folders = []
        for name in ("base", "libs"):
            folders += ["-L", str(self.package / name), f"-Wl,-rpath,{self.package / name}"]
        return [*self.compiler, "-shared", *objects, "-o", str(folder / self.name), *folders, *libraries]

    def tools(self) -> list[str]:
        return [f"{paddle.__version__} {paddle.version.commit}", *identity(self.compiler)]


class SmallLibrary(CompiledLibrary):
    """One source that needs nothing but the compiler and ``linked``. Raises BuildError without a compiler."""

    quiet = True
    source: str
    """Its name in SOURCES."""
    linked: Sequence[str] = ()
    """Options for the linker."""

    def __init__(self):
        self.command = [*find_compiler(), *BASE_FLAGS]

    def compile_commands(self, folder: Path) -> list[list[str]]:
        return [[*self.command, "-c", str(SOURCES / self.source), "-o", str(folder / "library.o")]]

    def link_command(self, folder: Path, objects: Sequence[str]) -> list[str]:
        return [*self.command, "-shared", *objects, "-o", str(folder / self.name), *self.linked]

    def tools(self) -> list[str]:
        return identity(self.command)


class CudaLauncher(SmallLibrary):
    """What launches machine code of NVRTC's through CUDA's driver. It needs nothing of CUDA's to be built."""

    name = "block_end_driver.so"
    built_for = "GPUs"
    source = "block_end_driver.cc"
    linked = ("-ldl",)


class CudaKernels(CompiledLibrary):
    """All CUDA kernels for GPUs of one architecture, such as "sm_80", and their launches. Raises BuildError without nvcc.

    They know nothing of Paddle, and the CUDA runtime is linked into them: neither Paddle's headers nor the place of CUDA's
    libraries matter.
    """

    name = "block_end_cuda.so"
    patience = 600  # they are 29 sets of kernels

    def __init__(self, architecture: str):
        self.nvcc, self.architecture = find_nvcc(), architecture
        self.built_for = f"GPUs ({architecture})"
        compiler = find_compiler()
        host = next(word for word in compiler if "ccache" not in word)  # nvcc needs the compiler itself
        self.command = [self.nvcc, "-O3", "-std=c++17", f"-arch={architecture}", "-ccbin", host, "-Xcompiler", "-fPIC"]

    def compile_commands(self, folder: Path) -> list[list[str]]:
        return [[*self.command, "-c", str(SOURCES / "block_end_capi.cu"), "-o", str(folder / "kernels.o")]]

    def link_command(self, folder: Path, objects: Sequence[str]) -> list[str]:
        return [*self.command, "-shared", "-cudart", "static", *objects, "-o", str(folder / self.name)]

    def tools(self) -> list[str]:
        return identity([self.nvcc, self.command[self.command.index("-ccbin") + 1]])


def built(library: Library) -> Path:
    """The path of ``library``, which is built if it is not in the cache; private_folder opens it. Raises BuildError.

    Where the cache folder cannot be used, or others can write to it, the build goes to a temporary folder, for this process and
    those that it starts.
    """
    if sys.platform != "linux":
        raise BuildError(f"they are built on Linux only, this is {sys.platform}")
    try:
        digest = library.digest()
    except OSError as error:
        raise BuildError(reason_of(error)) from None
    try:
        return _cached(cache_root() / digest, library)
    except OSError as error:
        obstacle = error
    try:
        folder = temporary_folder() / digest
        make_private(folder)
    except OSError as error:
        raise BuildError(
            f"neither the cache folder ({reason_of(obstacle)}) nor a temporary one ({reason_of(error)}) can be used: set "
            f"XDG_CACHE_HOME to a folder that is yours alone"
        ) from None
    path = folder / library.name
    if not is_private(path):  # else the process that started this one has built it
        # where it only cannot be written, home_folder may have said that what is built will not last
        if cache_folder.VARIABLE not in os.environ or isinstance(obstacle, NotPrivateError):
            print_line(
                f"the cache folder cannot be used ({reason_of(obstacle)}); the build is for this process alone; set "
                f"XDG_CACHE_HOME to a folder that is yours alone to keep it"
            )
        build(library, folder, keep_log=False)
    return path


def _cached(folder, library):
    """The path of the library in ``folder``, built if it is not there. Raises BuildError, OSError."""
    path, log = folder / library.name, folder / LOG
    if is_private(path):
        return path
    make_private(folder)
    before = _state(log)
    with locked(folder / "lock") as held:
        if is_private(path):
            return path
        if _state(log) not in (None, before):  # while this process waited for the lock; a compiler that hangs would do so again
            raise BuildError(f"another process could not build them just now: see {log}")
        build(library, folder, tidy=held)
    return path


def _state(log) -> Optional[tuple[int, int]]:
    """What changes whenever the file is written; None: there is none."""
    try:
        status = os.stat(log)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def build(library: Library, folder: Path, keep_log: bool = True, tidy: bool = True) -> None:
    """Compile and link in a subfolder, then move the library to ``folder`` in one step. Raises BuildError, OSError.

    ``keep_log``: write down there what a compiler that fails has said. ``tidy``: no other process builds there, so that what
    killed builds left can be removed.
    """
    if not library.quiet:
        print_line(f"building the fused operators for {library.built_for}, once for this Paddle and compiler ...")
    started = time.monotonic()
    for left in folder.glob("building-*") if tidy else ():
        shutil.rmtree(left, ignore_errors=True)
    log = folder / LOG
    work = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
    try:
        library.make(work)
        os.chmod(work / library.name, 0o700)  # with umask 000 a compiler lets everybody write to what it makes
        with open(work / library.name, "rb") as file:
            os.fsync(file.fileno())
        os.replace(work / library.name, folder / library.name)
    except BuildError as error:
        if not keep_log:
            raise
        log.write_text(f"{error.output or error}\n", encoding="utf-8")
        raise BuildError(f"{error} (all of it: {log})", error.output) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not library.quiet:
        print_line(f"built in {time.monotonic() - started:.0f} s: {folder / library.name}")

"""Compiles the operators of ops/csrc on first use, into a cache folder for later processes.

The folder's name is a hash of everything that could change the result (sources, flags, compiler, Paddle), so a stale library is
never loaded. Processes that start together build once: one holds a lock, the others wait for it, and the library appears whole
or not at all. Paddle's own ``cpp_extension.load`` does none of this safely: it races with itself on a cold cache and overlooks
changed headers.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paddle

from machine import cache_folder
from machine.cache_folder import cache_root, is_mine
from machine.locks import locked
from machine.temporary_folder import temporary_folder
from messages.reason import reason_of
from messages.terminal import print_line

SOURCES = Path(__file__).parent / "csrc"
LOG_LINES = 3  # last lines of a failed compiler's output in the message; the log file has all
TIMEOUT = 600  # seconds for one compiler command

BASE_FLAGS = ["-O3", "-std=c++17", "-fPIC"]
# (namespace for cpu_kernels.cc, flags of an instruction set); the library chooses one by the CPU when it runs
GENERIC = ("generic", [])
X86_LEVELS = [
    ("avx2", ["-mavx2", "-mfma"]),
    ("avx512", ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]),
]


class BuildError(RuntimeError):
    """The operators cannot be built here; the message says why in one line; ``output``: all that the compiler printed."""

    def __init__(self, message: str, output: str = ""):
        super().__init__(message)
        self.output = output


def find_compiler() -> list[str]:
    """The words of the C++ compiler's command: $CXX, or the first of g++, c++, clang++ on PATH. Raises BuildError if none."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise BuildError(f"CXX = {os.environ['CXX']!r}: there is no such compiler; unset CXX to use g++ or clang++")
        return chosen
    for name in ("g++", "c++", "clang++"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler (g++, c++ or clang++) on PATH")


def find_nvcc() -> str:
    """CUDA's compiler: nvcc on PATH, else in $CUDA_HOME or $CUDA_PATH, else in /usr/local/cuda. Raises BuildError if none."""
    folders = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = [os.path.join(folder, "bin", "nvcc") for folder in folders if folder]
    found = next(filter(None, map(shutil.which, ["nvcc", *places])), None)
    if found is None:
        raise BuildError(f"no nvcc to build the CUDA kernels with: neither on PATH nor at {' or '.join(places)}")
    return found


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
        """What decides the content besides the sources. Raises BuildError where a compiler does not start."""
        raise NotImplementedError

    def digest(self) -> str:
        """A hash of everything that determines the file. Raises BuildError where a compiler does not start."""
        digest = hashlib.sha256("\0".join(self.recipe()).encode())
        for source in sorted(SOURCES.iterdir()):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
        return digest.hexdigest()[:20]


class CompiledLibrary(Library):
    """A shared library that commands compile and link."""

    def compile_commands(self, folder: Path) -> list[list[str]]:
        """One command for each object file in ``folder``; they are independent of each other."""
        raise NotImplementedError

    def link_command(self, folder: Path, objects: Sequence[str]) -> list[str]:
        """The command that links ``objects`` to the library in ``folder``."""
        raise NotImplementedError

    def versions(self) -> list[str]:
        """What the compilers call themselves, and what else decides the result. Raises BuildError where one does not start."""
        raise NotImplementedError

    def make(self, folder: Path) -> None:
        compilations = self.compile_commands(folder)
        compile_all(compilations)
        run(self.link_command(folder, [command[-1] for command in compilations]))

    def recipe(self) -> list[str]:
        nowhere = Path("build")
        return [*self.versions(), repr(self.compile_commands(nowhere)), repr(self.link_command(nowhere, []))]


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

        for name, flags in self.levels:
            compile_to(name, [*compiler, "-fopenmp-simd", f"-DLEVEL={name}", *flags], "cpu_kernels.cc")
        compile_to("paddle_cpu", [*compiler, "-fopenmp", *with_paddle], "paddle_cpu.cc")
        compile_to("paddle_gpu", [*compiler, *with_paddle], "paddle_gpu.cc")
        compile_to("paddle_ops", [*compiler, *with_paddle], "paddle_ops.cc")
        return commands

    def link_command(self, folder: Path, objects: Sequence[str]) -> list[str]:
        libraries = ["-l:libpaddle.so"]
        # Paddle computes with the OpenMP that it ships; the threads of a second OpenMP would compete for the same cores
        libraries += ["-l:libiomp5.so"] if (self.package / "libs" / "libiomp5.so").exists() else ["-fopenmp"]
        folders = []
        for name in ("base", "libs"):
            folders += ["-L", str(self.package / name), f"-Wl,-rpath,{self.package / name}"]
        return [*self.compiler, "-shared", *objects, "-o", str(folder / self.name), *folders, *libraries]

    def versions(self) -> list[str]:
        return [f"{paddle.__version__} {paddle.version.commit}", version(self.compiler)]


class CudaLauncher(CompiledLibrary):
    """What launches machine code of NVRTC's through CUDA's driver (block_end_driver.cc). Raises BuildError without a compiler.

    It needs nothing of CUDA's to be built.
    """

    name = "block_end_driver.so"
    built_for = "GPUs"
    quiet = True

    def __init__(self):
        self.command = [*find_compiler(), *BASE_FLAGS]

    def compile_commands(self, folder: Path) -> list[list[str]]:
        return [[*self.command, "-c", str(SOURCES / "block_end_driver.cc"), "-o", str(folder / "driver.o")]]

    def link_command(self, folder: Path, objects: Sequence[str]) -> list[str]:
        return [*self.command, "-shared", *objects, "-o", str(folder / self.name), "-ldl"]

    def versions(self) -> list[str]:
        return [version(find_compiler())]


class CudaKernels(CompiledLibrary):
    """All CUDA kernels for GPUs of one architecture, such as "sm_80", and their launches. Raises BuildError without nvcc.

    They know nothing of Paddle, and the CUDA runtime is linked into them: neither Paddle's headers nor the place of CUDA's
    libraries matter.
    """

    name = "block_end_cuda.so"

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

    def versions(self) -> list[str]:
        return [version([self.nvcc]), version([self.command[self.command.index("-ccbin") + 1]])]


def version(compiler: Sequence[str]) -> str:
    """The output of the compiler's --version. Raises BuildError where it does not start."""
    return run([*compiler, "--version"])


def run(command: Sequence[str]) -> str:
    """Run one command and return what it printed. Raises BuildError where it does not start, takes too long or fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            timeout=TIMEOUT,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} did not run: {reason_of(error, command[0])}") from None
    if done.returncode:
        last = " | ".join(line.strip() for line in done.stdout.splitlines()[-LOG_LINES:])
        output = f"{shlex.join(command)}\nexit code {done.returncode}\n{done.stdout}"
        raise BuildError(f"{command[0]} failed with exit code {done.returncode}: {last}", output)
    return done.stdout


def built(library: Library) -> Path:
    """The path of ``library``, which is built if it is not in the cache. Raises BuildError.

    Where the cache folder cannot be used, the build goes to a temporary folder, for this process and those that it starts.
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
    folder = temporary_folder() / digest
    if not (folder / library.name).is_file():  # else the process that started this one has built it
        if cache_folder.VARIABLE not in os.environ:  # else home_folder has said that what is built will not last
            print_line(f"the cache folder cannot be used ({reason_of(obstacle)}); the build is for this process alone")
        folder.mkdir(exist_ok=True)
        build(library, folder, keep_log=False)
    return folder / library.name


def _cached(folder, library):
    """The path of the library in ``folder``, built if it is not there. Raises BuildError, OSError."""
    path = folder / library.name
    if not (path.is_file() and is_mine(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_mine(folder):
            raise PermissionError(f"{folder} belongs to another user")
        with locked(folder / "lock"):
            if not path.is_file():
                build(library, folder)
    return path


def build(library: Library, folder: Path, keep_log: bool = True) -> None:
    """Compile and link in a subfolder, then move the library to ``folder`` in one step. Raises BuildError, OSError.

    ``keep_log``: write down there what a compiler that fails has said.
    """
    if not library.quiet:
        print_line(f"building the fused operators for {library.built_for}, once for this Paddle and compiler ...")
    started = time.monotonic()
    for left in folder.glob("building-*"):  # from a killed build: the lock is held, so no other build is running
        shutil.rmtree(left, ignore_errors=True)
    log = folder / "build.log"
    work = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
    try:
        library.make(work)
        with open(work / library.name, "rb") as file:
            os.fsync(file.fileno())
        os.replace(work / library.name, folder / library.name)
    except BuildError as error:
        if not keep_log:
            raise
        log.write_text(f"{error.output or error}\n", encoding="utf-8")
        raise BuildError(f"{error} (all of it: {log})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not library.quiet:
        print_line(f"built in {time.monotonic() - started:.0f} s: {folder / library.name}")


def compile_all(commands: Sequence[Sequence[str]]) -> None:
    """Run the commands in parallel, one on each core; raises the first BuildError."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for _ in pool.map(run, commands):
            pass

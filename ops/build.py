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
from typing import Optional

import paddle

from machine import cache_folder
from machine.cache_folder import cache_root, is_mine
from machine.locks import locked
from machine.temporary_folder import temporary_folder
from messages.reason import reason_of

SOURCES = Path(__file__).parent / "csrc"
LIBRARY = "block_end.so"
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


def cuda_folder() -> Path:
    """The folder of the CUDA toolkit, found by the nvcc on PATH. Raises BuildError if there is none."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise BuildError("no nvcc on PATH to build the CUDA kernels with")
    return Path(nvcc).resolve().parents[1]


class BuildCommands:
    """The commands that build the library for this Paddle, this compiler and, where given, this CUDA architecture.

    ``cuda_arch``: such as "sm_80", to build the CUDA kernels too, with the nvcc on PATH; None: for the CPU alone. Raises
    BuildError without a compiler.
    """

    def __init__(self, cuda_arch: Optional[str] = None):
        self.compiler = find_compiler()
        self.cuda_arch = cuda_arch
        self.package = Path(paddle.__file__).parent
        self.paddle = f"{paddle.__version__} {paddle.version.commit}"
        self.levels = [GENERIC, *X86_LEVELS] if os.uname().machine in ("x86_64", "amd64") else [GENERIC]

    def compile_commands(self, folder: Path) -> list[list[str]]:
        """One command for each object file in ``folder``; they are independent of each other."""
        levels = ["-DHAVE_X86_LEVELS"] if len(self.levels) > 1 else []
        include = self.package / "include"
        # -isystem: no warnings about Paddle's headers; PADDLE_NO_PYTHON: a pip install lacks the headers for Python
        with_paddle = ["-isystem", str(include), "-isystem", str(include / "third_party")]
        with_paddle += ["-DPADDLE_WITH_CUSTOM_KERNEL", "-DPADDLE_NO_PYTHON"]
        if self.cuda_arch:
            with_paddle += ["-DPADDLE_WITH_CUDA", "-isystem", str(cuda_folder() / "include")]
        compiler = [*self.compiler, *BASE_FLAGS, *levels]
        commands = []

        def compile_to(name, command, source):
            commands.append([*command, "-c", str(SOURCES / source), "-o", str(folder / f"{name}.o")])

        for name, flags in self.levels:
            compile_to(name, [*compiler, "-fopenmp-simd", f"-DLEVEL={name}", *flags], "cpu_kernels.cc")
        compile_to("paddle_cpu", [*compiler, "-fopenmp", *with_paddle], "paddle_cpu.cc")
        compile_to("paddle_ops", [*compiler, *with_paddle], "paddle_ops.cc")
        if self.cuda_arch:
            nvcc = ["nvcc", "-O3", "-std=c++17", "--expt-relaxed-constexpr", f"-arch={self.cuda_arch}", "-Xcompiler", "-fPIC"]
            host = next(word for word in self.compiler if "ccache" not in word)  # nvcc needs the compiler itself
            compile_to("paddle_cuda", [*nvcc, "-ccbin", host, *with_paddle], "paddle_cuda.cu")
        return commands

    def link_command(self, folder: Path, objects: Sequence[str]) -> list[str]:
        """The command that links ``objects`` to the library in ``folder``."""
        libraries = ["-l:libpaddle.so"]
        # Paddle computes with the OpenMP that it ships; the threads of a second OpenMP would compete for the same cores
        libraries += ["-l:libiomp5.so"] if (self.package / "libs" / "libiomp5.so").exists() else ["-fopenmp"]
        if self.cuda_arch:
            libraries += ["-L", str(cuda_folder() / "lib64"), "-lcudart"]
        folders = []
        for name in ("base", "libs"):
            folders += ["-L", str(self.package / name), f"-Wl,-rpath,{self.package / name}"]
        return [*self.compiler, "-shared", *objects, "-o", str(folder / LIBRARY), *folders, *libraries]

    def digest(self) -> str:
        """A hash of everything that determines the library. Raises BuildError where a compiler does not start."""
        nowhere = Path("build")
        parts = [
            self.paddle,
            repr(self.compile_commands(nowhere)),
            repr(self.link_command(nowhere, [])),
            version(self.compiler),
        ]
        if self.cuda_arch:
            parts.append(version(["nvcc"]))
        digest = hashlib.sha256("\0".join(parts).encode())
        for source in sorted(SOURCES.iterdir()):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
        return digest.hexdigest()[:20]

    def describe(self) -> str:
        """The kinds of processor that the library supports, in words."""
        cpu = "CPU (" + ", ".join(name for name, _ in self.levels) + ")"
        return f"{cpu} and CUDA ({self.cuda_arch})" if self.cuda_arch else cpu


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


def library(cuda_arch: Optional[str] = None) -> Path:
    """The path of the library, which is built if it is not in the cache. Raises BuildError.

    Where the cache folder cannot be used, the build goes to a temporary folder, for this process and those that it starts.
    """
    if sys.platform != "linux":
        raise BuildError(f"they are built on Linux only, this is {sys.platform}")
    try:
        commands = BuildCommands(cuda_arch)
        name = commands.digest()
    except OSError as error:
        raise BuildError(reason_of(error)) from None
    try:
        return _cached_library(cache_root() / name, commands)
    except OSError as error:
        obstacle = error
    folder = temporary_folder() / name
    if not (folder / LIBRARY).is_file():  # else the process that started this one has built it
        if cache_folder.VARIABLE not in os.environ:  # else home_folder has said that what is built will not last
            print(
                f"the cache folder cannot be used ({reason_of(obstacle)}); the build is for this process alone", file=sys.stderr
            )
        folder.mkdir(exist_ok=True)
        build(commands, folder, keep_log=False)
    return folder / LIBRARY


def _cached_library(folder, commands):
    """The path of the library in ``folder``, built if it is not there. Raises BuildError, OSError."""
    if not ((folder / LIBRARY).is_file() and is_mine(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_mine(folder):
            raise PermissionError(f"{folder} belongs to another user")
        with locked(folder / "lock"):
            if not (folder / LIBRARY).is_file():
                build(commands, folder)
    return folder / LIBRARY


def build(commands: BuildCommands, folder: Path, keep_log: bool = True) -> None:
    """Compile and link in a subfolder, then move the library to ``folder`` in one step. Raises BuildError, OSError.

    ``keep_log``: write down there what a compiler that fails has said.
    """
    print(f"building the fused operators for {commands.describe()}, once for this Paddle and compiler ...", file=sys.stderr)
    started = time.monotonic()
    for left in folder.glob("building-*"):  # from a killed build: the lock is held, so no other build is running
        shutil.rmtree(left, ignore_errors=True)
    log = folder / "build.log"
    work = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
    try:
        compilations = commands.compile_commands(work)
        compile_all(compilations)
        run(commands.link_command(work, [command[-1] for command in compilations]))
        with open(work / LIBRARY, "rb") as file:
            os.fsync(file.fileno())
        os.replace(work / LIBRARY, folder / LIBRARY)
    except BuildError as error:
        if not keep_log:
            raise
        log.write_text(f"{error.output or error}\n", encoding="utf-8")
        raise BuildError(f"{error} (all of it: {log})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"built in {time.monotonic() - started:.0f} s: {folder / LIBRARY}", file=sys.stderr)


def compile_all(commands: Sequence[Sequence[str]]) -> None:
    """Run the commands in parallel, one on each core; raises the first BuildError."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for _ in pool.map(run, commands):
            pass

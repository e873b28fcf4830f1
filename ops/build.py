"""Compile the operators of ops/csrc on first use, into a folder that every later process finds again.

The folder's name is a hash of all that could change the result (sources, flags, compiler, Paddle), so a stale library is never
loaded. Processes that start together build once: one holds a lock, the others wait for it, and the library appears whole or
not at all. Paddle's own ``cpp_extension.load`` does none of this safely (it races with itself on a cold cache and overlooks
changed headers), hence this module.
"""

import atexit
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

from machine.cache_folder import cache_root, is_mine
from machine.locks import locked

SOURCES = Path(__file__).parent / "csrc"
LIBRARY = "block_end.so"
LOG_LINES = 3  # of a failed compiler's output, in the message; the log file has all
TIMEOUT = 600  # seconds for one command of the compiler

BASE_FLAGS = ["-O3", "-std=c++17", "-fPIC"]
# The namespace that cpu_kernels.cc is compiled into, and the instruction set; which one runs is decided by the CPU
GENERIC = ("generic", [])
X86_LEVELS = [
    ("avx2", ["-mavx2", "-mfma"]),
    ("avx512", ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]),
]


class BuildError(RuntimeError):
    """The operators cannot be built here; the message says why in one line, ``output`` is all that the compiler said."""

    def __init__(self, message, output=""):
        super().__init__(message)
        self.output = output


def find_compiler() -> list[str]:
    """The C++ compiler's command, as words: $CXX, or the first of g++, c++, clang++ on PATH. Raises BuildError without one."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise BuildError(f"the compiler of CXX = {os.environ['CXX']!r} is not there")
        return chosen
    for name in ("g++", "c++", "clang++"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler (g++, c++ or clang++) on PATH")


def cuda_folder() -> Path:
    """The folder of the CUDA toolkit whose nvcc is on PATH. Raises BuildError without one."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise BuildError("no nvcc on PATH to build the CUDA kernels with")
    return Path(nvcc).resolve().parents[1]


class Recipe:
    """The commands that build the library for this Paddle, this compiler and, where given, this CUDA architecture.

    ``cuda_arch``: such as "sm_80", to build the CUDA kernels too with the nvcc on PATH; None: the CPU alone.
    """

    def __init__(self, cuda_arch=None):
        import paddle

        self.compiler = find_compiler()
        self.cuda_arch = cuda_arch
        self.package = Path(paddle.__file__).parent
        self.paddle = f"{paddle.__version__} {paddle.version.commit}"
        self.levels = [GENERIC, *X86_LEVELS] if os.uname().machine in ("x86_64", "amd64") else [GENERIC]

    def compile_commands(self, folder) -> list:
        """One command for each object file in ``folder``; they do not depend on each other."""
        levels = ["-DHAVE_X86_LEVELS"] if len(self.levels) > 1 else []
        include = self.package / "include"
        # -isystem: warnings in Paddle's headers are not ours; PADDLE_NO_PYTHON: a pip install lacks what Python needs there
        paddle = ["-isystem", str(include), "-isystem", str(include / "third_party")]
        paddle += ["-DPADDLE_WITH_CUSTOM_KERNEL", "-DPADDLE_NO_PYTHON"]
        if self.cuda_arch:
            paddle += ["-DPADDLE_WITH_CUDA", "-isystem", str(cuda_folder() / "include")]
        compiler = [*self.compiler, *BASE_FLAGS, *levels]
        commands = [
            [
                *compiler,
                "-fopenmp-simd",
                f"-DLEVEL={name}",
                *flags,
                "-c",
                SOURCES / "cpu_kernels.cc",
                "-o",
                folder / f"{name}.o",
            ]
            for name, flags in self.levels
        ]
        commands.append([*compiler, "-fopenmp", *paddle, "-c", SOURCES / "paddle_cpu.cc", "-o", folder / "paddle_cpu.o"])
        commands.append([*compiler, *paddle, "-c", SOURCES / "paddle_ops.cc", "-o", folder / "paddle_ops.o"])
        if self.cuda_arch:
            nvcc = ["nvcc", "-O3", "-std=c++17", "--expt-relaxed-constexpr", f"-arch={self.cuda_arch}", "-Xcompiler", "-fPIC"]
            host = next(word for word in self.compiler if "ccache" not in word)  # nvcc wants the compiler itself
            nvcc += ["-ccbin", host, *paddle]
            commands.append([*nvcc, "-c", SOURCES / "paddle_cuda.cu", "-o", folder / "paddle_cuda.o"])
        return [[str(word) for word in command] for command in commands]

    def link_command(self, folder, objects) -> list:
        """The command that makes the library in ``folder``."""
        libraries = ["-l:libpaddle.so"]
        # Paddle's arithmetic runs on the OpenMP that it ships. A second one's threads would fight with its own for the cores.
        libraries += ["-l:libiomp5.so"] if (self.package / "libs" / "libiomp5.so").exists() else ["-fopenmp"]
        if self.cuda_arch:
            libraries += ["-L", str(cuda_folder() / "lib64"), "-lcudart"]
        folders = [
            word for name in ("base", "libs") for word in ("-L", self.package / name, f"-Wl,-rpath,{self.package / name}")
        ]
        command = [*self.compiler, "-shared", *objects, "-o", folder / LIBRARY, *folders, *libraries]
        return [str(word) for word in command]

    def digest(self) -> str:
        """A hash of everything that decides what the library is."""
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
        """What the library has code for."""
        cpu = "CPU (" + ", ".join(name for name, _ in self.levels) + ")"
        return f"{cpu} and CUDA ({self.cuda_arch})" if self.cuda_arch else cpu


def version(compiler) -> str:
    """What the compiler says of its own version. Raises BuildError where it does not start."""
    return run([*compiler, "--version"]).stdout


def run(command):
    """Run one command and return what it printed. Raises BuildError where it cannot be started, takes too long or fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            timeout=TIMEOUT,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} did not run: {error}") from None
    if done.returncode:
        last = " | ".join(line.strip() for line in done.stdout.splitlines()[-LOG_LINES:])
        output = f"{shlex.join(command)}\nexit code {done.returncode}\n{done.stdout}"
        raise BuildError(f"{command[0]} failed with exit code {done.returncode}: {last}", output)
    return done


def library(cuda_arch: Optional[str] = None) -> Path:
    """The path of the built library; builds it where it is not there yet. Raises BuildError.

    Where the cache folder cannot be used, the build goes to a temporary folder, for this process alone.
    """
    if sys.platform != "linux":
        raise BuildError(f"they are built on Linux only, this is {sys.platform}")
    try:
        recipe = Recipe(cuda_arch)
        folder = cache_root() / recipe.digest()
    except OSError as error:
        raise BuildError(str(error)) from None
    if (folder / LIBRARY).is_file() and is_mine(folder):
        return folder / LIBRARY
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_mine(folder):
            raise PermissionError(f"{folder} belongs to another user")
        with locked(folder / "lock"):
            if not (folder / LIBRARY).is_file():
                build(recipe, folder)
        return folder / LIBRARY
    except OSError as error:
        print(f"the cache folder cannot be used ({error}); the build is for this process alone", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="sa-net-paddle-"))
    build(recipe, folder)  # where it fails, the folder stays for the log in it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / LIBRARY


def build(recipe, folder) -> None:
    """Compile and link in a folder beside, then move the library to ``folder`` in one step. Raises BuildError, OSError."""
    print(f"building the fused operators for {recipe.describe()}, once for this Paddle and compiler ...", file=sys.stderr)
    started = time.monotonic()
    for left in folder.glob("building-*"):  # of a build that was killed; nobody else can be building now
        shutil.rmtree(left, ignore_errors=True)
    log = folder / "build.log"
    work = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
    try:
        commands = recipe.compile_commands(work)
        compile_all(commands)
        run(recipe.link_command(work, [command[-1] for command in commands]))
        with open(work / LIBRARY, "rb") as file:
            os.fsync(file.fileno())
        os.replace(work / LIBRARY, folder / LIBRARY)
    except BuildError as error:
        log.write_text(f"{error.output or error}\n", encoding="utf-8")
        raise BuildError(f"{error} (all of it: {log})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"built in {time.monotonic() - started:.0f} s: {folder / LIBRARY}", file=sys.stderr)


def compile_all(commands) -> None:
    """Run the commands side by side, as many as there are cores; raises the first BuildError."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for _ in pool.map(run, commands):
            pass

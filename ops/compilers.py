"""The compilers that the operators are built with: where they are, which ones they are, and how they are run.

A compiler that hangs, such as one on a network drive that is gone, holds nothing up for ever: a line says after a while that it
is still at work, and after longer it is given up.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence

from messages.reason import reason_of
from messages.terminal import print_line

LOG_LINES = 3  # last lines of a failed compiler's output in the message; the log file has all
PATIENCE = 120  # seconds for one command; 4 to 15 are usual
SECONDS_OF_SILENCE = 10  # until a line says that compilers are still at work
PAUSE = 0.02  # seconds between two looks at them


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


def identity(command: Sequence[str]) -> list[str]:
    """What tells the compiler of ``command`` from another one, or from itself after an update, without running it.

    For each word of it that is a program: the file behind all links, its size, and when it was changed. Raises OSError.
    """
    found = []
    for path in filter(None, map(shutil.which, command)):
        status = os.stat(path)
        found += [os.path.realpath(path), str(status.st_size), str(status.st_mtime_ns)]
    return found


def version(compiler: Sequence[str]) -> str:
    """The output of the compiler's --version. Raises BuildError where it does not start."""
    return run_all([[*compiler, "--version"]])[0]


def run_all(commands: Sequence[Sequence[str]], patience: float = PATIENCE) -> list[str]:
    """Run the commands, as many at once as there are cores, and return what each of them printed.

    Raises BuildError for the first that does not start, takes longer than ``patience`` seconds or fails; the others are ended
    then, as by Ctrl-C.
    """
    started, said = time.monotonic(), False
    waiting, running, printed = list(enumerate(commands)), [], [""] * len(commands)
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                number, command = waiting.pop(0)
                running.append(_Running(number, command))
            for compiler in [compiler for compiler in running if compiler.has_ended(patience)]:
                running.remove(compiler)
                printed[compiler.number] = compiler.output()
            if running and not said and time.monotonic() > started + SECONDS_OF_SILENCE:
                said = True
                print_line(
                    f"{running[0].command[0]} has been at work for {SECONDS_OF_SILENCE} s; it is given up after {patience:g} s,"
                    f" and --fused off does without"
                )
            time.sleep(PAUSE)
    finally:
        for compiler in running:
            compiler.end()
    return printed


class _Running:
    """A command at work, in a process group of its own: a compiler starts others, which must end with it."""

    def __init__(self, number, command):
        self.number, self.command, self.started = number, command, time.monotonic()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  no pipe: what a compiler leaves behind could hold it open
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            self._file.close()
            raise BuildError(f"{command[0]} did not run: {reason_of(error, command[0])}") from None

    def has_ended(self, patience):
        """Whether it has; raises BuildError if it takes longer than ``patience`` seconds."""
        if self._process.poll() is not None:
            return True
        if time.monotonic() > self.started + patience:
            raise BuildError(f"{self.command[0]} had not ended after {patience:g} s and was given up")
        return False

    def output(self):
        """What it printed; raises BuildError if it failed."""
        with self._file:
            self._file.seek(0)
            printed = self._file.read().decode(errors="replace")
        if self._process.returncode:
            last = " | ".join(line.strip() for line in printed.splitlines()[-LOG_LINES:])
            code = self._process.returncode
            output = f"{shlex.join(self.command)}\nexit code {code}\n{printed}"
            raise BuildError(f"{self.command[0]} failed with exit code {code}: {last}", output)
        return printed

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._file.close()

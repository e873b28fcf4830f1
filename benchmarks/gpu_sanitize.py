"""Runs every CUDA kernel on small feature maps under compute-sanitizer, with its four tools.

    python benchmarks/gpu_sanitize.py [--tools memcheck racecheck initcheck synccheck] [--compiler nvcc|nvrtc]

Needs an NVIDIA GPU and compute-sanitizer, of a CUDA toolkit or of PyPI's nvidia-cuda-sanitizer-api-cu12; without them it prints
one line and ends with exit code 2. Exit code 0: nothing was found; 1: something was, or a tool did not run.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import block_end_interface as interface
from benchmarks import cuda_small_shapes

TOOLS = {
    "memcheck": "accesses outside an array, or not aligned",
    "racecheck": "races in shared memory",
    "initcheck": "reads of values that were never written",
    "synccheck": "barriers that not all threads reach",
}
FOUND = 77  # the exit code of compute-sanitizer where a tool has found something; no other program ends with it
PADDING = ("--padding", "64")  # bytes between two arrays, else what lies behind one may belong to the next
PROGRAM = Path(cuda_small_shapes.__file__)


def find_sanitizer() -> Optional[list[str]]:
    """The words of compute-sanitizer's command, or None where it is not installed."""
    found = interface.find_tool("compute-sanitizer")
    if found:
        return [found]
    packages = importlib.util.find_spec("nvidia")
    for folder in (packages and packages.submodule_search_locations) or []:
        for path in sorted(Path(folder).glob("*/bin/compute-sanitizer")):
            if os.access(path, os.X_OK):  # this one looks for its libraries beside itself, where the package has none
                return [str(path), "--injection-path", str(path.parent.parent / "lib")]
    return None


def obstacle() -> Optional[str]:
    """Why nothing can be checked here, or None."""
    try:
        cuda_small_shapes.Device()
    except cuda_small_shapes.NoGpu as reason:
        return f"this check needs an NVIDIA GPU: {reason}"
    if find_sanitizer() is None:
        return "compute-sanitizer is not installed: install a CUDA toolkit, or pip install nvidia-cuda-sanitizer-api-cu12"
    return None


def checked(tool: str, command: list[str], program: list[str]) -> bool:
    """Run ``program`` under a tool of compute-sanitizer and print what it finds; returns whether that is nothing."""
    words = [*command, "--tool", tool, "--error-exitcode", str(FOUND), *(PADDING if tool == "memcheck" else ()), *program]
    ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    outcome = {0: "nothing found", FOUND: "FOUND, see above"}.get(ended.returncode, f"FAILED with exit code {ended.returncode}")
    if ended.returncode:
        print(ended.stdout.rstrip())
    print(f"{tool} ({TOOLS[tool]}): {outcome}", flush=True)
    return ended.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    by_default = "nvcc" if interface.find_tool("nvcc") else "nvrtc"
    parser.add_argument("--compiler", choices=("nvcc", "nvrtc"), default=by_default)
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS))
    parser.add_argument(
        "--planes", nargs="+", type=int, help="sizes of a plane, H * W; by default, those that reach every kernel"
    )
    arguments = parser.parse_args()
    missing = obstacle()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    command = find_sanitizer() or []
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, str(PROGRAM), "--compiler", arguments.compiler]
        if arguments.planes:
            program += ["--planes", *map(str, arguments.planes)]
        if arguments.compiler == "nvcc":
            architecture = cuda_small_shapes.Device().architecture
            program += ["--library", str(interface.build(Path(folder), architecture, ["-lineinfo"]))]
        if subprocess.run(program, check=False).returncode:  # with NVRTC this compiles the kernels, which is slow under a tool
            print("the kernels do not run without compute-sanitizer either, see above", file=sys.stderr)
            return 1
        clean = [checked(tool, command, program) for tool in arguments.tools]
    print("compute-sanitizer found nothing" if all(clean) else "NOT ALL IS RIGHT, see above")
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())

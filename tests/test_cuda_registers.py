"""How many registers the CUDA kernels take on each generation of GPUs: with more, too few threads hide the wait for memory.

nvcc compiles what NVRTC compiles on a user's machine, for the very architecture: code for an older one takes other registers.
"""

import concurrent.futures
import re
import shutil
import subprocess

import pytest

from machine.processor import available_cores
from ops import build

NVCC = shutil.which("nvcc")
ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")
SETS = (  # type, vector, threads, loads: of the layouts that keep most in registers
    ("__half", 4, 8, 7),  # 14 x 14
    ("__nv_bfloat16", 8, 32, 4),  # 28 x 28
    ("float", 4, 64, 4),  # 28 x 28
    ("float", 2, 0, 1),  # NHWC, with attention; no other takes more
    ("__nv_bfloat16", 2, 0, 1),
)
CEILINGS = {"forward": 64, "backward": 80}
"""Registers of a thread. A multiprocessor has 65,536: they suffice for 1,024 and 768 threads."""
MAX_SPILLED = 8  # bytes, of which ptxas for sm_120 may store and load so many
NARROWED = {("__nv_bfloat16", 2, 0, 1, "backward"): (64, 64)}
"""(registers, bytes) where block_end_tasks.h asks for more threads than 80 registers leave room for."""

FIGURES = re.compile(
    r"entry function '(\w+)'.*\n.*\n.* (\d+) bytes spill stores, (\d+) bytes spill loads\n.*Used (\d+) registers"
)

pytestmark = [
    pytest.mark.version_independent,
    pytest.mark.skipif(NVCC is None, reason="nvcc, CUDA's compiler, is not installed"),
]


def compiled(architecture, kind, vector, threads, loads, folder):
    """{kernel: (registers, bytes that it spills)}."""
    target = folder / f"{architecture}-{kind}-{threads}.cubin"
    command = [NVCC, "-std=c++17", "-cubin", f"-arch={architecture}", "-Xptxas", "-v", build.SOURCES / "block_end_cubin.cu"]
    command += [f"-DBLOCK_END_TYPE={kind}", f"-DBLOCK_END_VECTOR={vector}", f"-DBLOCK_END_THREADS={threads}"]
    ended = subprocess.run([*command, f"-DBLOCK_END_LOADS={loads}", "-o", target], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    found = FIGURES.findall(ended.stderr)
    return {kernel: (int(registers), max(int(stored), int(loaded))) for kernel, stored, loaded, registers in found}


def limits(case, kernel):
    return NARROWED.get((*case[1:], kernel), (CEILINGS[kernel], MAX_SPILLED))


def test_no_kernel_takes_more_registers_than_its_ceiling(tmp_path):
    known = subprocess.run([NVCC, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    cases = [(architecture, *one) for architecture in ARCHITECTURES if architecture in known for one in SETS]
    assert cases
    with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
        results = dict(zip(cases, pool.map(lambda case: compiled(*case, tmp_path), cases)))
    assert all(result.keys() == CEILINGS.keys() for result in results.values())
    too_many = {
        (*case, kernel): (registers, spilled)
        for case, result in results.items()
        for kernel, (registers, spilled) in result.items()
        if registers > limits(case, kernel)[0] or spilled > limits(case, kernel)[1]
    }
    assert too_many == {}

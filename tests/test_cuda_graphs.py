"""A CUDA graph can hold the fused operators: a pass queues kernels, and neither allocates device memory nor waits for it.

No GPU is needed: a stand-in for CUDA's driver writes down each call, and nvcc's object file names the functions that it calls.
"""
# ruff: noqa: F811, fixtures come from another file, and tests name them

import ctypes
import itertools
import re
import subprocess

import pytest
from test_cuda_driver import (
    Compiler,
    calls,
    driver,  # noqa: F401, a fixture
    kernels,  # noqa: F401, a fixture
    launcher,  # noqa: F401, a fixture
    opened,  # noqa: F401, a fixture
    planes,
    pytestmark,  # noqa: F401, of the whole file
    stand_in,  # noqa: F401, a fixture
)
from test_cuda_kernels import CODES, NVCC, layouts, needs_nvcc

from ops import build

ALLOWED = {"cudaGetErrorString", "cudaGetLastError"}  # beside what a launch consists of, which begins with underscores


@layouts
@pytest.mark.parametrize("dtype", list(CODES))
@pytest.mark.parametrize("plane", [49, 784, 4104])
def test_a_prepared_pass_asks_the_driver_for_launches_alone(driver, kernels, dtype, plane, channels_last):
    for half in (0, 2):
        assert kernels.prepare(CODES[dtype], 8, plane, half, channels_last) is None
    record = driver.library
    record.stand_in_calls.restype = ctypes.c_char_p
    for half, norm, residual in itertools.product((0, 2), (None, "batch", "running"), (False, True)):
        record.stand_in_forget_calls()
        driver.launches.clear()
        calls(dtype, (2, 8, plane), half, norm, True, residual, 0x5EED, channels_last)(kernels.library)
        made = record.stand_in_calls().decode().split()
        entered = ["cuStreamGetCtx", "cuCtxPushCurrent"]
        launches = made.count("cuLaunchKernel")
        assert launches == len(driver.launches) > 0
        assert sorted(made) == sorted(2 * [*entered, "cuCtxPopCurrent"] + launches * ["cuLaunchKernel"]), "forward, backward"
        assert made[:2] == entered


def test_the_stand_in_writes_down_what_comes_before(driver, opened):
    """Else the test above would pass for a stand-in that notices launches alone."""
    record = driver.library
    record.stand_in_calls.restype = ctypes.c_char_p
    record.stand_in_forget_calls()
    assert opened(Compiler()).prepare(0, *planes(49)) is None
    assert {"cuModuleLoadData", "cuModuleGetFunction", "cuCtxGetDevice"} <= set(record.stand_in_calls().decode().split())


def test_the_sources_name_no_function_of_the_runtime_that_allocates_copies_or_waits():
    sources = {path.name: path.read_text(encoding="utf-8") for path in build.SOURCES.glob("block_end*")}
    assert "block_end_capi.cu" in sources
    named = {name for text in sources.values() for name in re.findall(r"\b(cuda[A-Z]\w*)\s*\(", text)}
    assert named == ALLOWED


@needs_nvcc
def test_nvcc_s_object_file_calls_no_function_of_the_runtime_that_allocates_copies_or_waits(tmp_path):
    target = tmp_path / "kernels.o"
    # the host's code is the same whatever the kernels are compiled to, so they are not optimised
    command = [NVCC, "-c", "-std=c++17", "-gencode=arch=compute_80,code=compute_80", "-Xcicc", "-O0"]
    subprocess.run([*command, build.SOURCES / "block_end_capi.cu", "-o", target], check=True, capture_output=True)
    undefined = subprocess.run(["nm", "--undefined-only", target], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"U (\w*cuda\w*)", undefined))
    assert any("LaunchKernel" in name for name in names)
    assert {name for name in names if not name.startswith("__")} == ALLOWED

"""The processor: its cores, the code path of the arithmetic library (MKL), Paddle's threads and memory.

Call ``configure`` before anything imports Paddle, because MKL chooses its code path while it is loaded. No other function here
imports Paddle.
"""

import contextlib
import ctypes
import os
import platform
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Optional, Union

from machine.parent_process import OF_LAUNCH

PROCESSES_HERE = int(os.environ.get(OF_LAUNCH, "") or 1)  # that paddle.distributed.launch has started on this machine
# Read now, because importing Paddle sets the variable to 1 if the user did not set it, as paddle.distributed.launch does
USERS_THREADS = "" if "paddle" in sys.modules or PROCESSES_HERE > 1 else os.environ.get("OMP_NUM_THREADS", "")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "QUOTA PERIOD": CPU time per period, both in microseconds; QUOTA can be "max"
AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
AVX2 = {"avx2", "fma"}
BLOCKTIME = "1"
"""Milliseconds for which a thread of Paddle's OpenMP that waits for the others keeps its core busy, before it sleeps.

OpenMP's own 200 suit a machine that has nothing else to do: where one other program runs on two cores, a training step takes
2.3 times as long, with one millisecond 2.0 times; alone both take as long (benchmarks/train_step.py --busy).
"""
MOST_READERS = 8
_threads: Optional[int] = None  # for arithmetic, since ``configure`` was called
DEVICES = Path("/dev")
GPU_FILES = ("nvidia[0-9]*", "dxg")
"""In DEVICES, where there is an NVIDIA GPU; the last under Windows, in its Linux."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3), from glibc's malloc.h
IGNORED_WARNINGS = (
    "No ccache found",
    "When training, we now always track global mean and variance",
    "You are using GPU version Paddle, but",  # device.select_device reports it in one line
)


def available_cores() -> int:
    """The number of CPU cores that this process may use, by its affinity and its container's quota.

    Processes that were launched together share them out.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no control groups, or the quota "max"
        quota, period = CPU_QUOTA.read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(1, cores // PROCESSES_HERE)


def reading_processes(device: str) -> int:
    """How many processes of their own are to read photographs for training on ``device``; 0: threads of this one read.

    Beside a GPU they leave the main process's time to it. On a CPU they compete with it for the cores, and after each of their
    starts, one an epoch, the memory that they share with it is copied as it is written: a second for a ResNet50.
    """
    if sys.platform != "linux" or device == "cpu":  # on a system that cannot fork, Paddle warns and reads in the main process
        return 0
    gpus = any(list(DEVICES.glob(pattern)) for pattern in GPU_FILES)
    return min(available_cores() - 1, MOST_READERS) if gpus else 0


def reading_threads() -> int:
    """How many threads of this process read photographs where no other process does; beside them it computes.

    No more than it has for arithmetic: trainings that share a machine have their share of these.
    """
    return max(1, min(_threads or default_threads(), available_cores() - 1, MOST_READERS))


def default_threads() -> int:
    """The number of threads for arithmetic without --threads: the user's OMP_NUM_THREADS, else all cores."""
    return int(USERS_THREADS) if USERS_THREADS.isdecimal() and int(USERS_THREADS) > 0 else available_cores()


def mkl_debug_cpu_type(vendor: Optional[str], flags: set[str]) -> Optional[str]:
    """The value of MKL_DEBUG_CPU_TYPE that suits a CPU, or None to leave the choice to MKL.

    The MKL in Paddle's CPU build takes its slowest path on x86 CPUs from other vendors than Intel; 5 selects AVX2, 7 AVX-512.
    A wrong value causes an illegal instruction, so this function derives it from the CPU's feature ``flags`` (names as in
    Linux's /proc/cpuinfo), and only if the ``vendor`` is known and is not GenuineIntel.
    """
    if not vendor or vendor == "GenuineIntel":
        return None
    if flags >= AVX512:
        return "7"
    if flags >= AVX2:
        return "5"
    return None


def cpu_identity(cpuinfo: Union[str, Path] = "/proc/cpuinfo") -> tuple[Optional[str], set[str]]:
    """(vendor, feature flags) of this machine's first CPU; (None, empty set) if the system does not report them."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None, set()
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as lines:
            first = dict(line.split(":", 1) for line in lines.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return None, set()
    fields = {name.strip(): value.strip() for name, value in first.items()}
    return fields.get("vendor_id"), set(fields.get("flags", "").split())


def configure(threads: Optional[int] = None) -> None:
    """Import Paddle quietly, with the right MKL path and ``threads`` threads (default: default_threads()).

    The user's environment variables MKL_DEBUG_CPU_TYPE, KMP_BLOCKTIME and OMP_WAIT_POLICY take precedence. Signal handlers stay
    as they were: Paddle's own, which print its stack, are removed. If Paddle is imported already, its threads, memory and
    warnings are still set.
    """
    global _threads
    first = "paddle" not in sys.modules
    sigterm = signal.getsignal(signal.SIGTERM)
    if first:
        cpu_type = mkl_debug_cpu_type(*cpu_identity())
        if cpu_type:
            os.environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)
        if "OMP_WAIT_POLICY" not in os.environ:  # which says the same in another way
            os.environ.setdefault("KMP_BLOCKTIME", BLOCKTIME)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    # Before Paddle: version 2.6 for GPUs has its own zlib symbols, and Python's zlib crashes if it is loaded after them
    import zlib  # noqa: F401

    import paddle  # not at the top of the module: the lines above must run first

    if first:
        paddle.disable_signal_handler()
        if sigterm is not None and threading.current_thread() is threading.main_thread():  # others may set no handler
            signal.signal(signal.SIGTERM, sigterm)
    keep_freed_memory()
    _threads = threads or default_threads()
    paddle.base.core.set_num_threads(_threads)


def keep_freed_memory() -> bool:
    """Make the C library reuse large blocks instead of returning each one to the system; returns whether it does.

    Paddle's CPU allocator frees every activation after use, glibc returns blocks of that size to the system at once, and the
    next step pays with page faults: nearly a fifth of a ResNet50's training step. Only for glibc; the user's environment
    variables MALLOC_... take precedence.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Never map a block separately, and never trim the heap
    return all(mallopt(parameter, value) for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)))


def return_freed_memory() -> None:
    """Give back to the system what ``keep_freed_memory`` has kept so far, after something that took much and is rare."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)

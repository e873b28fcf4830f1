"""How Paddle runs on this machine: the arithmetic library's code path, threads, device, signals.

``configure`` must be called before anything imports Paddle, because the arithmetic library (MKL) chooses its code path when
it is loaded.
"""

import contextlib
import ctypes
import multiprocessing
import os
import platform
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

from messages.terminal import print_error
from messages.user_error import UserError

# Read now: Paddle, when it is imported, sets the variable to 1 where the user did not set it
USERS_THREADS = "" if "paddle" in sys.modules else os.environ.get("OMP_NUM_THREADS", "")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU time a period, the period; or "max"
AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
AVX2 = {"avx2", "fma"}
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3), from glibc's malloc.h
PR_SET_PDEATHSIG = 1  # of prctl(2), from Linux's sys/prctl.h
INTERRUPTED, TERMINATED = 130, 143  # exit codes after Ctrl-C and SIGTERM, as shells give them


class DeviceError(UserError):
    """The device that was asked for is not there."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; unwinds like Ctrl-C."""


def available_cores() -> int:
    """CPU cores this process may use: its affinity and its container's quota, where the system has them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no control groups, or the quota "max"
        return cores


def default_threads() -> int:
    """Threads for arithmetic where --threads says nothing: the user's OMP_NUM_THREADS, else all cores."""
    return int(USERS_THREADS) if USERS_THREADS.isdecimal() and int(USERS_THREADS) > 0 else available_cores()


def mkl_debug_cpu_type(vendor, flags):
    """The value of MKL_DEBUG_CPU_TYPE that suits a CPU, or None to leave MKL's own choice.

    The MKL in Paddle's CPU build takes its slowest path on x86 CPUs that are not Intel's; 5 stands for AVX2, 7 for AVX-512.
    A wrong value ends in an illegal instruction, so it is derived from the CPU's own feature ``flags`` (a set of names as in
    Linux's /proc/cpuinfo) and only where the ``vendor`` is known and is not GenuineIntel.
    """
    if not vendor or vendor == "GenuineIntel":
        return None
    if flags >= AVX512:
        return "7"
    if flags >= AVX2:
        return "5"
    return None


def cpu_identity(cpuinfo="/proc/cpuinfo"):
    """(vendor, set of feature flags) of this machine's first CPU; (None, empty set) where the system does not tell."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None, set()
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as lines:
            first = dict(line.split(":", 1) for line in lines.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return None, set()
    fields = {name.strip(): value.strip() for name, value in first.items()}
    return fields.get("vendor_id"), set(fields.get("flags", "").split())


def configure(threads=None) -> None:
    """Import Paddle, quietly, with the right MKL path and ``threads`` threads (default: default_threads()).

    What the user set in the environment (MKL_DEBUG_CPU_TYPE) wins. Where Paddle is imported already, only the number of
    threads changes.
    """
    cpu_type = mkl_debug_cpu_type(*cpu_identity())
    if cpu_type and "paddle" not in sys.modules:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    warnings.filterwarnings("ignore", message="To copy construct from a tensor")  # paddle.Model does so with every batch
    warnings.filterwarnings("ignore", message="You are using GPU version Paddle, but")  # select_device says it in one line
    # Before Paddle: 2.6 for GPUs brings zlib symbols of its own, and Python's zlib, loaded after them, crashes
    import zlib  # noqa: F401

    import paddle

    keep_freed_memory()
    paddle.base.core.set_num_threads(threads or default_threads())


def keep_freed_memory() -> bool:
    """Let the C library reuse large blocks instead of handing each one back to the system; returns whether it agreed.

    Paddle's CPU allocator frees every activation after use, glibc returns blocks of that size to the system at once, and the
    next step pays for it in page faults: nearly a fifth of a ResNet50's training step. glibc only; what the user
    set in the environment (MALLOC_...) wins.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # numbers of glibc's malloc.h: no blocks mapped one by one, and never trim the heap
    return all(mallopt(parameter, value) for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)))


def peak_memory():
    """The most memory in MB that this process has held so far: on the GPU where Paddle computes there, else main memory; None
    where the system does not tell."""
    import paddle

    if paddle.get_device().startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def select_device(device) -> str:
    """Make ``device`` ("auto", "cpu" or "gpu") Paddle's device and return the one taken; raises DeviceError."""
    import paddle

    obstacle = _gpu_obstacle(paddle)
    if device == "gpu" and obstacle:
        raise DeviceError(f"device = 'gpu': {obstacle}; --device cpu runs on the processor")
    if device == "auto" and obstacle and paddle.is_compiled_with_cuda():
        print(f"running on the processor: {obstacle}", file=sys.stderr)
    taken = "cpu" if obstacle or device == "cpu" else "gpu"
    paddle.set_device(taken)
    return taken


def make_deterministic() -> None:
    """Let Paddle's GPU operators give the same bits every time; on a CPU they do, with the same number of threads."""
    import paddle

    if paddle.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_cudnn_deterministic": True, "FLAGS_cudnn_exhaustive_search": False})


def _gpu_obstacle(paddle):
    """Why this Paddle cannot use a GPU here, or None where it can."""
    if not paddle.is_compiled_with_cuda():
        return "this Paddle is a CPU build"
    if paddle.device.cuda.device_count() == 0:
        return "no CUDA GPU answers"
    capability = paddle.device.cuda.get_device_capability()
    if paddle.__version__.startswith("2.") and tuple(capability) >= (9, 0):
        return (
            f"Paddle {paddle.__version__} has no code for this GPU (compute capability {capability[0]}.{capability[1]}); "
            f"Paddle 3 from Paddle's own index has: see README"
        )
    return None


def handle_termination(patience=4.0) -> None:
    """Let SIGTERM unwind the program as Ctrl-C does, instead of Paddle's own handler that dumps its stack.

    Python acts on a signal only when Paddle's current operation has returned, and the backward pass of a large batch can take
    long. So ``patience`` seconds after either signal a thread ends the process with its workers, unless it has ended by itself.
    """
    import paddle

    if signal.getsignal(signal.SIGTERM) is _terminate:
        return
    paddle.disable_signal_handler()
    signal.signal(signal.SIGTERM, _terminate)
    arrived, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)  # written to at once, whatever the main thread does
    threading.Thread(target=_end_in_time, args=(arrived, wakes, patience), daemon=True).start()


def run(script, work, config, patience=4.0) -> int:
    """The main function of the scripts that need Paddle: the exit code of ``work(config)``.

    That is what it returns if it is a number, else 0; where it raises an error that the user can put right, that is printed in
    one line and decides. ``patience``: see handle_termination. Paddle is configured before ``work`` is called, which alone may
    import what imports Paddle.
    """
    try:
        configure(config.threads)
        handle_termination(patience)
        code = work(config)
        return code if isinstance(code, int) else 0
    except (UserError, OSError) as error:
        print_error(script, error)
        return getattr(error, "exit_code", 2)
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED


def _terminate(signum, frame):
    raise Terminated


def _end_in_time(arrived, wakes, patience):
    codes = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
    received = 0
    while received not in codes:
        received = arrived.recv(1)[0]
    time.sleep(patience)
    for worker in multiprocessing.active_children():
        worker.kill()
    print("ended in the middle of a step; what the finished epochs gave is in the run folder", file=sys.stderr, flush=True)
    os._exit(codes[received])


def leave(code) -> None:
    """End the process with the exit code of a script's main.

    After an interruption at once, without the interpreter's own clean-up: in the middle of a step Paddle 2.6 crashes in it,
    and all that is to be kept is on the disk.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if code in (INTERRUPTED, TERMINATED):
        os._exit(code)
    sys.exit(code)


def become_worker(worker_id=None) -> None:
    """In a process that reads photographs: Ctrl-C reaches the whole process group, but only the main process is to act on it;
    and when that one dies, however it does, this one ends too."""
    signal.set_wakeup_fd(-1)  # the main process's: see handle_termination
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != multiprocessing.parent_process().pid:  # it died before it could be asked for
        _end_worker()


def _end_worker(signum=None, frame=None):
    remove_shared_batches(os.getpid())
    os._exit(TERMINATED)


def remove_shared_batches(worker) -> None:
    """Remove the batches that the reading process with this number has put into shared memory and nobody has taken.

    They would stay there until the machine is started anew, and containers have little of it.
    """
    for batch in Path("/dev/shm").glob(f"paddle_{worker}_*"):
        with contextlib.suppress(OSError):
            batch.unlink()

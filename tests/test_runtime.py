"""The choice of MKL's code path, threads and device."""

import contextlib
import multiprocessing
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import paddle
import pytest
from processes import heed_interruption

from machine import runtime

ROOT = Path(__file__).resolve().parent.parent
ZEN4 = {"avx2", "fma", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("GenuineIntel", ZEN4, None),
        ("GenuineIntel", {"avx2", "fma"}, None),
        ("AuthenticAMD", ZEN4, "7"),
        ("AuthenticAMD", ZEN4 - {"avx512dq"}, "5"),
        ("AuthenticAMD", {"avx2", "fma", "sse4_2"}, "5"),
        ("AuthenticAMD", {"avx2"}, None),
        ("AuthenticAMD", {"sse4_2"}, None),
        ("HygonGenuine", {"avx2", "fma"}, "5"),
        (None, set(), None),
        ("", ZEN4, None),
    ],
)
def test_mkl_path_follows_the_cpus_own_flags(vendor, flags, expected):
    assert runtime.mkl_debug_cpu_type(vendor, flags) == expected


def test_cpu_identity_reads_linux_cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime.platform, "machine", lambda: "x86_64")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert runtime.cpu_identity(cpuinfo) == ("AuthenticAMD", {"fpu", "avx2", "fma"})


def test_cpu_identity_is_unknown_on_arm_and_without_cpuinfo(tmp_path, monkeypatch):
    assert runtime.cpu_identity(tmp_path / "missing") == (None, set())
    monkeypatch.setattr(runtime.platform, "machine", lambda: "aarch64")
    assert runtime.cpu_identity() == (None, set())


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "7"), ("5", "5")])
def test_the_users_own_setting_wins(set_by_user, expected):
    code = (
        "import os, sys, types; sys.modules['paddle'] = None\n"
        "from training import runtime\n"
        "runtime.cpu_identity = lambda: ('AuthenticAMD', runtime.AVX512)\n"
        "del sys.modules['paddle']\n"
        "sys.meta_path.insert(0, type('Stop', (), {'find_spec': staticmethod(lambda n, *a: sys.exit("
        "os.environ.get('MKL_DEBUG_CPU_TYPE')) if n == 'paddle' else None)})())\n"
        "runtime.configure()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MKL_DEBUG_CPU_TYPE"}
    if set_by_user:
        environment["MKL_DEBUG_CPU_TYPE"] = set_by_user
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stderr.strip() == expected  # sys.exit with a text prints it: the value when Paddle is about to be imported


def test_pictures_can_be_saved_after_configuring():
    """Paddle 2.6 for GPUs crashes Python's zlib, which PNG files need, unless that is loaded before it."""
    code = (
        "from training import runtime; runtime.configure(1)\n"
        "import io; from PIL import Image; out = io.BytesIO()\n"
        "Image.effect_noise((50, 50), 40).save(out, 'png'); print(Image.open(out).getpixel((1, 1)) >= 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.skipif(not hasattr(signal, "set_wakeup_fd"), reason="needs signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_a_long_operation_ends_the_process_all_the_same(sent, code):
    program = (
        "from training import runtime; runtime.configure(1); runtime.handle_termination(patience=0.5)\n"
        "import hashlib; print('ready', flush=True)\n"
        "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**8)"  # a minute in C, during which Python handles no signal
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, preexec_fn=heed_interruption, **pipes)
    try:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        process.send_signal(sent)
        _, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == code
    assert b"ended in the middle of a step" in err


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")
def test_freed_memory_is_kept_unless_the_environment_tunes_malloc(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    assert runtime.keep_freed_memory()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not runtime.keep_freed_memory()


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "all"), ("3", "3")])
def test_importing_paddle_does_not_change_the_number_of_threads(set_by_user, expected):
    """Paddle sets OMP_NUM_THREADS to 1 while it is imported."""
    code = (
        "from config import Config; from training import runtime; runtime.configure()\n"
        "threads = Config().resolved().threads\n"
        "print('all' if threads == runtime.available_cores() else threads, runtime.default_threads() == threads)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if set_by_user:
        environment["OMP_NUM_THREADS"] = set_by_user
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [expected, "True"], done.stderr


def test_threads_follow_the_users_own_setting_and_the_containers_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "USERS_THREADS", "3")
    assert runtime.default_threads() == 3
    monkeypatch.setattr(runtime, "USERS_THREADS", "")
    assert runtime.default_threads() == runtime.available_cores()
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(runtime, "CPU_QUOTA", quota)
    for text, cores in (("max 100000\n", 64), ("200000 100000\n", 2), ("50000 100000\n", 1)):
        quota.write_text(text)
        assert runtime.available_cores() == cores


def test_a_gpu_newer_than_paddle_2_is_passed_over_with_the_reason(monkeypatch, capsys):
    import paddle

    monkeypatch.setattr(paddle, "__version__", "2.6.2")
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (9, 0), raising=False)
    assert runtime.select_device("auto") == "cpu"
    assert "no code for this GPU (compute capability 9.0)" in capsys.readouterr().err
    with pytest.raises(runtime.DeviceError, match="Paddle 3 from Paddle's own index"):
        runtime.select_device("gpu")


def test_asking_for_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    import paddle

    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: False)
    with pytest.raises(runtime.DeviceError, match="device = 'gpu': this Paddle is a CPU build; --device cpu"):
        runtime.select_device("gpu")
    assert runtime.select_device("auto") == "cpu"


def wait_as_worker(ready):
    runtime.become_worker()
    ready.set()
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_a_signal_to_a_worker_ends_that_one_alone():
    context = multiprocessing.get_context("fork")
    here, wakes = socket.socketpair()
    here.setblocking(False)
    wakes.setblocking(False)
    before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    try:
        ready = context.Event()
        worker = context.Process(target=wait_as_worker, args=(ready,))
        worker.start()
        assert ready.wait(10)
        left = Path(f"/dev/shm/paddle_{worker.pid}_1_2")
        left.touch()
        worker.terminate()
        worker.join(10)
    finally:
        signal.set_wakeup_fd(before)
    assert worker.exitcode == runtime.TERMINATED
    assert not left.exists(), "batches that nobody took go with it"
    received = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            received += here.recv(64)
    assert signal.SIGTERM not in received  # others, such as SIGCHLD, may have come


def test_deterministic_algorithms_are_asked_of_cudnn():
    runtime.make_deterministic()
    if paddle.is_compiled_with_cuda():  # a CPU build does not know the flag
        assert paddle.get_flags("FLAGS_cudnn_deterministic") == {"FLAGS_cudnn_deterministic": True}

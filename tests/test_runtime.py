"""The choice of MKL's code path, threads and device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training import runtime

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
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.stderr.strip() == expected  # sys.exit with a text prints it: the value when Paddle is about to be imported


def test_a_gpu_newer_than_paddle_2_is_passed_over_with_the_reason(monkeypatch, capsys):
    import paddle

    monkeypatch.setattr(paddle, "__version__", "2.6.2")
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (9, 0), raising=False)
    assert runtime.select_device("auto") == "cpu"
    assert "no code for this GPU (compute capability 9.0)" in capsys.readouterr().out
    with pytest.raises(runtime.DeviceError, match="Paddle 3 from Paddle's own index"):
        runtime.select_device("gpu")


def test_asking_for_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    import paddle

    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: False)
    with pytest.raises(runtime.DeviceError, match="device = 'gpu': this Paddle is a CPU build; --device cpu"):
        runtime.select_device("gpu")
    assert runtime.select_device("auto") == "cpu"

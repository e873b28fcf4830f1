"""The processor: the choice of MKL's code path, threads, freed memory."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from machine import processor

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
    assert processor.mkl_debug_cpu_type(vendor, flags) == expected


def test_cpu_identity_reads_linux_cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert processor.cpu_identity(cpuinfo) == ("AuthenticAMD", {"fpu", "avx2", "fma"})


def test_cpu_identity_is_unknown_on_arm_and_without_cpuinfo(tmp_path, monkeypatch):
    assert processor.cpu_identity(tmp_path / "missing") == (None, set())
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    assert processor.cpu_identity() == (None, set())


@pytest.mark.parametrize(
    ("variable", "set_by_user", "expected"),
    [
        ("MKL_DEBUG_CPU_TYPE", None, "7"),
        ("MKL_DEBUG_CPU_TYPE", "5", "5"),
        ("KMP_BLOCKTIME", None, "1"),
        ("KMP_BLOCKTIME", "200", "200"),
    ],
)
def test_the_users_own_setting_wins(variable, set_by_user, expected):
    assert when_paddle_is_imported(variable, **({variable: set_by_user} if set_by_user else {})) == expected


def test_who_says_how_openmp_waits_is_obeyed():
    assert when_paddle_is_imported("KMP_BLOCKTIME", OMP_WAIT_POLICY="active") == ""  # not set


def when_paddle_is_imported(variable, **environment):
    """The value of an environment variable then, in a process that begins with ``environment``."""
    code = (
        "import os, sys, types; sys.modules['paddle'] = None\n"
        "from machine import processor\n"
        "processor.cpu_identity = lambda: ('AuthenticAMD', processor.AVX512)\n"
        "del sys.modules['paddle']\n"
        "sys.meta_path.insert(0, type('Stop', (), {'find_spec': staticmethod(lambda n, *a: sys.exit("
        f"os.environ.get('{variable}')) if n == 'paddle' else None)}})())\n"
        "processor.configure()\n"
    )
    inherited = {k: v for k, v in os.environ.items() if k != variable}
    command, given = [sys.executable, "-c", code], {**inherited, **environment}
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True)
    return done.stderr.strip()  # sys.exit with a text prints it


def test_pictures_can_be_saved_after_configuring():
    """Paddle 2.6 for GPUs crashes Python's zlib, which PNG files need, unless that is loaded before it."""
    code = (
        "from machine import processor; processor.configure(1)\n"
        "import io; from PIL import Image; out = io.BytesIO()\n"
        "Image.effect_noise((50, 50), 40).save(out, 'png'); print(Image.open(out).getpixel((1, 1)) >= 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")
def test_freed_memory_is_kept_unless_the_environment_tunes_malloc(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    assert processor.keep_freed_memory()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not processor.keep_freed_memory()


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "all"), ("3", "3")])
def test_importing_paddle_does_not_change_the_number_of_threads(set_by_user, expected):
    """Paddle sets OMP_NUM_THREADS to 1 while it is imported."""
    code = (
        "from config import Config; from machine import processor; processor.configure()\n"
        "threads = Config().resolved().threads\n"
        "print('all' if threads == processor.available_cores() else threads, processor.default_threads() == threads)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if set_by_user:
        environment["OMP_NUM_THREADS"] = set_by_user
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [expected, "True"], done.stderr


def test_threads_follow_the_users_own_setting_and_the_containers_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "USERS_THREADS", "3")
    assert processor.default_threads() == 3
    monkeypatch.setattr(processor, "USERS_THREADS", "")
    assert processor.default_threads() == processor.available_cores()
    monkeypatch.setattr(processor.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(processor, "CPU_QUOTA", quota)
    for text, cores in (("max 100000\n", 64), ("200000 100000\n", 2), ("50000 100000\n", 1)):
        quota.write_text(text)
        assert processor.available_cores() == cores


@pytest.mark.parametrize(
    ("threads", "cores", "expected"), [(2, 2, 1), (2, 8, 2), (1, 8, 1), (None, 4, 3), (64, 64, 8), (1, 1, 1)]
)
def test_trainings_that_share_the_cores_share_out_those_that_read(monkeypatch, threads, cores, expected):
    monkeypatch.setattr(processor, "_threads", threads)
    monkeypatch.setattr(processor, "available_cores", lambda: cores)
    monkeypatch.setattr(processor, "USERS_THREADS", "")
    assert processor.reading_threads() == expected

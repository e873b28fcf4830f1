"""Locks and claims between processes."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from machine import locks

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_POSIX_LOCKS = "locks.fcntl = None"  # the way of Windows
FORKED_READER = """
reader = os.fork()
if not reader:
    time.sleep(60)
print(reader, flush=True)
"""


@pytest.fixture
def start():
    """Starts a process that runs a few lines, says "ready" and waits to be killed."""
    started = []

    def start(*lines):
        imports, wait = "import os, sys, time\nfrom machine import locks", "print('ready', flush=True)\nsys.stdin.read()"
        program = "\n".join([imports, *lines, wait])
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("system", ["", WITHOUT_POSIX_LOCKS], ids=["posix", "other"])
def test_a_claim_is_refused_while_another_process_holds_it_and_free_once_that_is_killed(tmp_path, monkeypatch, start, system):
    if system:
        monkeypatch.setattr(locks, "fcntl", None)
    path = tmp_path / ".lock"
    process = start(system, f"held = locks.claim({str(path)!r})")
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(locks.ClaimedError):
        locks.claim(path)
    process.kill()
    process.wait()
    with locks.claim(path):
        process = start(system, f"try: locks.claim({str(path)!r})", "except locks.ClaimedError: print('refused', flush=True)")
        assert process.stdout.readline() == "refused\n"
    process = start(system, f"held = locks.claim({str(path)!r})")
    assert process.stdout.readline() == "ready\n", "the block has ended"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_reader_that_outlives_a_killed_training_does_not_hold_its_claim(tmp_path, start):
    process = start(f"held = locks.claim({str(tmp_path / '.lock')!r})", FORKED_READER)
    reader = int(process.stdout.readline())
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    try:
        locks.claim(tmp_path / ".lock").close()
    finally:
        os.kill(reader, signal.SIGKILL)


def test_a_lock_is_waited_for_and_let_go_when_its_process_is_killed(tmp_path, start):
    hold = f"lock = locks.locked({str(tmp_path / 'lock')!r}); lock.__enter__()"
    first = start(hold)
    assert first.stdout.readline() == "ready\n"
    second = start("print('asks', flush=True)", hold, "print(time.time(), flush=True)")
    assert second.stdout.readline() == "asks\n"
    time.sleep(0.5)
    killed_at = time.time()
    first.kill()
    assert float(second.stdout.readline()) > killed_at


@pytest.mark.skipif(os.name != "posix", reason="Windows locks in another way")
@pytest.mark.parametrize("there", [True, False])
def test_a_claim_follows_no_link(tmp_path, there):
    outside = tmp_path / "outside"
    if there:
        outside.write_text("the user's")
    (tmp_path / ".lock").symlink_to(outside)
    with pytest.raises(OSError):
        locks.claim(tmp_path / ".lock")
    assert outside.exists() == there


@pytest.mark.skipif(locks.fcntl is None, reason="needs flock")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, number):
    def none(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", none)
    with locks.locked(tmp_path / "lock") as held:
        assert not held
    monkeypatch.undo()
    with locks.locked(tmp_path / "lock") as held:
        assert held


@pytest.mark.skipif(locks.fcntl is None, reason="needs flock")
def test_a_long_wait_for_a_lock_says_what_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "SECONDS_OF_SILENCE", 0)
    monkeypatch.setattr(locks, "PAUSE", 0)
    tries = iter([BlockingIOError(errno.EAGAIN, "busy")] * 3 + [None] * 2)

    def flock(handle, operation):
        if error := next(tries):
            raise error

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with locks.locked(tmp_path / "lock") as held:
        assert held
    assert capsys.readouterr().err == f"waiting for another process, which has locked {tmp_path / 'lock'} ...\n"


@pytest.mark.skipif(locks.fcntl is None, reason="needs POSIX locks")
def test_a_long_wait_for_a_claim_says_so_too(tmp_path, monkeypatch, capsys, start):
    monkeypatch.setattr(locks, "SECONDS_OF_SILENCE", 0)
    path = tmp_path / ".eval.lock"
    process = start(f"held = locks.claim({str(path)!r})")
    assert process.stdout.readline() == "ready\n"
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: (process.kill(), process.wait()))
    with locks.claim_in_turn(path):
        assert capsys.readouterr().err == f"waiting for another process, which has locked {path} ...\n"

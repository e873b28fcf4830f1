"""Starts a script as several processes through paddle.distributed.launch, and stands for them on the terminal.

launch writes the output of each process to a file, polls every two seconds, and waits up to half a minute for the processes to
end. So what the first process says is passed on from its file at once; of the others only why one failed, in one line. All of
them hold the standard input of this process's making, and end with it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from machine import ending, parent_process
from machine.processor import configure
from machine.temporary_folder import temporary_folder
from messages.progress import WIDTH_OF_TERMINAL
from messages.terminal import print_line
from messages.user_error import UserError
from processes.environment import LOST

PAUSE = 0.1  # seconds between two looks at what the first process has written
PATIENCE = 4.0  # seconds that the processes get to end
ROOT = Path(__file__).resolve().parent.parent
OF_PADDLE = re.compile(rb"=+( Modified FLAGS detected =+)?\s*|FLAGS\(name=.*\s*")
TRACEBACK = "Traceback (most recent call last)"
FAILED = re.compile(r"Container rank (\d+) status failed .* code (-?\d+) log")


class LaunchError(UserError):
    """The processes cannot be started, or one of them failed."""

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


def run(script: str, asked: int, config: Any, hint: str = "") -> int:
    """The main function of ``script`` (without .py) where several processes do its work: returns the exit code.

    ``asked``: how many, 0 for one on each GPU. They get this process's command line. ``hint``: what to do if one is lost.
    """

    def work(config):
        return run_processes(script, sys.argv[1:], count_processes(asked, config.device), config.device, hint)

    return ending.run(script, work, config, patience=2 * PATIENCE, uses_paddle=False)


def count_processes(asked: int, device: str) -> int:
    """The number of processes that ``asked`` means on ``device`` ("auto", "cpu", "gpu"): 0 is one for each GPU.

    Raises LaunchError where there are fewer GPUs.
    """
    if asked == 1 or (asked and device == "cpu"):
        return asked
    configure(1)
    import paddle  # takes seconds, so only now

    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if not asked and not gpus:
        raise LaunchError("processes = 0: there is no CUDA GPU; --processes 2, say, shares out the cores of the processor")
    if gpus and asked > gpus:
        raise LaunchError(f"processes = {asked}: there are {gpus} GPUs, and each process needs one; --processes 0 takes all")
    return asked or gpus


def run_processes(script: str, arguments: Sequence[str], count: int, device: str, hint: str = "") -> int:
    """Run ``script`` (without .py) with ``arguments`` in ``count`` processes to the end; returns its exit code.

    Raises LaunchError with the reason where one of them fails, and KeyboardInterrupt after it has ended them.
    """
    with tempfile.TemporaryDirectory(prefix="processes-", dir=temporary_folder()) as folder:  # launch writes environments there
        logs = Path(folder)
        launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(count), "--host", "127.0.0.1"]
        launch += ["--log_dir", folder, "--log_level", "ERROR", str(ROOT / f"{script}.py"), *arguments]
        with open(logs / "launch", "w+", encoding="utf-8", errors="replace") as said:
            process = subprocess.Popen(
                launch, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, env=_environment(device, count),
                start_new_session=hasattr(os, "setsid"),
            )  # fmt: skip
            relay = _Relay(logs / "workerlog.0", script)
            try:
                while process.poll() is None:
                    relay.pass_on()
                    time.sleep(PAUSE)
            finally:
                _end(process)
                relay.pass_on(is_last=True)
            said.seek(0)
            words_of_launch = said.read()
        failed = FAILED.search(words_of_launch)
        if process.returncode == 0:
            return 0
        if process.returncode < 0:
            raise LaunchError(f"paddle.distributed.launch was {_ended_by(-process.returncode)}{hint and '; '}{hint}", 1)
        if not failed:
            last = (words_of_launch.strip().splitlines() or ["it said nothing"])[-1]
            raise LaunchError(f"paddle.distributed.launch ended with exit code {process.returncode}: {last}", 1)
        rank, code = int(failed[1]), int(failed[2])
        if code > 0 and not _says_why(logs / f"workerlog.{rank}", script):
            return code  # as predict.py --strict
        raise _reason(script, logs, count, rank, code, hint)


def _environment(device, count):
    changed = {
        parent_process.VARIABLE: "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",  # what they write into files is passed on as text
        "GLOG_minloglevel": "2",  # Paddle's sockets tell of each connection
        WIDTH_OF_TERMINAL: str(shutil.get_terminal_size().columns) if sys.stdout.isatty() else "",
    }
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device == "cpu" or (visible is not None and {name.strip() for name in visible.split(",")} <= {"", "-1"}):
        # launch takes as many names as there are processes from this variable, if it is set at all; no GPU has this one
        changed |= {"CUDA_VISIBLE_DEVICES": ",".join(["-1"] * count), "PADDLE_DISTRI_BACKEND": "gloo"}
    return {**os.environ, **changed}


def _end(process):
    """End launch and all that it has started."""
    running = process.poll() is None
    if process.stdin:
        process.stdin.close()  # the processes end as after SIGTERM, all at once
    if not running:
        return
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    if process.poll() is None:
        process.kill()
        process.wait()


class _Relay:
    """Passes on to stdout what the first process writes to its file, without its last word, which starts with its name."""

    def __init__(self, log: Path, script: str):
        self.log, self.last_word = log, f"{script}.py: ".encode()
        self.place, self.rest = 0, b""

    def pass_on(self, is_last: bool = False) -> None:
        try:
            with open(self.log, "rb") as file:
                file.seek(self.place)
                new = file.read()
        except OSError:  # not there yet
            return
        self.place += len(new)
        *whole, self.rest = re.split(rb"(?<=\n)|(?<=\r)", self.rest + new)
        if self.rest and not is_last and not self.last_word.startswith(self.rest[: len(self.last_word)]):
            whole, self.rest = [*whole, self.rest], b""  # a progress bar ends without an end of line
        elif is_last:
            whole.append(self.rest)
        text = b"".join(line for line in whole if not (line.startswith(self.last_word) or OF_PADDLE.fullmatch(line)))
        if text:
            sys.stdout.write(text.decode("utf-8", "replace"))
            sys.stdout.flush()


def _reason(script, logs, count, rank, code, hint) -> LaunchError:
    """Why the processes ended, of which launch noticed that ``rank`` did, with an exit code."""
    words = [_last_words(logs / f"workerlog.{number}", script) for number in range(count)]
    own = [word for word in words if word and LOST not in word]
    errors = [word[len("error: ") :] for word in own if word.startswith("error: ")]
    if errors:
        return LaunchError(errors[0], max(code, 1))
    for number, word in enumerate(words):  # a fault of the program, which Python has reported
        report = _text(logs / f"workerlog.{number}")
        if not word and TRACEBACK in report:
            print_line(report[report.rindex(TRACEBACK) :])
            return LaunchError(f"process {number + 1} of {count} failed, see above; the others ended with it", 1)
    # It may be one of those that ended because another one was killed
    lost = rank if code < 0 else next((number for number, word in enumerate(words) if not word), rank)
    how = _ended_by(-code) if code < 0 else "ended from outside, out of memory?"
    return LaunchError(f"process {lost + 1} of {count} was {how}; the others ended with it{hint and '; '}{hint}", 1)


def _says_why(log, script):
    """Whether the process has ended with a line in its own name, or with Python's report of a fault."""
    return _last_words(log, script) or TRACEBACK in _text(log)


def _text(log):
    with contextlib.suppress(OSError):
        return log.read_text("utf-8", "replace")
    return ""


def _ended_by(number):
    name = signal.Signals(number).name
    return f"ended by {name}{', out of memory?' * (name == 'SIGKILL')}"


def _last_words(log, script) -> Optional[str]:
    """The last line that the process wrote in its own name, without it, or None."""
    for line in reversed(_text(log).splitlines()):
        if line.startswith(f"{script}.py: "):
            return line[len(script) + 5 :]
    return None

"""Runs a script in its own process: its peak memory is then its own, and its failure does not end the comparison.

Where the comparison dies, however it dies, the script ends as well.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

from machine import parent_process
from machine.interruption import INTERRUPTED, TERMINATED, Terminated

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 6  # seconds that an interrupted script gets to end; it takes at most 4 itself


_running: set[subprocess.Popen] = set()
_ended: set[subprocess.Popen] = set()  # by ``end_scripts``
_registry = threading.Lock()  # held while a script starts: then none is overlooked


class ProcessFailed(RuntimeError):
    """A script ended with an error; the message is its last line."""


class TookTooLong(ProcessFailed):
    """A script was ended because it took longer than it was given."""


def run_script(
    script: str,
    arguments: Sequence[object],
    quiet: bool = False,
    seconds: Optional[float] = None,
    tell: Optional[Callable[[str], None]] = None,
    variables: Optional[dict[str, str]] = None,
) -> None:
    """Run ``script`` to its end; raises ProcessFailed, or KeyboardInterrupt where it was interrupted.

    Its output goes to this process's stdout and stderr; with ``quiet`` it is dropped; with ``tell`` that is called with each
    line. After ``seconds`` it is ended, and TookTooLong raised. ``variables``: of its environment, besides this process's.
    """
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", parent_process.VARIABLE: "1", **(variables or {})}
    out = subprocess.DEVNULL if quiet else subprocess.PIPE if tell else None
    with _registry:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
        )
        _running.add(process)
    teller = _Teller(process, tell)
    late = threading.Event()

    def end():
        late.set()
        process.terminate()

    timer = threading.Timer(seconds or 0.0, end)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        last = ""
        for line in process.stderr or ():
            last = line.strip() or last
            if tell:
                teller.tell(line)
            elif not quiet:
                print(line, end="", file=sys.stderr, flush=True)
        code = process.wait()
    except KeyboardInterrupt as interruption:
        # Ctrl-C reached the script as well, which now writes its result.json; SIGTERM reached this process alone
        if isinstance(interruption, Terminated):
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        raise
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
        teller.end()
        _running.discard(process)
        if process.stdin:
            process.stdin.close()  # only now: this is how the script knows that this process lives
    if teller.error:
        raise teller.error
    if process in _ended:
        _ended.discard(process)
        raise KeyboardInterrupt
    if code and late.is_set():
        raise TookTooLong(f"{script} took longer than {seconds:.0f} s")
    if code in (INTERRUPTED, TERMINATED):
        raise KeyboardInterrupt
    if code < 0:
        name = signal.Signals(-code).name
        raise ProcessFailed(f"{script} was ended by {name}" + (", out of memory?" if name == "SIGKILL" else ""))
    if code:
        raise ProcessFailed(last or f"{script} ended with exit code {code}")


def end_scripts() -> None:
    """End the scripts that other threads run: as Ctrl-C would, or, after ``PATIENCE`` seconds, at once."""
    with _registry:
        running = list(_running)
    _ended.update(running)
    for process in running:
        process.terminate()
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        if process.poll() is None:
            process.kill()


class _Teller:
    """Calls ``tell`` with each line of a script's stdout, in a thread; where that raises, the script is ended.

    The thread goes on reading: a script whose output nobody reads stands still.
    """

    def __init__(self, process, tell):
        self.process, self._tell = process, tell
        self.error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        if process.stdout:
            self._thread.start()

    def tell(self, line: str) -> None:
        if self.error:
            return
        try:
            self._tell(line.rstrip())
        except BaseException as error:
            self.error = error
            self.process.terminate()

    def end(self) -> None:
        if self.process.stdout:
            self._thread.join()

    def _read(self):
        for line in self.process.stdout:
            self.tell(line)

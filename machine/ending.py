"""How every script runs and ends: its exit code, one line for an error or an interruption, never a traceback for these.

Scripts import this module before others: from then on Ctrl-C gives one line, also while the rest is imported.
"""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, NoReturn

from machine.processor import configure
from messages.terminal import print_error
from messages.user_error import UserError

INTERRUPTED, TERMINATED = 130, 143  # exit codes after Ctrl-C and SIGTERM, as shells give them
_main_process = 0  # the id of the process that handles SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; unwinds like Ctrl-C."""


def run(
    script: str, work: Callable[[Any], Any], config: Any, patience: float = 4.0, uses_paddle: bool = True, hint: str = ""
) -> int:
    """The main function of every script: call ``work(config)`` and return the exit code, work's own if it is a number, else 0.

    Paddle is configured before ``work`` is called, with config.threads, unless the script uses none; only ``work`` may import
    what imports Paddle. A UserError or OSError is printed in one line and decides the exit code. Ctrl-C and SIGTERM, too, are
    reported in one line, ``hint`` (what to do then) behind it; the codes are INTERRUPTED and TERMINATED. ``patience``: seconds,
    see handle_termination.
    """
    try:
        handle_termination(patience)
        if uses_paddle:
            configure(config.threads)
        code = work(config)
        return code if isinstance(code, int) else 0
    except (UserError, OSError) as error:
        print_error(script, error)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt as interruption:
        terminated = isinstance(interruption, Terminated)
        how = "terminated" if terminated else "interrupted"
        print(f"{script}.py: {how}{hint and '; '}{hint}", file=sys.stderr)
        return TERMINATED if terminated else INTERRUPTED


def leave(code: int) -> NoReturn:
    """End the process with the exit code of a script's main.

    After an interruption the process and its workers end at once, without the interpreter's own clean-up: in the middle of a
    step Paddle 2.6 crashes in it, and all that is to be kept is on the disk.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if code in (INTERRUPTED, TERMINATED):
        for worker in multiprocessing.active_children():
            worker.terminate()
        os._exit(code)
    sys.exit(code)


def handle_termination(patience: float = 4.0) -> None:
    """Let SIGTERM unwind the program as Ctrl-C does.

    Python acts on a signal only when the operation under way, such as one of Paddle's, has returned, and the backward pass of a
    large batch can take long. So ``patience`` seconds after either signal a thread ends the process with its workers, unless it
    has ended by itself.
    """
    global _main_process
    if signal.getsignal(signal.SIGTERM) is _terminate:
        return
    _main_process = os.getpid()
    signal.signal(signal.SIGTERM, _terminate)
    arrived, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)  # written to at once, whatever the main thread does
    threading.Thread(target=_end_in_time, args=(arrived, wakes, patience), daemon=True).start()


def _terminate(signum, frame):
    if os.getpid() != _main_process:  # a worker that was forked a moment ago and is not yet what become_worker makes of it
        os._exit(TERMINATED)
    raise Terminated


def _end_in_time(arrived, wakes, patience):
    codes = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
    received = 0
    while received not in codes:
        received = arrived.recv(1)[0]
    time.sleep(patience)
    for worker in multiprocessing.active_children():
        worker.kill()
    print("ended in the middle of a step; what was finished before it is on the disk", file=sys.stderr, flush=True)
    os._exit(codes[received])


def _report_interruption(kind, error, traceback):
    """Print one line for a Ctrl-C that arrives outside ``run``, while a script's modules are imported or its settings read."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


sys.excepthook = _report_interruption

"""How scripts run and end: with an exit code, and one line instead of a traceback for an error or an interruption.

Scripts import this module first, so that Ctrl-C gives one line even while they import the others.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, NoReturn

from machine.home_folder import provide_home
from machine.interruption import INTERRUPTED, TERMINATED, UNREAD, Terminated
from machine.parent_process import OF_LAUNCH, follow_parent
from machine.processor import configure
from machine.temporary_folder import remove_temporary_folder
from messages.terminal import print_error, print_line
from messages.user_error import UserError

REPEATS = 2.0  # seconds in which a further SIGTERM is the same one: paddle.distributed.launch sends it three times

PROCESSES_LAUNCHED = OF_LAUNCH in os.environ
PATIENCE_IN_GROUP = 3.0  # seconds: one of several processes waits for others, which may have ended

_main_process = 0  # id of the process that handles SIGTERM
_terminated_at = -REPEATS


def run(
    script: str, work: Callable[[Any], Any], config: Any, patience: float = 4.0, uses_paddle: bool = True, hint: str = ""
) -> int:
    """The main function of every script: call ``work(config)`` and return the exit code: work's result if an int, else 0.

    If the script ``uses_paddle``, provides the libraries with a home, in the worst case in config.runs_dir, and configures
    Paddle with config.threads before the call; only ``work`` may import modules that import Paddle. Prints a UserError or
    OSError in one line and returns its ``exit_code``, by default 2. Also reports Ctrl-C and SIGTERM in one line, which ends
    with ``hint`` (what to do next), and returns INTERRUPTED or TERMINATED. Where nobody reads the output any more, as after
    ``| head``, it ends without a word and returns UNREAD. ``patience``, in seconds: see handle_termination.
    """
    try:
        handle_termination(min(patience, PATIENCE_IN_GROUP) if PROCESSES_LAUNCHED else patience)
        follow_parent()
        if uses_paddle:
            provide_home(last_resort=config.runs_dir)
            configure(config.threads)
        code = work(config)
        return code if isinstance(code, int) else 0
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            _let_go_of_output()
            return UNREAD
        print_error(script, error)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt as interruption:
        terminated = isinstance(interruption, Terminated)
        how = "terminated" if terminated else "interrupted"
        print_line(f"{script}.py: {how}{hint and '; '}{hint}")
        return TERMINATED if terminated else INTERRUPTED


def leave(code: int) -> NoReturn:
    """End the process with the exit code of a script's main.

    After an interruption the process and its workers end at once, without the interpreter's clean-up: Paddle 2.6 crashes in it
    in the middle of a step, and everything worth keeping is on the disk.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        unread = isinstance(error, BrokenPipeError)
        if not unread:  # such as a full disk, where the output goes to a file
            print_error(Path(sys.argv[0]).stem, error)
        code = code or (UNREAD if unread else 2)
        _let_go_of_output()
    if code in (INTERRUPTED, TERMINATED):
        for worker in multiprocessing.active_children():
            worker.terminate()
        remove_temporary_folder()
        os._exit(code)
    sys.exit(code)


def _is_unread() -> bool:
    """Whether nobody reads the output any more."""
    try:
        state = select.poll()
        state.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in state.poll(0))
    except (AttributeError, OSError, ValueError):  # on Windows, or not a file
        return False


def _let_go_of_output():
    """Let what is left in the buffers go nowhere: the interpreter writes it at its end, and would complain once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _provide_streams():
    """Give a process whose standard streams a shell has closed (``>&-``) others: what is written to them goes nowhere.

    Else the next files that it opens would get their numbers, and what libraries print in C would go into these files. Without
    a stderr, lines go to stdout.
    """
    handle = os.open(os.devnull, os.O_RDWR)
    while handle <= 2:
        os.set_inheritable(handle, True)
        handle = os.open(os.devnull, os.O_RDWR)
    os.close(handle)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = sys.stdout


def handle_termination(patience: float = 4.0) -> None:
    """Let SIGTERM unwind the program as Ctrl-C does.

    Python acts on a signal only after the current operation, such as one of Paddle's, has returned, and the backward pass of a
    large batch can take long. So a thread ends the process and its workers ``patience`` seconds after either signal, unless the
    process has ended by then.
    """
    global _main_process
    if signal.getsignal(signal.SIGTERM) is _terminate:
        return
    _main_process = os.getpid()
    signal.signal(signal.SIGTERM, _terminate)
    arrived, wakes = socket.socketpair()
    wakes.setblocking(False)
    # Python writes a signal's number to this socket at once, whatever the main thread does
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_stop_waking)
    threading.Thread(target=_end_in_time, args=(arrived, wakes, patience), daemon=True).start()


def _stop_waking():
    """In a forked process: a signal that ends it must not wake the thread of its parent, which would end the parent too."""
    signal.set_wakeup_fd(-1)


def _terminate(signum, frame):
    global _terminated_at
    if os.getpid() != _main_process:  # a worker that was just forked and has not called become_worker yet
        os._exit(TERMINATED)
    now = time.monotonic()
    if PROCESSES_LAUNCHED and now < _terminated_at + REPEATS:
        return
    _terminated_at = now
    raise Terminated


def _end_in_time(arrived, wakes, patience):
    codes = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
    received = 0
    while received not in codes:
        received = arrived.recv(1)[0]
    time.sleep(patience)
    for worker in multiprocessing.active_children():
        worker.kill()
    print_line("ended in the middle of an operation; finished files are on the disk")
    remove_temporary_folder()
    os._exit(codes[received])


def _report_interruption(kind, error, traceback):
    """Print one line for a Ctrl-C outside ``run``, while a script imports modules or reads its settings."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    print_line(f"{Path(sys.argv[0]).name}: interrupted")
    remove_temporary_folder()
    os._exit(INTERRUPTED)


def _repeat_if_lost(unraisable):
    """Send Ctrl-C or SIGTERM again if it arrived in a callback, such as one of an import's, whose errors Python ignores."""
    if unraisable.exc_type is None or not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    global _terminated_at
    _terminated_at = -REPEATS
    sent = signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT
    repeated = threading.Timer(0.02, _send_to_main_thread, (sent,))  # once the callback has ended
    repeated.daemon = True
    repeated.start()


def _send_to_main_thread(sent):
    if hasattr(signal, "pthread_kill"):  # it also ends a wait
        signal.pthread_kill(threading.main_thread().ident, sent)
    else:  # on Windows
        signal.raise_signal(sent)


_provide_streams()
sys.excepthook = _report_interruption
sys.unraisablehook = _repeat_if_lost

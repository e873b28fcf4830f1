"""A progress bar on a terminal, and nothing in a file or a pipe."""

import os
import sys
import threading
from typing import Callable, Optional, TextIO, Union

from tqdm.std import tqdm

WIDTH_OF_TERMINAL = "SA_NET_PADDLE_COLUMNS"
"""Environment variable: another process passes stdout on to a terminal of so many columns."""

# 20 columns for the bar, so that a line with the text of a training fits into 80
LAYOUT = "{desc} {n_fmt}/{total_fmt} [{bar:20}] {remaining} left{postfix}"


class _Bar(tqdm):
    """tqdm without its monitor thread and its lock between processes, because readers of photographs are forked meanwhile."""

    monitor_interval = 0
    text: Union[str, Callable[[], str]] = ""

    @property
    def format_dict(self):
        """tqdm reads this only when it draws, so a callable ``text`` is called only then."""
        text = self.text() if callable(self.text) else self.text
        return {**super().format_dict, "postfix": text}


_Bar.set_lock(threading.RLock())


def in_bytes(number: int) -> str:
    """``1.23GB``, in units of a thousand."""
    return tqdm.format_sizeof(number, "B")


class ProgressBar:
    """``label 123/456 [=====....] 0:12 left, text``, redrawn in place at most ten times a second.

    Drawn on ``stream`` (default: stdout) if that is a terminal, unless ``visible`` is False; never wider than the terminal.
    ``total``: the number of steps.
    """

    def __init__(self, total: int, label: str, stream: Optional[TextIO] = None, visible: bool = True):
        stream = stream or sys.stdout
        columns = os.environ.get(WIDTH_OF_TERMINAL)
        passed_on = bool(columns) and stream is sys.__stdout__
        self.bar = _Bar(
            total=max(total, 1), desc=label, file=stream, disable=not (visible and (passed_on or stream.isatty())),
            bar_format=LAYOUT, ascii=".=", leave=False, position=0, dynamic_ncols=not passed_on,
            ncols=int(columns) if columns and passed_on else None, mininterval=0.1, miniters=1, smoothing=0,
        )  # fmt: skip

    def update(self, done: int, text: Union[str, Callable[[], str]] = "") -> None:
        """Show that ``done`` steps are finished, and after the bar ``text``, or the result of calling it."""
        done = min(done, self.bar.total)
        self.bar.text = text
        drawn = self.bar.update(done - self.bar.n)
        if done == self.bar.total and not drawn:
            self.bar.refresh()

    def close(self) -> None:
        """Clear the bar, so that the next line starts on an empty one."""
        self.bar.close()

"""What several jobs at a time say: on a terminal a line for each, redrawn in place; elsewhere every line, with its job."""

import shutil
import sys
import threading
from typing import Optional, TextIO

from messages.terminal import columns_of, printable


class LiveLines:
    """``say`` may be called by several threads. ``stream``: default stdout."""

    def __init__(self, stream: Optional[TextIO] = None):
        self.stream = stream or sys.stdout
        self.is_live = self.stream.isatty()
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._drawn = 0

    def say(self, job: str, line: str, is_last: bool = False) -> None:
        """Show a ``line`` of ``job`` in place of the one before; the last one stays."""
        with self._lock:
            if not self.is_live:
                self.stream.write(f"{job}: {printable(line)}\n")
                self.stream.flush()
                return
            self._lines[job] = line
            lasting = [self._shown(job)] if is_last else []
            if is_last:
                del self._lines[job]
            lines = lasting + [self._shown(name) for name in self._lines]
            back = f"\x1b[{self._drawn}F" if self._drawn else ""
            self.stream.write(f"{back}\x1b[J" + "".join(f"{text}\n" for text in lines))
            self.stream.flush()
            self._drawn = len(self._lines)

    def _shown(self, job):
        """No wider than the terminal: a line that wraps could not be redrawn."""
        text, width = printable(f"{job}: {self._lines[job]}"), shutil.get_terminal_size().columns - 1
        while columns_of(text) > width:
            text = text[:-1]
        return text

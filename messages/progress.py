"""A progress bar on a terminal; silence where output goes into a file or a pipe."""

import shutil
import sys
import time

BAR = 20  # columns; with the text of a training it leaves room for the time within 80


class ProgressBar:
    """``label 123/456 [=====>....] text, 0:12 left``, redrawn in place at most ten times a second."""

    def __init__(self, total, label, stream=None):
        self.total, self.label = max(total, 1), label
        self.stream = stream or sys.stdout
        self.visible = self.stream.isatty()
        self.started, self.drawn, self.width = time.monotonic(), 0.0, 0

    def update(self, done, text="") -> None:
        """Show that ``done`` of the total are finished; behind the bar ``text``, or what it returns when it is shown."""
        now = time.monotonic()
        if not self.visible or (now - self.drawn < 0.1 and done < self.total):
            return
        self.drawn = now
        share = min(done / self.total, 1.0)
        filled = int(BAR * share)
        arrow = ">" if filled < BAR else ""
        bar = "=" * filled + arrow + "." * (BAR - filled - len(arrow))
        left = (now - self.started) / share * (1 - share) if share > 0 else 0.0
        text = text() if callable(text) else text
        line = f"{self.label} {done}/{self.total} [{bar}] {text + ', ' if text else ''}{_clock(left)} left"
        self._write(line[: max(shutil.get_terminal_size().columns - 1, 0)])

    def close(self) -> None:
        """Wipe the bar, so that the next line starts on a clean one."""
        if self.visible and self.width:
            self._write("")
            self.stream.write("\r")
            self.stream.flush()

    def _write(self, line):
        self.stream.write("\r" + line + " " * (self.width - len(line)))
        self.stream.flush()
        self.width = len(line)


def _clock(seconds):
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

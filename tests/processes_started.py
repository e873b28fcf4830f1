"""The processes that tests start."""

import signal
from pathlib import Path


def heed_interruption() -> None:
    """For ``subprocess.Popen(preexec_fn=...)``: where the tests run in the background of a shell, Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def processes_of(session) -> list:
    """Live processes (not zombies) of a session, from /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = entry.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(entry.parent.name))
    return found

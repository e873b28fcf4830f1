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


def members_of(runs_dir) -> dict:
    """{rank: process id} of the processes of train.py that train in a folder of runs; "launcher": what has started them."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode()
            environment = dict(item.partition("=")[::2] for item in (entry / "environ").read_text().split("\0"))
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            is_reader = words == (Path("/proc") / parent / "cmdline").read_bytes().decode()  # forked: of the same command
        except (OSError, ValueError):
            continue
        if "train.py" in words and str(runs_dir) in words and not is_reader:
            found[environment.get("PADDLE_TRAINER_ID", "launcher")] = int(entry.name)
    return found

"""The folder of what is made once and found again: built operators, unpacked archives."""

import contextlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nobody waits for another, and who comes second finds the other's result
    fcntl = None


def cache_root() -> Path:
    """$XDG_CACHE_HOME/sa-net-paddle, by default under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "sa-net-paddle"


def is_mine(folder) -> bool:
    """Whether the folder belongs to this user: what somebody else left there is not trusted."""
    return not hasattr(os, "geteuid") or folder.stat().st_uid == os.geteuid()


@contextlib.contextmanager
def locked(path):
    """Hold the file ``path`` locked; the system lets go of it when this process ends, however it ends."""
    with open(path, "w") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

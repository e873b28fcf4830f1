"""The folder of what is made once and found again: built operators, unpacked archives."""

import os
from pathlib import Path

import platformdirs

NAME = "sa-net-paddle"


def cache_root() -> Path:
    """The folder ``sa-net-paddle`` in $XDG_CACHE_HOME, by default where the system keeps caches: on Linux ~/.cache.

    $XDG_CACHE_HOME is read here, for platformdirs heeds it on some systems only, and error messages name it as the remedy.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / NAME if base else Path(platformdirs.user_cache_dir(NAME, appauthor=False))


def is_mine(folder: Path) -> bool:
    """Whether the folder belongs to this user: what somebody else left there is not trusted."""
    return not hasattr(os, "geteuid") or folder.stat().st_uid == os.geteuid()

"""The folder for files that are made once and used again: built operators, unpacked archives."""

import os
from pathlib import Path

import platformdirs

NAME = "sa-net-paddle"


def cache_root() -> Path:
    """The folder ``sa-net-paddle`` in $XDG_CACHE_HOME, by default in the system's folder for caches: on Linux ~/.cache.

    Reads $XDG_CACHE_HOME itself, because platformdirs ignores it on some systems and error messages name it as the remedy.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / NAME if base else Path(platformdirs.user_cache_dir(NAME, appauthor=False))


def is_mine(folder: Path) -> bool:
    """Whether the folder belongs to this user: files of other users are not trusted. True on systems without user ids."""
    return not hasattr(os, "geteuid") or folder.stat().st_uid == os.geteuid()

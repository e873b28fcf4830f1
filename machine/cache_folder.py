"""The folder for files that are made once and used again: built operators, unpacked archives."""

import os
from pathlib import Path

import platformdirs

NAME = "sa-net-paddle"
VARIABLE = "SA_NET_PADDLE_CACHE"  # environment variable: the folder, for processes whose HOME is a temporary one


def cache_root() -> Path:
    """The folder ``sa-net-paddle`` in $XDG_CACHE_HOME, by default in the system's folder for caches: on Linux ~/.cache.

    Reads $XDG_CACHE_HOME itself, because platformdirs ignores it on some systems and error messages name it as the remedy. The
    folder may be missing, and may not be writable: see machine.home_folder.
    """
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / NAME
    try:
        place = platformdirs.user_cache_path(NAME, appauthor=False)
    except RuntimeError:  # newer versions raise it where older ones return "~/.cache"
        place = Path("~")
    # Without $HOME and an entry in the system's list of users there is no home; Docker takes / for it
    return place if place.is_absolute() else Path(os.sep, ".cache", NAME)

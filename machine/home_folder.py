"""A home for the libraries where the user's own cannot be written: containers (``docker -u``), clusters, services.

Paddle and VisualDL make folders in the home while they are imported, and the import fails where they cannot. Paddle 3 turns to
/tmp/.cache, which another user may own. matplotlib prints warnings.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from machine import cache_folder
from machine.temporary_folder import remove_temporary_folders_left, temporary_folder
from messages.terminal import print_line

HOME = "USERPROFILE" if os.name == "nt" else "HOME"
IN_HOME = (".", ".cache/paddle", ".visualdl", ".visualdl/conf")
"""The folders that Paddle and VisualDL make in the home; they need not exist."""
DOWNLOADS = (".cache/paddle/hapi/weights", ".cache/paddle/dataset/cifar")
"""The folders in the home where Paddle keeps what it has downloaded."""
PROBE = b"\0" * 4096  # a disk or a quota that is full takes an empty file, but no block


def provide_home(last_resort: Union[str, os.PathLike[str], None] = None) -> None:
    """Check the folders that libraries write to, and set their variables to a temporary folder where these cannot be written.

    Call it before importing Paddle, VisualDL or matplotlib. Says in one line what is replaced. ``cache_folder.cache_root``
    stays what it was: its files may be readable, and what users unpack there must last. ``last_resort``: see temporary_folder.
    Raises OSError where no temporary folder can be made.
    """
    remove_temporary_folders_left(last_resort)
    obstacles = dict(_obstacles())
    if not obstacles:
        return
    os.environ[cache_folder.VARIABLE] = str(cache_folder.cache_root())
    try:
        home = temporary_folder(last_resort)
    except OSError as error:
        raise OSError(f"neither {' nor '.join(obstacles.values())} nor a temporary folder can be written: set TMPDIR "
                      f"to a folder that can be ({error})") from None  # fmt: skip
    if HOME in obstacles:
        _link_downloads(os.path.expanduser("~"), home)
        os.environ[HOME] = str(home)
    if obstacles.keys() & {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"}:
        os.environ["MPLCONFIGDIR"] = str(home / "matplotlib")
    own = "folders of yours" if len(obstacles) > 1 else "a folder of yours"
    print_line(
        f"note: {' and '.join(obstacles.values())} cannot be written: what Paddle, VisualDL, matplotlib and the fused "
        f"operators keep there is temporary this time; set {' and '.join(obstacles)} to {own} to keep it",
    )


def _obstacles() -> Iterator[tuple[str, str]]:
    """Yield (environment variable, the folder that it names) where the folder cannot be written."""
    home = os.path.expanduser("~")
    if not os.path.isdir(home) or not all(can_be_written(os.path.join(home, name)) for name in IN_HOME):
        yield HOME, home if os.path.isabs(home) else "the home folder, which nothing names,"
    chosen = os.environ.get("MPLCONFIGDIR")
    for name in ("MPLCONFIGDIR",) if chosen else ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        base = os.environ.get(name)
        if base and not can_be_written(base if chosen else os.path.join(base, "matplotlib")):
            yield name, base


def _link_downloads(old, new):
    """Let Paddle find what it downloaded before, such as on a cluster where only some machines can write to the home."""
    for folder in DOWNLOADS:
        with contextlib.suppress(OSError):
            files = [file for file in Path(os.path.abspath(old), folder).iterdir() if os.access(file, os.R_OK)]
            (new / folder).mkdir(parents=True, exist_ok=True)
            for file in files:
                (new / folder / file.name).symlink_to(file)


def can_be_written(folder: Union[str, os.PathLike[str]]) -> bool:
    """Whether files can be made in ``folder``, or, where it is missing, in the nearest folder above it. Leaves none behind."""
    try:
        place = next((place for place in (Path(folder), *Path(folder).absolute().parents) if place.exists()), None)
        with tempfile.TemporaryFile(dir=place or folder) as file:  # tried: permissions tell little on network file systems
            file.write(PROBE)
    except OSError:
        return False
    return True

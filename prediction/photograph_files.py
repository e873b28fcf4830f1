"""The photographs to predict: files and folders that the user names."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from data.given_photographs import photographs_in

STANDARD_INPUT = "-"


def photograph_paths(images: tuple[str, ...], on_error: Callable[[OSError], None]) -> Iterator[str]:
    """The files that ``images`` names, in order: a file itself, the photographs in a folder, and for ``-`` the paths that
    standard input has, one a line, in any bytes that a file name may hold.

    Calls ``on_error`` for each folder that cannot be read: see photographs_in.
    """
    for given in images:
        if given == STANDARD_INPUT:
            yield from (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip())
        else:
            yield from map(str, photographs_in(Path(given), on_error))

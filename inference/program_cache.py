"""Programs that are made once and used again: a program takes seconds to make, and a gigabyte of memory for a moment."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import paddle

from inference.program import NAME, program_file, save_program
from inference.silence import STDERR, STDOUT, silenced
from machine.cache_folder import cache_root
from machine.locks import locked
from machine.private_folder import NotPrivateError, check_private, is_private, make_private
from machine.regular_file import sha256_of
from machine.temporary_folder import temporary_folder
from messages.reason import reason_of
from messages.terminal import print_line
from trained.trained_run import TrainedRun

FOLDER = "programs"
MAX_PROGRAMS = 4  # a ResNet50's takes 100 MB
PREFIX = ".unfinished-"
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("networks", "attention", "ops", "inference", "sa_resnet.py")
"""The code that decides what a network's program computes."""


def cached_program(run: TrainedRun) -> Path | None:
    """The folder of the program of ``run``, if it is in the cache."""
    try:
        folder = cache_root() / FOLDER / program_key(run)
        return folder if _is_usable(folder) else None
    except OSError:
        return None


def program_of(run: TrainedRun) -> Path:
    """The folder of the program of ``run``, see inference.program; it is made if it is not in the cache.

    The cache keeps the MAX_PROGRAMS that were used last. Where it cannot be used, or others can write to it, the program is
    made in a temporary folder of this process. Raises OSError, and as save_program does.
    """
    key = program_key(run)
    try:
        root = cache_root() / FOLDER
        make_private(root)
        with locked(root / "lock") as held:
            folder = root / key
            if not _is_usable(folder):
                _make(run, folder)
            os.utime(folder)
            if held:  # else another process may be making one
                _remove_old(root)
        return folder
    except OSError as error:
        folder = temporary_folder() / f"program-{key}"
        check_private(folder.parent)
        if not _is_usable(folder):
            if isinstance(error, NotPrivateError):
                print_line(
                    f"the cache folder cannot be used ({reason_of(error)}); the network's program is for this process alone"
                )
            _make(run, folder)
        return folder


def forget_program(run: TrainedRun) -> None:
    """Remove the program of ``run`` from the cache: it cannot be used."""
    folder = cached_program(run)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def program_key(run: TrainedRun) -> str:
    """A hash of all that decides the program of ``run``: weights and settings, temperature, this code, Paddle's version."""
    digest = hashlib.sha256()
    parts = [sha256_of(run.checkpoint), repr(run.temperature), f"{paddle.__version__} {paddle.version.commit}"]
    for source in SOURCES:
        place = ROOT / source
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            parts += [file.relative_to(ROOT).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()]
    digest.update("\0".join(parts).encode())
    return digest.hexdigest()[:20]


def _is_usable(folder):
    """Whether both files of a program are there and nobody else can have written them."""
    return is_private(program_file(folder)) and is_private(folder / f"{NAME}.pdiparams")


def _make(run, folder):
    """Write the program beside ``folder``, then give it its name, so that it is there whole or not at all."""
    work = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder.parent))
    try:
        with silenced(STDOUT, STDERR):
            save_program(run, work)
        for file in work.iterdir():
            os.chmod(file, 0o600)  # whatever the umask
            with open(file, "rb+") as written:
                os.fsync(written.fileno())
        if folder.exists():  # without a program that can be used
            shutil.rmtree(folder)
        os.rename(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_old(root):
    """Remove what killed processes left, and all but the programs used last; the lock is held."""
    for left in root.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    programs = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in programs[MAX_PROGRAMS:]:
        shutil.rmtree(old, ignore_errors=True)

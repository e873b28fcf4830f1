"""train.py with a network of a few hundred weights; with KILL_AT=N the process kills itself at the Nth point of its writing.

A point is the moment before or after a file is put on the disk, takes its name or is removed: the moments at which a process
that dies can leave things half done.
"""

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import networks  # noqa: E402

networks.NETWORKS["resnet18"] = networks.Lazy("tiny_network", "TinyNetwork")

import train  # noqa: E402
from machine import ending  # noqa: E402
from config import parse_config  # noqa: E402

points_left, this_process = int(os.environ.get("KILL_AT", 0)), os.getpid()


def point():
    global points_left
    points_left -= os.getpid() == this_process  # the readers, which are forked, remove files as well
    if points_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def with_points(function):
    def called(*arguments, **options):
        point()
        found = function(*arguments, **options)
        point()
        return found

    return called


for name in ("fsync", "replace", "unlink"):
    setattr(os, name, with_points(getattr(os, name)))

ending.leave(train.main(parse_config(script="train")))

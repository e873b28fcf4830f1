"""Which photographs a run may have shown: those that the user names now, or that this user has trained with on this machine.

A run may come from a stranger, and then its settings are hints: its ``data`` could name any folder of the user's. So each
training notes the places that it read in a folder of the user's own, outside of all runs. Nothing else is ever noted.
"""

import contextlib
import hashlib
import math
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from machine import cache_folder
from config import Config
from data.data_source import DataSource
from machine.cache_folder import cache_root
from machine.private_folder import NotPrivateError, is_private, make_private
from machine.regular_file import NO_LINK
from messages.reason import reason_of
from messages.terminal import print_line
from trained.run_error import RunError

FOLDER = "trained_with"
MAX_NOTES = 1000  # the oldest go


def note_places(places: Iterable[Optional[str]]) -> None:
    """Note that this user has trained with these files and folders; None stands for no place.

    Without a cache folder that is the user's alone nothing is noted; one line says that the user has to name the places again.
    """
    try:
        root = cache_root() / FOLDER
        make_private(root)
        for place in places:
            if place is not None:
                with open(_note_of(place), "wb", opener=_for_me_alone) as opened:
                    opened.write(os.fsencode(os.path.realpath(place)))  # for people: the name alone counts
        for old in sorted(root.iterdir(), key=_age)[MAX_NOTES:]:
            with contextlib.suppress(OSError):
                old.unlink(missing_ok=True)
    except OSError as error:
        # where it only cannot be written, home_folder has said that what goes there does not last
        if cache_folder.VARIABLE not in os.environ or isinstance(error, NotPrivateError):
            print_line(
                f"note: where the photographs are is not noted ({reason_of(error)}): later scripts ask for --data; set "
                f"XDG_CACHE_HOME to a folder that is yours alone"
            )


def is_noted(place: str) -> bool:
    """Whether this user has trained with the file or folder ``place``."""
    try:
        return is_private(_note_of(place))
    except ValueError:  # a NUL byte
        return False


def _age(note):
    """The younger, the less; another training may have removed it meanwhile."""
    try:
        return -note.stat().st_mtime_ns
    except FileNotFoundError:
        return math.inf


def _for_me_alone(path, flags):
    return os.open(path, flags | NO_LINK, 0o600)


def _note_of(place):
    name = hashlib.sha256(os.fsencode(os.path.realpath(place))).hexdigest()
    return cache_root() / FOLDER / name


def permitted_source(trained: Config, config: Config, run: Path) -> DataSource:
    """Where to read the photographs of ``run``; ``trained``: its settings; ``config``: those of this invocation.

    The place that the user names now, else the run's own where the user has trained with it, or where it is the default. Links
    are followed only if ``config`` says so. Raises RunError where the user has to name the place.
    """
    fold = config.fold if "fold" in config.given else trained.fold
    if "data" in config.given:
        return config.data_source()._replace(dataset=trained.dataset, fold=fold)
    lists_dir = config.lists_dir if "lists_dir" in config.given else trained.lists_dir
    source = DataSource(trained.dataset, trained.data, config.follow_links and "follow_links" in config.given, lists_dir, fold)
    if not is_permitted(trained.data) or not (lists_dir is None or "lists_dir" in config.given or is_noted(lists_dir)):
        raise RunError(
            f"{run} names {source.options} as the place of its photographs, and there is no note that you have trained with it "
            f"here: add {source.options} if it is to be read"
        )
    return source


def is_permitted(place: str) -> bool:
    """Whether photographs are read in ``place`` because a run says so: the default, and where the user has trained."""
    return place == Config.data or is_noted(place)


def same_place(one: str, other: str) -> bool:
    """Whether two paths lead to one file or folder."""
    return os.path.realpath(one) == os.path.realpath(other)


def check_start(trained: Config, config: Config, run: Path) -> None:
    """Raise RunError where a training that starts anew in ``run`` would read a file that the user has neither named now nor
    trained with: see ``permitted_source``."""
    start, class_weights = trained.init_from, trained.class_weights_file()
    if start is not None and "init_from" not in config.given and not is_noted(start):
        raise RunError(
            f"{run} starts from the weights in {start}, and there is no note that you have trained with them here: add "
            f"--init_from {shlex.quote(start)} if they are to be read"
        )
    if class_weights is not None and "class_weights" not in config.given and not is_noted(class_weights):
        raise RunError(
            f"{run} takes class weights from {class_weights}, and there is no note that you have trained with that file here: "
            f"add --class_weights {shlex.quote(class_weights)} if it is to be read"
        )

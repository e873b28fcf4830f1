"""``classes.txt`` of a run: the names of its classes, one a line, in label order."""

from collections.abc import Sequence
from pathlib import Path

from data.lists import MAX_CLASSES
from machine.regular_file import open_regular
from machine.whole_file import write_text
from messages.quoting import named
from messages.reason import reason_of
from trained.rules import is_class_list
from trained.run_error import RunError

MAX_BYTES = 2**26


def write_classes(run: Path, classes: Sequence[str]) -> None:
    """Write ``classes.txt``. Raises OSError."""
    write_text(run / "classes.txt", "".join(f"{name}\n" for name in classes))


def read_classes(run: Path) -> list[str]:
    """The names, as ``as_written`` gives them; raises RunError where the file is missing or is no such list."""
    path = Path(run) / "classes.txt"
    try:
        with open_regular(path, MAX_BYTES, follow_links=False) as file:
            names = file.read().decode("utf-8").removesuffix("\n").split("\n")
        if not is_class_list(names):
            raise ValueError(f"expected 2 to {MAX_CLASSES:,} distinct names, one a line{_first_wrong(names)}")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {reason_of(error, path)}; restore a copy, or train again") from None
    return names


def as_written(name: str) -> str:
    """A name as classes.txt holds it: see write_text."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _first_wrong(names):
    seen = set()
    for number, name in enumerate(names[:MAX_CLASSES], start=1):
        if not name.strip() or name in seen:
            return f", found {named(name)!r} in line {number}"
        seen.add(name)
    return f", found {len(names):,}"

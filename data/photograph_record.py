"""``photographs.sha256``, beside the lists: the digest of each photograph in them, as the split saw it.

So it is noticed where a file of the same name holds another photograph. Size, times and inode are recorded too: only files in
which these differ need to be read.
"""

import concurrent.futures
import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from data.data_folder import DataFolder
from data.lists import DataError, Sample
from data.split_record import PHOTOGRAPHS
from machine.processor import available_cores
from machine.regular_file import open_regular, sha256_of
from machine.whole_file import write_text
from messages.quoting import named
from messages.reason import reason_of
from messages.terminal import print_line
from settings.format_number import check_format

FORMAT = 1
"""Of the file: a line with this number, then a line ``sha256 size:modified:changed:inode path`` for each photograph."""
HEADER = "format {}: sha256 size:modified:changed:inode path"
_HEADER = re.compile(r"format ([0-9]{1,9}): .*\n")
_LINE = re.compile(r"([0-9a-f]{64} [-:0-9]{7,90}) (.+)\n")
DIGITS = 64  # of a SHA-256
LARGE = 2**28  # bytes to read, which take seconds or minutes: a line says so
MAX_BYTES = 2**31  # more than ten million photographs


def recorded(path: Union[str, os.PathLike], status: os.stat_result) -> str:
    """What is recorded of the photograph's file ``path``; ``status``: of the file before it was read. Raises OSError."""
    return f"{sha256_of(path)} {_stamp(status)}"


def write_record(lists: Path, photographs: Mapping[str, str]) -> None:
    """Write the file into the folder ``lists``; ``photographs``: {relative path: of ``recorded``}. Raises OSError."""
    lines = [HEADER.format(FORMAT), *(f"{entry} {path}" for path, entry in photographs.items())]
    write_text(lists / PHOTOGRAPHS, "".join(f"{line}\n" for line in lines))


def remove_record(lists: Path) -> None:
    """Remove the file, whose lists will be replaced. Raises OSError."""
    (lists / PHOTOGRAPHS).unlink(missing_ok=True)


def digest_of_photographs(folder: DataFolder, samples: Sequence[Sample], list_name: str) -> Optional[str]:
    """A SHA-256 of the photographs ``samples`` of a list, in their order; None where the split did not record all of them.

    It does not depend on where and when the files were written. Where a file's size or times differ from the record, it is
    read, and if it is the same photograph, the record is brought up to date. Raises DataError where one is not what the split
    saw, or cannot be read, or where the record is damaged; FormatError for a newer one.
    """
    place = folder.split_lists / PHOTOGRAPHS
    try:
        before = os.stat(place)
        known = _read(folder, place)
    except (FileNotFoundError, NotADirectoryError):  # of an older version, or the user's own lists
        return None
    except OSError as error:
        raise DataError(f"{place} cannot be read: {reason_of(error, place)}; {folder.split_command} writes it again") from None
    current = _current(folder, [sample.name for sample in samples if sample.name in known], known)
    changed = [name for name, entry in current.items() if entry[:DIGITS] != known[name][:DIGITS]]
    if changed:
        raise DataError(
            f"{len(changed):,} of {len(samples):,} photographs of {folder.lists / list_name} are not those that the split saw, "
            f"the first {named(changed[0])}: restore them, or {folder.split_command} makes a new split"
        )
    if any(entry != known[name] for name, entry in current.items()):
        _bring_up_to_date(folder.split_lists, before, {**known, **current})
    if len(current) < len({sample.name for sample in samples}):
        return None
    return hashlib.sha256("".join(current[sample.name][:DIGITS] for sample in samples).encode()).hexdigest()


def same_as_far_as_known(one: object, other: object) -> bool:
    """Whether two digests are equal; True where one of them is None, as in runs and splits of older versions."""
    return one is None or other is None or one == other


def _stamp(status):
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def _current(folder, names: Iterable[str], known):
    """{name: its entry now}. Reads the files whose stamp differs from that in ``known``; raises DataError."""
    root = os.fspath(folder.root)
    found, differing = {}, []
    for name in names:
        status = os.stat(os.path.join(root, name))
        if known[name][DIGITS + 1 :] == _stamp(status):
            found[name] = known[name]
        else:
            differing.append((name, status))

    def read(name, status):
        path = os.path.join(root, name)
        try:
            return recorded(path, status)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {reason_of(error, path)}") from None

    if differing:
        if sum(status.st_size for _, status in differing) > LARGE:
            print_line(f"reading {len(differing):,} photographs whose times differ from those in {PHOTOGRAPHS} ...")
        with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:  # hashing lets other threads work
            found.update(zip((name for name, _ in differing), pool.map(read, *zip(*differing))))
    return found


def _read(folder, place):
    """{path: entry} of the file; raises OSError, DataError, FormatError."""
    if place.is_symlink() and folder.leads_out(place):
        raise DataError(f"{place} is a link that leads out of its folder: {folder.split_command} writes it again")
    with open_regular(place, MAX_BYTES) as file:
        text = file.read().decode("utf-8", "surrogateescape")
    if header := _HEADER.match(text):
        check_format(int(header[1]), FORMAT, str(place))
        entries = _LINE.findall(text, header.end())
        if sum(len(entry) + len(path) + 2 for entry, path in entries) == len(text) - header.end():  # nothing lies between
            return {path: entry for entry, path in entries}
    raise DataError(f"{place} is damaged, or of another program: {folder.split_command} writes it again")


def _bring_up_to_date(lists, before, photographs):
    """Write the record anew, unless a split has replaced it since; where that is not possible, files are read the next time."""
    with contextlib.suppress(OSError):
        now = os.stat(lists / PHOTOGRAPHS)
        if (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns):
            write_record(lists, photographs)

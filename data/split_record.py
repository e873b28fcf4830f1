"""``split.json``, beside the lists: the SHA-256 of each that this toolkit wrote, which tells them from the user's own."""

import json
import os
import shutil
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Union

from machine.regular_file import open_regular, sha256_of
from machine.whole_file import whole_file, write_text
from settings.format_number import check_format

RECORD, REPORT, PHOTOGRAPHS = "split.json", "split_report.csv", "photographs.sha256"
FORMAT = 1
"""Of split.json: {"format", "sha256": {name of a list: digest}}."""
MAX_BYTES = 2**20
REPORT_HEADER = b"path,problem"
OLD = ".old"  # what a user's list is kept as; further ones are .old2, .old3, ...


class Origin(Enum):
    """Where a list comes from."""

    MISSING = "missing"
    OURS = "ours"  # as this toolkit wrote it, byte for byte
    OLDER = "older"  # probably of an older version, which left no split.json
    USERS = "users"  # written or changed by somebody else


class SplitRecord:
    """The lists in ``folder`` and what is known of their origin. Raises FormatError for a newer split.json."""

    def __init__(self, folder: Union[str, os.PathLike]):
        self.folder = Path(folder)
        self.exists = (self.folder / RECORD).is_file()
        self.digests = _read(self.folder / RECORD)

    def origin(self, name: str, by_older: bool = True) -> Origin:
        """Where the list ``name`` comes from. ``by_older``: whether older versions wrote lists of this name. Raises OSError.

        Older versions left no split.json, but wrote split_report.csv right after the lists. So a list is taken for theirs if
        such a report lies beside and the list was not changed after it.
        """
        path = self.folder / name
        if not path.is_file():
            return Origin.MISSING
        if self.digests.get(name) == sha256_of(path):
            return Origin.OURS
        report = self.folder / REPORT
        if by_older and not self.exists and report.is_file() and path.stat().st_mtime_ns <= report.stat().st_mtime_ns:
            with open_regular(report, 2**40) as file:
                return Origin.OLDER if file.read(len(REPORT_HEADER)) == REPORT_HEADER else Origin.USERS
        return Origin.USERS

    def keep(self, name: str) -> str:
        """Copy the list ``name`` to ``name``.old, or .old2, ... if that exists; returns the copy's name. Raises OSError."""
        number, kept = 1, f"{name}{OLD}"
        while os.path.lexists(self.folder / kept):
            number += 1
            kept = f"{name}{OLD}{number}"
        with whole_file(self.folder / kept) as temporary:
            shutil.copyfile(self.folder / name, temporary)
        return kept

    def write(self, texts: Mapping[str, str]) -> None:
        """Write the lists ``texts``, {name: text}, and split.json with their digests. Raises OSError."""
        for name, text in texts.items():
            write_text(self.folder / name, text)
        self.digests = {name: sha256_of(self.folder / name) for name in texts}
        content = {"format": FORMAT, "sha256": self.digests}
        write_text(self.folder / RECORD, json.dumps(content, indent=2) + "\n")


def _read(path):
    """{name: digest} of a split.json, empty where it is missing or damaged; raises FormatError."""
    try:
        with open_regular(path, MAX_BYTES) as file:
            content = json.loads(file.read().decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    check_format(content.get("format"), FORMAT, str(path))
    digests = content.get("sha256")
    return {name: digest for name, digest in digests.items() if isinstance(digest, str)} if isinstance(digests, dict) else {}

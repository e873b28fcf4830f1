"""Where the photographs of a training come from: the settings of the part "data", together."""

import shlex
from typing import NamedTuple, Optional


class DataSource(NamedTuple):
    """``dataset``: one of data.DATASETS. ``data``: a folder or an archive. ``follow_links``, ``lists_dir``,
    ``fold``: see DataFolder.

    The fields are the settings that config.py declares for the part "data".
    """

    dataset: str
    data: str
    follow_links: bool = False
    lists_dir: Optional[str] = None
    fold: int = 0

    @property
    def options(self) -> str:
        """The options of a command that name this place, for messages."""
        lists = "" if self.lists_dir is None else f" --lists_dir {shlex.quote(self.lists_dir)}"
        fold = f" --fold {self.fold}" if self.fold else ""
        return f"--data {shlex.quote(self.data)}{lists}{fold}"

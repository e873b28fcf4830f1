"""Where the photographs of a training come from: the settings of the part "data", together."""

from typing import NamedTuple, Optional


class DataSource(NamedTuple):
    """``dataset``: one of data.DATASETS. ``data``: a folder or an archive. ``follow_links``, ``lists_dir``: see DataFolder.

    The fields are the settings that config.py declares for the part "data".
    """

    dataset: str
    data: str
    follow_links: bool = False
    lists_dir: Optional[str] = None

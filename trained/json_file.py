"""Reading back what this toolkit wrote as JSON: a table says what is used of it, and of which type that is."""

import json
from pathlib import Path
from typing import Callable

from machine.regular_file import open_regular
from settings.format_number import check_format

MAX_BYTES = 2**27  # figures of a hundred thousand classes are fewer


def read_values(path: Path, rules: dict[str, Callable[[object], bool]], newest: int) -> dict:
    """{name: value} of the dict in the JSON file ``path``, as far as ``rules`` names them and they are as their rule says.

    So a value of a wrong type counts as one that is not there, and what ``rules`` does not name is passed over. ``newest``: the
    newest format that can be read. Raises FormatError (a ValueError) for a newer one; OSError, or another ValueError, where
    there is no file or no dict in it.
    """
    with open_regular(path, MAX_BYTES) as file:
        data = file.read()
    try:
        content = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("not a dict in JSON")
    check_format(content.get("format"), newest, str(path))
    return {name: content[name] for name, fits in rules.items() if name in content and fits(content[name])}

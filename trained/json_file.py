"""Reads JSON files that this toolkit wrote, and keeps only the values that fit a table of rules."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machine.regular_file import open_regular
from settings.format_number import check_format
from trained.rules import Rule

MAX_BYTES = 2**27  # the metrics of a hundred thousand classes need fewer


def read_values(path: Path, rules: Mapping[str, Rule], newest: int) -> dict[str, Any]:
    """{name: value} of the dict in the JSON file ``path``: the values that ``rules`` names and that fit their rule.

    So a value of a wrong type counts as missing. ``newest``: the newest format that can be read. Raises FormatError (a
    ValueError) for a newer one; OSError or another ValueError if the file is missing or does not hold a dict.
    """
    with open_regular(path, MAX_BYTES) as file:
        data = file.read()
    try:
        content = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is no JSON that can be read: it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    check_format(content.get("format"), newest, str(path))
    return {name: content[name] for name, fits in rules.items() if name in content and fits(content[name])}

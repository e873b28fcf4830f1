"""Reads JSON files that this toolkit wrote, and keeps only the values that fit a table of rules."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from machine.regular_file import open_regular
from messages.quoting import quoted
from settings.format_number import check_format
from trained.rules import Rule

MAX_BYTES = 2**25  # the metrics of a hundred thousand classes need fewer
MAX_DIGITS = 400  # of a whole number; Python takes long for millions of digits, or refuses them


class Values(NamedTuple):
    """``good``: {name: value} of those that fit their rule; ``faults``: of the others, as ``name = value``."""

    good: dict[str, Any]
    faults: list[str]


def read_values(path: Path, rules: Mapping[str, Rule], newest: int) -> Values:
    """The Values of the dict in the JSON file ``path`` that ``rules`` names; others are passed over.

    ``newest``: the newest format that can be read. Raises FormatError (a ValueError) for a newer one; OSError or another
    ValueError if the file is missing, a link, no JSON, or does not hold a dict.
    """
    with open_regular(path, MAX_BYTES, follow_links=False) as file:
        data = file.read()
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_dict_of, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("it is no JSON that can be read: it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    check_format(content.get("format"), newest, str(path))
    good = {name: content[name] for name, fits in rules.items() if name in content and fits(content[name])}
    return Values(good, [f"{name} = {quoted(content[name])}" for name in rules if name in content and name not in good])


def _dict_of(pairs):
    content = {}
    for name, value in pairs:
        if name in content:  # JSON leaves open which value counts
            raise ValueError(f"{quoted(name)} is in it twice")
        content[name] = value
    return content


def _whole_number(text):
    return int(text) if len(text) <= MAX_DIGITS else float("inf")

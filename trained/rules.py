"""Checks for single values in a run's files: a file from a stranger may hold anything, and only good values are used."""

import sys
from typing import Any, Callable

Rule = Callable[[Any], bool]
"""Whether a value is good."""
NEEDED = object()
"""In the place of a default: every file must have this value."""


def is_number(value: Any) -> bool:
    """Whether it is an int or a finite float; an int must not exceed the range of floats."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def is_count(value: object) -> bool:
    """Whether it is a whole number, at least 0 and below 2**31."""
    return type(value) is int and 0 <= value < 2**31


def is_positive_or_zero(value: Any) -> bool:
    """Whether it is a finite number, at least 0."""
    return is_number(value) and value >= 0


def is_pair_of_shares(value: object) -> bool:
    """Whether it is a list of two numbers in 0..1, the lower first."""
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and 0 <= value[0] <= value[1] <= 1


def is_flag(value: object) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


def is_dict(value: object) -> bool:
    """Whether it is a dict, with any content."""
    return isinstance(value, dict)


def is_text(value: object) -> bool:
    """Whether it is text, not blank and without surrogates, so that UTF-8 can encode it."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def is_digest(value: object) -> bool:
    """Whether it is a SHA-256 in lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def is_pair_of_digests(value: object) -> bool:
    """Whether it is a dict of the digests of both lists, "train" and "val", and nothing else."""
    return isinstance(value, dict) and value.keys() == {"train", "val"} and all(map(is_digest, value.values()))

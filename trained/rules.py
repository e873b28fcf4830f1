"""What single values of a run's files may be: a file from a stranger may hold anything, and be no worse than refused."""

import sys

NEEDED = object()
"""In a table of what a file holds, in place of a default: files of every format have this value."""


def is_number(value: object) -> bool:
    """Whether it is a whole number or a float, neither NaN, nor infinite, nor 10**400."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0 on, and below 2**31."""
    return type(value) is int and 0 <= value < 2**31


def is_positive_or_zero(value: object) -> bool:
    """Whether it is a number from 0 on."""
    return is_number(value) and value >= 0


def is_flag(value: object) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


def is_dict(value: object) -> bool:
    """Whether it is a dict, of anything."""
    return isinstance(value, dict)


def is_text(value: object) -> bool:
    """Whether it is text that is not blank and that UTF-8 can encode."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def is_digest(value: object) -> bool:
    """Whether it is a SHA-256 in hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def is_pair_of_digests(value: object) -> bool:
    """Whether it has the digests of both lists, "train" and "val", and nothing else."""
    return isinstance(value, dict) and value.keys() == {"train", "val"} and all(map(is_digest, value.values()))

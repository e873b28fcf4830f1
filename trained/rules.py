"""Checks for single values in a run's files: a file from a stranger may hold anything, and only good values are used."""

from typing import Any, Callable

from data.lists import MAX_CLASSES

Rule = Callable[[Any], bool]
"""Whether a value is good."""
NEEDED = object()
"""In the place of a default: every file must have this value."""


HIGHEST = 1e100
"""No figure of a training comes near; sums and squares of such numbers are still numbers."""


def is_number(value: Any) -> bool:
    """Whether it is an int or a float, finite and at most HIGHEST either way."""
    return type(value) in (int, float) and abs(value) <= HIGHEST


def is_count(value: object) -> bool:
    """Whether it is a whole number, at least 0 and below 2**31."""
    return type(value) is int and 0 <= value < 2**31


def is_positive_or_zero(value: Any) -> bool:
    """Whether it is a finite number, at least 0."""
    return is_number(value) and value >= 0


def is_list_of_weights(value: object) -> bool:
    """Whether it is a list of numbers above 0."""
    return isinstance(value, list) and all(is_number(number) and number > 0 for number in value)


def is_share(value: Any) -> bool:
    """Whether it is a number in 0..1."""
    return is_number(value) and 0 <= value <= 1


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


def is_dict_of_counts(value: object) -> bool:
    """Whether it is a dict of whole numbers by one or both of the lists' names, "train" and "val"."""
    return isinstance(value, dict) and value.keys() <= {"train", "val"} and all(map(is_count, value.values()))


def is_dict_of_texts(value: object) -> bool:
    """Whether it is a dict of at most a hundred texts."""
    return isinstance(value, dict) and len(value) <= 100 and all(map(is_text, value)) and all(map(is_text, value.values()))


def is_class_list(value: object) -> bool:
    """Whether it is a list of 2 to MAX_CLASSES distinct names of classes without line breaks."""
    return (
        isinstance(value, list)
        and 2 <= len(value) <= MAX_CLASSES
        and all(map(is_text, value))
        and len(set(value)) == len(value)
        and not any("\n" in name or "\r" in name for name in value)
    )


def is_digest(value: object) -> bool:
    """Whether it is a SHA-256 in lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def is_pair_of_digests(value: object) -> bool:
    """Whether it is a dict of the digests of both lists, "train" and "val", and nothing else."""
    return isinstance(value, dict) and value.keys() == {"train", "val"} and all(map(is_digest, value.values()))

"""Whether the classes of a list differ so much in size that accuracy says little about the small ones."""

from collections.abc import Iterable

UNBALANCED_ABOVE = 3
"""How many times as many photographs as the smallest class the largest may have."""


def is_unbalanced(counts: Iterable[int]) -> bool:
    """Whether the largest class has more than three times as many photographs as the smallest.

    ``counts``: the number of photographs of each class; classes without photographs do not count.
    """
    present = [count for count in counts if count]
    return bool(present) and max(present) > UNBALANCED_ABOVE * min(present)

"""Classes that differ much in size: whether accuracy says little about the small ones, and what helps them."""

from collections.abc import Iterable, Mapping
from typing import Optional

from data.lists import Sample
from messages.terminal import printable

UNBALANCED_ABOVE = 3
"""How many times as many photographs as the smallest class the largest may have."""
REMEDY = "train.py --sampler sqrt or --class_weights balanced lets small classes count for more"


def is_unbalanced(counts: Iterable[int]) -> bool:
    """Whether the largest class has more than three times as many photographs as the smallest.

    ``counts``: the number of photographs of each class; classes without photographs do not count.
    """
    present = [count for count in counts if count]
    return bool(present) and max(present) > UNBALANCED_ABOVE * min(present)


def unbalanced_line(sizes: Mapping[str, int]) -> Optional[str]:
    """The largest and the smallest class, for a line to the user; None where they are balanced.

    ``sizes``: {class: number of its photographs}; classes without photographs do not count.
    """
    if not is_unbalanced(sizes.values()):
        return None
    present = [name for name, size in sizes.items() if size]
    largest, smallest = max(present, key=sizes.__getitem__), min(present, key=sizes.__getitem__)
    return f"unbalanced: {sizes[largest]:,} photographs of {printable(largest)}, {sizes[smallest]:,} of {printable(smallest)}"


def class_sizes(samples: Iterable[Sample], classes: int) -> list[int]:
    """The number of photographs of each of the ``classes`` classes among ``samples``, in label order."""
    sizes = [0] * classes
    for sample in samples:
        sizes[sample.label] += 1
    return sizes

"""Which photographs an epoch shows, and in which order: each once, or those of small classes more often.

The order follows from the seed and the epoch alone. An epoch always has as many photographs as the list.
"""

from collections.abc import Sequence
from typing import Optional

import numpy as np

SALT = 0xBA1A2CED  # above all indices of photographs, which other draws use with seed and epoch


class Sampler:
    """The order of the photographs in each epoch.

    ``kind``: "uniform", each photograph once; "balanced", as many of each class; "sqrt", of each class a number in proportion
    to the square root of its size. ``labels``: the class of each photograph, which the last two need.
    """

    def __init__(self, length: int, kind: str = "uniform", labels: Optional[Sequence[int]] = None):
        self.length, self.kind = length, kind
        self.members: list[np.ndarray] = []  # indices of the photographs of each class that has some
        if kind != "uniform":
            self.members = _by_class(np.asarray(labels))

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Indices of the photographs in epoch ``epoch`` (from 0), int64 [length].

        i + k * length stands for photograph i when it is shown for the k-th time after the first. Within a class every
        photograph is shown equally often, or once more than others; which ones is drawn anew for each epoch.
        """
        if self.kind == "uniform":
            return np.random.default_rng((seed, epoch)).permutation(self.length)
        rng = np.random.default_rng((seed, epoch, SALT))
        counts = epoch_counts(self.kind, [len(members) for members in self.members], rng)
        shown = [self._repeated(members, count, rng) for members, count in zip(self.members, counts)]
        return rng.permutation(np.concatenate(shown))

    def _repeated(self, members, count, rng):
        """``count`` indices of the photographs ``members``, each as often as the others or once more."""
        times, more = divmod(int(count), len(members))
        whole = [members + time * self.length for time in range(times)]
        return np.concatenate([*whole, rng.permutation(members)[:more] + times * self.length])


def epoch_counts(kind: str, sizes: Sequence[int], rng: Optional[np.random.Generator] = None) -> np.ndarray:
    """How many photographs of each class an epoch shows: int64 [classes], of the sum of ``sizes``.

    ``kind``: of the sampler, "balanced" or "sqrt"; ``sizes``: of the classes, each above 0. Of shares that are no whole
    numbers, those with the largest remainders are rounded up; ``rng`` draws among equal ones.
    """
    shares = np.ones(len(sizes)) if kind == "balanced" else np.sqrt(sizes)
    exact = (sum(sizes) * shares / shares.sum()).round(9)  # so that rounding makes no whole number a little less
    counts = np.floor(exact).astype(np.int64)
    places = np.arange(len(sizes)) if rng is None else rng.permutation(len(sizes))
    largest = places[np.argsort((counts - exact)[places].round(9), kind="stable")]
    counts[largest[: sum(sizes) - counts.sum()]] += 1
    return counts


def _by_class(labels):
    """The indices of each class that has photographs, in label order."""
    order = np.argsort(labels, kind="stable")
    _, starts = np.unique(labels[order], return_index=True)
    return np.split(order, starts[1:])

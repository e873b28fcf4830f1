"""Where networks differ: kinds of photographs on which one is better, of which the data carry that.

A difference is sought on many parts of the photographs and for all pairs of networks. So the most certain one is held against
the level divided by their number, the next against the level divided by that of the others, and so on until one does not stand
(S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979). In at most 5%
of comparisons anything is said that is not so.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

import numpy as np

from comparison.bilingual import Bilingual
from comparison.significance import CONFIDENCE, Difference, paired_difference

LEAST = 10  # photographs of a part
THIRDS = (
    ("brightness", Bilingual("the darkest third", "最暗的三分之一"), Bilingual("the brightest third", "最亮的三分之一")),
    ("sharpness", Bilingual("the most blurred third", "最模糊的三分之一"), Bilingual("the sharpest third", "最清晰的三分之一")),
    (
        "object_share",
        Bilingual("the third with the smallest objects by Grad-CAM", "按 Grad-CAM 物体最小的三分之一"),
        Bilingual("the third with the largest objects by Grad-CAM", "按 Grad-CAM 物体最大的三分之一"),
    ),
)
"""(key of the traits, what its lowest third is called, what its highest is called)."""


class Slice(NamedTuple):
    """A part of the photographs on which the network ``better`` is more accurate than ``worse``.

    ``name``: what its ``photographs`` have in common; ``difference``: with the interval of the level at which it stands.
    """

    name: Bilingual
    photographs: int
    better: str
    worse: str
    difference: Difference

    def line(self) -> Bilingual:
        """In one line for people."""
        return Bilingual(
            f"On {self.name} ({self.photographs} photographs) {self.better} is better than {self.worse}: "
            f"{self.difference.in_points()}.",
            f"在{self.name.chinese}（{self.photographs} 张照片）上，{self.better} 优于 {self.worse}："
            f"{self.difference.in_chinese()}。",
        )


def parts_of(
    labels: Sequence[str], traits: dict[str, np.ndarray], kinds: Optional[dict[Bilingual, np.ndarray]] = None
) -> dict[Bilingual, np.ndarray]:
    """{what the photographs of a part have in common: mask [photographs]}, of parts with at least LEAST photographs.

    ``labels``: names of their classes; ``traits``: {key of THIRDS: [photographs], NaN where it is not known}; ``kinds``:
    further masks by name.
    """
    classes = np.array(labels)
    found = {Bilingual(f"class {name}", f"类别 {name}"): classes == name for name in dict.fromkeys(labels)}
    for key, lowest, highest in THIRDS:
        if key in traits and not np.isnan(traits[key]).all():
            bounds = np.nanquantile(traits[key], [1 / 3, 2 / 3])
            found[lowest], found[highest] = traits[key] <= bounds[0], traits[key] >= bounds[1]
    found.update(kinds or {})
    return {name: mask for name, mask in found.items() if LEAST <= mask.sum() < len(mask)}


def differing_slices(
    correct: dict[str, np.ndarray],
    parts: dict[Bilingual, np.ndarray],
    folds: Optional[np.ndarray] = None,
    clusters: Optional[np.ndarray] = None,
    level: float = 1 - CONFIDENCE,
) -> list[Slice]:
    """The parts of the photographs on which one network is better than another, of all ``parts`` and pairs; in their order.

    ``correct``: {network: bool [seeds, photographs]}; ``parts``: of ``parts_of``; ``folds``, ``clusters``: see
    ``paired_difference``; ``level``: of all together. Pairs with too few trainings to say anything of the networks are no
    hypotheses, and do not count.
    """
    tests = list(_tests(correct, parts, folds, clusters, level))
    standing: dict[int, Slice] = {}
    for rank, number in enumerate(sorted(range(len(tests)), key=lambda number: tests[number].p)):
        found = tests[number].at(level / (len(tests) - rank))
        if found is None:
            break
        standing[number] = found
    return [standing[number] for number in sorted(standing)]


class _Test(NamedTuple):
    """One pair of networks on one part, and ``p``: the level at which the interval of its difference reaches zero."""

    part: Bilingual
    pair: tuple[str, str]
    answers: tuple[np.ndarray, np.ndarray]
    folds: Optional[np.ndarray]
    clusters: Optional[np.ndarray]
    p: float

    def at(self, level: float) -> Optional[Slice]:
        """The Slice where the interval of ``level`` excludes zero, else None."""
        found = paired_difference(*self.answers, level, self.folds, self.clusters)
        (first, second), count = self.pair, self.answers[0].shape[1]
        if found.low > 0:
            return Slice(self.part, count, first, second, found)
        return Slice(self.part, count, second, first, found.turned()) if found.high < 0 else None


def _tests(correct, parts, folds, clusters, level) -> Iterator[_Test]:
    for name, mask in parts.items():
        own_folds, own_clusters = (None if given is None else given[mask] for given in (folds, clusters))
        for pair in itertools.combinations(correct, 2):
            answers = (correct[pair[0]][:, mask], correct[pair[1]][:, mask])
            found = paired_difference(*answers, level, own_folds, own_clusters)
            if found.seeds:
                yield _Test(name, pair, answers, own_folds, own_clusters, found.p)

"""Where networks differ: kinds of photographs on which one is better, of which the data carry that.

A difference on a part of the photographs is sought in many parts, so each has its share of the 5% (C. Bonferroni): in at most
5% of comparisons anything is said that is not so.
"""

import itertools
from collections.abc import Sequence
from typing import Optional

import numpy as np

from comparison.significance import CONFIDENCE, paired_difference

LEAST = 10  # photographs of a part
THIRDS = (
    ("brightness", "the darkest third", "the brightest third"),
    ("sharpness", "the most blurred third", "the sharpest third"),
)


def parts_of(labels: Sequence[str], traits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{what the photographs of a part have in common: mask [photographs]}, of parts with at least LEAST photographs.

    ``labels``: names of their classes; ``traits``: {"brightness", "sharpness"}: [photographs] each, or empty.
    """
    classes = np.array(labels)
    found = {f"class {name}": classes == name for name in dict.fromkeys(labels)}
    for key, lowest, highest in THIRDS:
        if key in traits:
            bounds = np.quantile(traits[key], [1 / 3, 2 / 3])
            found[lowest], found[highest] = traits[key] <= bounds[0], traits[key] >= bounds[1]
    return {name: mask for name, mask in found.items() if LEAST <= mask.sum() < len(mask)}


def lines_of_parts(
    correct: dict[str, np.ndarray],
    parts: dict[str, np.ndarray],
    folds: Optional[np.ndarray] = None,
    clusters: Optional[np.ndarray] = None,
    level: float = 1 - CONFIDENCE,
) -> list[str]:
    """A line for each part of the photographs and pair of networks of which one is better there.

    ``correct``: {network: bool [seeds, photographs]}; ``parts``: of ``parts_of``; ``folds``, ``clusters``: see
    ``paired_difference``; ``level``: of all lines together.
    """
    pairs = list(itertools.combinations(correct, 2))
    lines = []
    for name, mask in parts.items():
        for first, second in pairs:
            found = paired_difference(
                correct[first][:, mask],
                correct[second][:, mask],
                level / (len(pairs) * len(parts)),
                None if folds is None else folds[mask],
                None if clusters is None else clusters[mask],
            )
            if found.seeds and found.low > 0:
                lines.append(_line(name, mask, first, second, found))
            elif found.seeds and found.high < 0:
                lines.append(_line(name, mask, second, first, found.turned()))
    return lines


def _line(name, mask, better, worse, found):
    return f"On {name} ({mask.sum()} photographs) {better} is better than {worse}: {found.in_points()}."

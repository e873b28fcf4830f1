"""After each seed: which of the networks' differences are decided, and whether further seeds can decide the others.

Each look at the results is a chance to be wrong, so each has a share of the level that a single one would have, three tenths
or, with more than two networks, a quarter (after S. Pocock, Biometrika 64, 1977): with looks at 3 to 10 seeds, at most 5% of
comparisons then end with a wrong statement (benchmarks/verdict_errors.py simulates them, docs/verdict.md has its table). The
intervals hold together, at all looks and for all pairs (C. Jennison, B. Turnbull, Journal of the Royal Statistical Society B
51, 1989).
"""

import math
from collections.abc import Collection, Iterable
from statistics import NormalDist
from typing import Callable, NamedTuple, Optional

import numpy as np

from comparison.significance import LEAST_SEEDS, Difference, Spread, difference_of, level_of_pairs, scatter, spread

MOST_SEEDS = 10
HOPELESS = 0.1
"""Further seeds are not worth their time where the chance that they decide is below this."""
MOST_PHOTOGRAPHS = 1_000_000

BETTER, WORSE, CLOSE, OPEN, FUTILE = "better", "worse", "close", "open", "futile"


class Pair(NamedTuple):
    """Where two networks stand: ``status`` BETTER (the first is), WORSE, CLOSE (they differ by less than is worth), OPEN, or
    FUTILE: further seeds could hardly decide it. ``photographs``: about how many would, where it is FUTILE, at most
    MOST_PHOTOGRAPHS; None: no number of them."""

    first: str
    second: str
    difference: Difference
    status: str
    photographs: Optional[int] = None


class Look(NamedTuple):
    """What was known after so many ``seeds``: ``pairs`` of the networks that were still trained; ``out``: those that are worse
    than another one, and are trained no more."""

    seeds: int
    pairs: list[Pair]
    out: list[str]

    @property
    def is_last(self) -> bool:
        """Whether nothing is left that a further seed could decide."""
        return not any(pair.status == OPEN for pair in self.pairs if not {pair.first, pair.second} & set(self.out))


def share_of_look(networks: int) -> float:
    """The share of a single look's level that each look at so many ``networks`` has; found by simulation."""
    return 0.3 if networks <= 2 else 0.25


def level_of_look(networks: int) -> float:
    """How often the interval of one pair may miss at one look, among so many ``networks``."""
    return share_of_look(networks) * level_of_pairs(networks)


def look_at(
    correct: dict[str, np.ndarray],
    live: Collection[str],
    networks: int,
    worth: float,
    most_seeds: int = MOST_SEEDS,
    clusters: Optional[np.ndarray] = None,
) -> Look:
    """Where the ``live`` networks stand; ``correct``: {network: bool [seeds, photographs]}, as many seeds of each.

    ``networks``: how many the comparison began with; ``worth``: the least difference of accuracies that matters, a share;
    ``clusters``: see ``paired_difference``. Raises ValueError with fewer than LEAST_SEEDS seeds.
    """
    names = [name for name in correct if name in live]
    seeds = min(len(correct[name]) for name in names)
    if seeds < LEAST_SEEDS:
        raise ValueError(f"{seeds} seeds: at least {LEAST_SEEDS} are needed")
    level = level_of_look(networks)
    scattered = {name: scatter(correct[name], clusters=clusters) for name in names}
    pairs = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            variances = spread(scattered[first], scattered[second], clusters=clusters)
            found = difference_of(scattered[first], scattered[second], variances, level)
            status, photographs = _status(found, worth), None
            chance = 1.0
            if status == OPEN and seeds < most_seeds:
                chance = chance_to_decide(found.mean, variances, worth, seeds, most_seeds, level)
            if chance < HOPELESS:
                count = correct[first].shape[1]
                photographs = photographs_needed(found.mean, variances, worth, count, seeds, most_seeds, level)
                status = FUTILE
            pairs.append(Pair(first, second, found, status, photographs))
    worse = {pair.second for pair in pairs if pair.status == BETTER} | {pair.first for pair in pairs if pair.status == WORSE}
    return Look(seeds, pairs, [name for name in names if name in worse])


def _status(found, worth):
    if found.low > 0:
        return BETTER
    if found.high < 0:
        return WORSE
    return CLOSE if -worth < found.low and found.high < worth else OPEN


def chance_to_decide(difference: float, variances: Spread, worth: float, seeds: int, most_seeds: int, level: float) -> float:
    """How likely ``most_seeds`` decide what ``seeds`` have not, if trainings go on as they did so far."""
    half = _with(variances, seeds, most_seeds).half(level)
    moves = math.sqrt((variances.seeds or 0.0) * (1 - seeds / most_seeds))
    normal = NormalDist(difference, max(moves, 1e-9))
    decided = normal.cdf(-half) + 1 - normal.cdf(half)
    if half < worth:
        decided += max(normal.cdf(min(worth - half, half)) - normal.cdf(-min(worth - half, half)), 0.0)
    return decided


def _with(variances, seeds, more_seeds, photographs=1.0):
    """The variances with ``more_seeds``, and so many times the ``photographs``."""
    share = seeds / more_seeds
    residual = variances.residual / photographs
    between = max((variances.seeds or 0.0) - variances.residual, 0.0)
    freedom = variances.freedom * (more_seeds - 1) / max(seeds - 1, 1)
    return Spread(variances.photographs / photographs, residual * share, (between + residual) * share, freedom)


def photographs_needed(
    difference: float, variances: Spread, worth: float, photographs: int, seeds: int, most_seeds: int, level: float
) -> Optional[int]:
    """About how many photographs would decide a difference such as this one, with ``most_seeds``; None: no number of them."""
    target = max(abs(difference), worth - abs(difference))
    if _with(variances, seeds, most_seeds, math.inf).half(level) >= target:
        return None
    times = 1.1
    while times * photographs <= MOST_PHOTOGRAPHS and _with(variances, seeds, most_seeds, times).half(level) >= target:
        times *= 1.1
    return round(min(times * photographs, MOST_PHOTOGRAPHS))


def path_of(looks: Iterable[Look]) -> list[dict]:
    """The looks as JSON has them."""
    return [
        {
            "seeds": look.seeds,
            "pairs": [_as_dict(pair) for pair in look.pairs],
            "out": look.out,
        }
        for look in looks
    ]


def _as_dict(pair):
    found = pair.difference._asdict()
    del found["p"], found["seeds"]
    return {**pair._asdict(), "difference": found}


def line_of_pair(pair: Pair, price_of: Callable[[str, str], str] = lambda first, second: "") -> str:
    """A pair in one line for people, the better network first; ``price_of``: see comparison.worth.price."""
    first, second, found = pair.first, pair.second, pair.difference
    if found.mean < 0:
        first, second, found = second, first, found.turned()
    return f"{first} against {second}: {found.in_points()}{price_of(first, second)}"

"""Successive halving within a budget of time: how many pairs are trained for how many epochs.

All pairs are trained for a few epochs, the best third of them three times as long, and so on (K. Jamieson and A. Talwalkar,
"Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016; L. Li et al., "Hyperband", JMLR 2018,
whose factor of three is taken).
"""

import math
from typing import NamedTuple, Optional

FACTOR = 3
FEW = 3  # pairs in the last rung; of fewer, chance decides as well
USEFUL_STEPS = 100  # of the optimiser, at least, in the shortest trial: in fewer a network hardly leaves its start
RESERVE = 0.1  # share of the budget that is not planned with: machines slow down


class Rung(NamedTuple):
    """``trials``: how many pairs are trained, at most; ``epochs``: how long each of them."""

    trials: int
    epochs: int


class Costs(NamedTuple):
    """Seconds that a trial takes: ``start`` before its first epoch and after its last, and ``epoch`` for each epoch.

    ``at_once``: how many run at the same time.
    """

    start: float
    epoch: float
    at_once: int = 1

    def of(self, epochs: int) -> float:
        return self.start + self.epoch * epochs

    def of_rungs(self, rungs: list[Rung]) -> float:
        return sum(self.turns(rung.trials) * self.of(rung.epochs) for rung in rungs)

    def turns(self, trials: int) -> int:
        """How many trials ``trials`` of equal length take one after the other."""
        return math.ceil(trials / self.at_once)


def plan_rungs(pairs: int, with_usual: bool, longest: int, shortest: int, costs: Costs, seconds: float) -> Optional[list[Rung]]:
    """The rungs of a search that takes at most ``seconds``; None where no search of use fits.

    ``pairs``: in the first rung; ``with_usual``: whether one of them, the usual one, stays in every rung. ``longest``: epochs
    that no trial exceeds; ``shortest``: epochs of the shortest trial, at least.

    The plan has as few rungs as train the last one for ``longest``; where the time allows none of these, the most rungs whose
    first trials are not too short.
    """
    plans = [_longest_fitting(sizes, longest, shortest, costs, seconds) for sizes in _sizes(pairs, with_usual)]
    fitting = [plan for plan in plans if plan]
    full = [plan for plan in fitting if plan[-1].epochs == longest]
    return full[0] if full else fitting[-1] if fitting else None


def smallest_search(pairs: int, with_usual: bool, longest: int, shortest: int, costs: Costs) -> float:
    """Seconds that the cheapest search of use takes; the arguments are those of plan_rungs."""
    plans = [_rungs(sizes, shortest * FACTOR ** (len(sizes) - 1), longest) for sizes in _sizes(pairs, with_usual)]
    return min(costs.of_rungs(plan) for plan in plans)


def survivors(pairs: int) -> int:
    """How many of ``pairs`` that a rung has tried are tried for longer."""
    return math.ceil(pairs / FACTOR)


def _sizes(pairs, with_usual):
    """[[pairs of each rung], ...] for one rung, two rungs, and so on, until FEW are left."""
    best = [pairs]
    while best[-1] > FEW:
        best.append(survivors(best[-1]))
    sizes = [pairs, *(min(size + with_usual, pairs) for size in best[1:])]
    return [sizes[: number + 1] for number in range(len(sizes))]


def _rungs(sizes, last, longest):
    """Rungs of ``sizes`` pairs, the last of ``last`` epochs, each before it a third as long."""
    lengths = [max(1, round(min(last, longest) / FACTOR**before)) for before in reversed(range(len(sizes)))]
    return [Rung(size, length) for size, length in zip(sizes, lengths)]


def _longest_fitting(sizes, longest, shortest, costs, seconds):
    """The rungs of ``sizes`` with the longest trials that ``seconds`` allow; None where the shortest would be too short."""
    low, high = 0, longest  # epochs of the last rung that fit, that may not
    while low < high:
        middle = (low + high + 1) // 2
        if costs.of_rungs(_rungs(sizes, middle, longest)) <= seconds:
            low = middle
        else:
            high = middle - 1
    plan = _rungs(sizes, low, longest) if low else None
    return plan if plan and plan[0].epochs >= min(shortest, longest) else None

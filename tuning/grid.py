"""The pairs of learning rate and weight decay that a search tries: a grid in logarithmic steps around the usual values."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple, Optional

from config import Config

RATE_STEP, DECAY_STEP = math.sqrt(10), 10.0
RATE_STEPS = {"momentum": (-1, 3), "adam": (-2, 2), "adamw": (-2, 2)}
"""Of each optimiser: steps below and above the rate that it has by default."""
RATE_STEPS_FROM_WEIGHTS = (-2, 1)  # weights that know something are soon lost at a high rate
DECAYS = {"momentum": (1e-5, 1e-2), "adam": (1e-5, 1e-2), "adamw": (1e-3, 0.3)}
"""Of each optimiser: the lowest and the highest decay. It is decoupled, and so multiplied by the rate, with adamw alone."""
LEEWAY = 2.0  # factor by which the grid may pass these bounds, so that four steps fit whatever the decay in the middle


class Pair(NamedTuple):
    """What a trial tries."""

    learning_rate: float
    weight_decay: float

    def __str__(self) -> str:
        return f"learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"


class Grid(NamedTuple):
    """``learning_rates`` and ``weight_decays``, each in ascending order; every combination is a pair of the grid.

    ``usual``: the pair that a training has without a search; None where the user's own values leave it out.
    """

    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    usual: Optional[Pair]

    def pairs(self, seed: int) -> list[Pair]:
        """All pairs, the usual one first, the others in an order drawn with ``seed``: a part of them then covers the grid."""
        pairs = [Pair(rate, decay) for rate in self.learning_rates for decay in self.weight_decays]
        random.Random(f"tune/{seed}").shuffle(pairs)
        return sorted(pairs, key=lambda pair: pair != self.usual)

    def coarser(self) -> list["Grid"]:
        """With every second weight decay, and with every second learning rate as well; the usual pair stays."""
        rate, decay = self.usual or Pair(self.learning_rates[0], self.weight_decays[0])
        decays = _every_second(self.weight_decays, decay)
        return [self._replace(weight_decays=decays), Grid(_every_second(self.learning_rates, rate), decays, self.usual)]


def grid_of(config: Config) -> Grid:
    """The grid that ``config`` (resolved) asks for: ``learning_rates`` and ``weight_decays``, or else steps around its usual
    pair, ``learning_rate`` and ``weight_decay``."""
    usual = Pair(config.learning_rate or 0.0, config.weight_decay or 0.0)
    rates = _ascending(config.learning_rates or _rates(config, usual.learning_rate))
    decays = _ascending(config.weight_decays or _decays(config.optimizer, usual.weight_decay))
    on_grid = usual.learning_rate in rates and usual.weight_decay in decays
    return Grid(rates, decays, usual if on_grid else None)


def beyond(values: Sequence[float], best: float) -> Optional[float]:
    """The value that would follow next where ``best`` is the lowest or the highest of ``values``; else None."""
    if len(values) < 2 or best not in (values[0], values[-1]):
        return None
    at, beside = (0, 1) if best == values[0] else (-1, -2)
    if not values[at] or not values[beside]:
        return None  # nothing lies below a decay of zero
    return _rounded(values[at] ** 2 / values[beside])


def _rates(config, middle):
    warm = config.init_from is not None or config.pretrained
    low, high = RATE_STEPS_FROM_WEIGHTS if warm else RATE_STEPS[config.optimizer]
    return [middle if step == 0 else _rounded(middle * RATE_STEP**step) for step in range(low, high + 1)]


def _decays(optimizer, middle):
    low, high = DECAYS[optimizer]
    start = middle or low
    steps = range(-20, 21)
    near = [start if step == 0 else _rounded(start * DECAY_STEP**step) for step in steps]
    return [middle, *(decay for decay in near if low / LEEWAY <= decay <= min(high * LEEWAY, 1.0))]


def _ascending(values):
    return tuple(sorted(set(values)))


def _rounded(value):
    return float(f"{value:.3g}")


def _every_second(values, kept):
    return values[values.index(kept) % 2 :: 2]

"""What a network gains and costs against another one, in points, time, memory and energy, each with its own spread.

Costs are measured in turn: where one command trains them, all networks train with a seed before the next seed begins, and in
each round of the evaluation time all are measured. So what a network costs more is found pair by pair, of the same seed or
round, and other load on the machine, which both had, falls out.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from comparison.significance import CONFIDENCE, Difference
from messages.markdown import in_markdown, table

BYTES_OF_WEIGHT = 4
Row = Mapping[str, Any]
"""Of comparison.verdict.network_row."""


class Change(NamedTuple):
    """What something costs more: the median over pairs of measurements, and its interval. ``known``: of how many pairs."""

    middle: float
    low: float
    high: float
    known: int

    def parts(self, digits: int = 1, unit: str = "") -> list[str]:
        """For people: the median and, where the interval has a length in so many digits, its bounds."""
        middle, low, high = (f"{round(value, digits) + 0.0:+.{digits}f}" for value in self[:3])
        return [f"{middle}{unit}"] if low == high else [f"{middle}{unit}", low, high]

    def text(self, digits: int = 1, unit: str = "") -> str:
        """The ``parts`` in one."""
        middle, *bounds = self.parts(digits, unit)
        return f"{middle} ({' to '.join(bounds)})" if bounds else middle


class Gain(NamedTuple):
    """A network against the baseline. ``difference``: of their accuracies, None where it is not known; ``costs``: of
    ``costs_of``."""

    network: str
    difference: Optional[Difference]
    costs: dict[str, Optional[Change]]


class Cost(NamedTuple):
    """A cost that a comparison knows: what it is called, of a row its measurements by seed or round, and how two of them
    compare.

    ``relative``: as a share of the other network's cost, in percent.
    """

    heading: str
    measured: Callable[[Row], Mapping[int, Optional[float]]]
    relative: bool = False
    digits: int = 1
    unit: str = ""


def _by_seed(row, key):
    return dict(zip(row.get("numbers_of_seeds") or (), row.get(f"{key}_of_seeds") or ()))


def _seconds(row):
    rates = _by_seed(row, "training_images_per_second")
    return {seed: 1 / rate if rate else None for seed, rate in rates.items()}


def _milliseconds(row):
    return dict(enumerate(row.get("latency_ms_of_rounds") or ()))


def _megabytes(row):
    return {} if row["parameters"] is None else {0: row["parameters"] * BYTES_OF_WEIGHT / 1e6}


COSTS = {
    "training_time": Cost("training time", _seconds, relative=True, digits=0, unit="%"),
    "latency_ms": Cost("ms an image", _milliseconds),
    "weights_mb": Cost("MB of weights", _megabytes),
    "peak_memory_mb": Cost("MB of memory in training", lambda row: _by_seed(row, "peak_memory_mb"), digits=0),
    "energy_wh": Cost("Wh a training", lambda row: _by_seed(row, "energy_wh")),
}
"""What a network may cost more. The first three are in the sentences of the verdict."""
IN_VERDICT = ("training_time", "latency_ms", "weights_mb")


def costs_of(first: Row, second: Row) -> dict[str, Optional[Change]]:
    """{key of COSTS: what the first network costs more than the second; None where that is not known of both}."""
    return {key: _change(cost, first, second) for key, cost in COSTS.items()}


def _change(cost, first, second):
    pairs = _pairs(cost, first, second)
    if not pairs:
        return None
    if cost.relative:
        return change_of([100 * (own / other - 1) for own, other in pairs])
    return change_of([own - other for own, other in pairs])


def _pairs(cost, first, second) -> list[tuple[float, float]]:
    own, other = cost.measured(first), cost.measured(second)
    pairs = [(own[key], other[key]) for key in own if key in other]
    return [pair for pair in pairs if None not in pair]


def change_of(values: Sequence[float]) -> Change:
    """The median of ``values`` with its interval by order statistics: of fewer than six the whole range, which holds it less
    often than in 95% of cases."""
    ordered = sorted(values)
    cut = _cut(len(ordered))
    return Change(statistics.median(ordered), ordered[cut], ordered[-1 - cut], len(ordered))


def _cut(count):
    """How many of the lowest, and of the highest, of ``count`` values lie outside the interval of the median."""
    outside, cut = 2 * 0.5**count, 0
    while True:
        further = outside + 2 * math.comb(count, cut + 1) * 0.5**count
        if further > 1 - CONFIDENCE or 2 * (cut + 1) >= count:
            return cut
        outside, cut = further, cut + 1


def ratio(first: Row, second: Row, key: str) -> Optional[tuple[float, float]]:
    """Between which the first network's cost is, as a multiple of the second's; None where it is not known of both."""
    pairs = _pairs(COSTS[key], first, second)
    if not pairs or not all(other for _, other in pairs):
        return None
    found = change_of([own / other for own, other in pairs])
    return found.low, found.high


def price(first: Row, second: Row) -> str:
    """What the first network costs more, or less, than the second, in words. Empty where it is not known."""
    changes = costs_of(first, second)
    found = [
        f"{change.text(cost.digits, cost.unit)} {cost.heading}"
        for key in IN_VERDICT
        if (cost := COSTS[key]) and (change := changes[key]) is not None
    ]
    return f" for {', '.join(found)}" if found else ""


def baseline_of(rows: Sequence[Row], chosen: Optional[str] = None) -> Optional[str]:
    """The network that gains and costs are counted from: the ``chosen`` one, else, or where its training failed, the one that
    trains fastest. None where no row has an accuracy."""
    trained = [row for row in rows if row["accuracy"] is not None]
    if any(row["network"] == chosen for row in trained):
        return chosen
    fastest = max(trained, key=lambda row: row["training_images_per_second"] or 0.0, default=None)
    return None if fastest is None else fastest["network"]


def gains_of(rows: Sequence[Row], baseline: str, pairs: Mapping[tuple[str, str], Difference]) -> list[Gain]:
    """The Gain of each other network with an accuracy, in the order of the ``rows``. ``pairs``: {(network, other): of the
    network's accuracy minus the other's}."""
    of_name = {row["network"]: row for row in rows}
    return [
        Gain(name, pairs.get((name, baseline)), costs_of(row, of_name[baseline]))
        for name, row in of_name.items()
        if name != baseline and row["accuracy"] is not None
    ]


def known_costs(gains: Sequence[Gain]) -> list[str]:
    """The keys of COSTS that are known of at least one of the networks."""
    return [key for key in COSTS if any(gain.costs[key] for gain in gains)]


def gain_cells(gains: Sequence[Gain]) -> tuple[list[str], list[list[str]]]:
    """The table of gains for people: its headings, and the cells of each row; costs that no network is known to have are left
    out."""
    keys = known_costs(gains)
    headings = ["network", "accuracy", *(COSTS[key].heading for key in keys)]
    return headings, [[gain.network, _accuracy(gain.difference), *(_cost(gain, key) for key in keys)] for gain in gains]


def _accuracy(difference):
    return "-" if difference is None else difference.in_points()


def _cost(gain, key):
    change = gain.costs[key]
    return "-" if change is None else change.text(COSTS[key].digits, COSTS[key].unit)


def table_of_gains(gains: Sequence[Gain], baseline: str) -> str:
    """The table of gains in Markdown, under a line that names the baseline; empty where there is none."""
    if not gains:
        return ""
    headings, rows = gain_cells(gains)
    return f"Against {in_markdown(baseline)}:\n\n" + table(headings, [[in_markdown(name), *cells] for name, *cells in rows])

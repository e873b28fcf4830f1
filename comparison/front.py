"""Which networks no other one beats at no more cost (V. Pareto's front), as far as the data carry it."""

from collections.abc import Collection, Mapping

CERTAIN, PERHAPS, NOT = "certain", "perhaps", "not"
ALIKE = 0.05
"""Costs that differ by less than this part count as equal: measured again, they might be the other way round."""
COSTS = (
    ("training_images_per_second", "training time", True),
    ("latency_ms", "evaluation time", False),
    ("parameters", "size", False),
)
"""(key of comparison.verdict.network_row, what it is called, whether more of it costs less)."""


def front(costs: Mapping[str, float], better: Collection[tuple[str, str]]) -> dict[str, str]:
    """{network: CERTAIN, PERHAPS or NOT on the front}; ``costs``: {network: the less the better}.

    ``better``: (network, other) of which the data carry that the network is more accurate. Certain is one that is better than
    all that cost no more; not on the front is one of which another one is better at no more cost.
    """
    found = {}
    for name, cost in costs.items():
        others = [other for other in costs if other != name and costs[other] <= cost * (1 + ALIKE)]
        if any((other, name) in better for other in others):
            found[name] = NOT
        else:
            found[name] = CERTAIN if all((name, other) in better for other in others) else PERHAPS
    return found


def lines_of_front(rows: Collection[Mapping], better: Collection[tuple[str, str]]) -> list[str]:
    """A line for each cost that all ``rows``, of comparison.verdict.network_row, have."""
    lines = []
    for key, name, is_rate in COSTS:
        values = {row["network"]: row[key] for row in rows}
        if len(values) < 2 or not all(values.values()):
            continue
        found = front({network: 1 / value if is_rate else value for network, value in values.items()}, better)
        parts = [
            f"{words} {', '.join(network for network, state in found.items() if state == kind)}"
            for kind, words in ((CERTAIN, "for certain"), (PERHAPS, "perhaps"), (NOT, "not"))
            if kind in found.values()
        ]
        lines.append(f"On the front of accuracy against {name}: {'; '.join(parts)}.")
    return lines

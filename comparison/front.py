"""Which networks no other one beats at no more cost (V. Pareto's front), as far as accuracies and costs are known."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional

from comparison.bilingual import Bilingual
from comparison.page_words import COSTS as CHINESE
from comparison.worth import ratio

CERTAIN, PERHAPS, NOT = "certain", "perhaps", "not"
WORDS = {
    CERTAIN: ("for certain", "确定在前沿上的是"),
    PERHAPS: ("perhaps", "可能在前沿上的是"),
    NOT: ("not", "不在前沿上的是"),
}
ALIKE = 0.05
"""Costs that differ by less than this part count as equal: on another day they might be the other way round."""
COSTS = {
    "training_time": "training time",
    "latency_ms": "evaluation time",
    "peak_memory_mb": "memory in training",
    "weights_mb": "size",
    "energy_wh": "energy",
}
"""{key of comparison.worth.COSTS: what the front of accuracy against it is called}."""


def front(
    networks: Sequence[str], ratios: Mapping[tuple[str, str], tuple[float, float]], better: Collection[tuple[str, str]]
) -> dict[str, str]:
    """{network: CERTAIN, PERHAPS or NOT on the front}.

    ``ratios``: {(network, other): between which the network's cost is, as a multiple of the other's}; ``better``: (network,
    other) of which the data carry that the network is more accurate. Certain is one that is better than all that perhaps cost
    no more; not on the front is one of which another one is better that surely costs no more.
    """
    found = {}
    for name in networks:
        others = [other for other in networks if other != name]
        perhaps_cheaper = [other for other in others if ratios[other, name][0] <= 1 + ALIKE]
        surely_cheaper = [other for other in others if ratios[other, name][1] <= 1 + ALIKE]
        if any((other, name) in better for other in surely_cheaper):
            found[name] = NOT
        else:
            found[name] = CERTAIN if all((name, other) in better for other in perhaps_cheaper) else PERHAPS
    return found


def fronts(rows: Collection[Mapping[str, Any]], better: Collection[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """{key of COSTS: of ``front_of``}, for each cost that is known of all ``rows``."""
    return {key: found for key in COSTS if (found := front_of(key, rows, better))}


def front_of(key: str, rows: Collection[Mapping[str, Any]], better: Collection[tuple[str, str]]) -> dict[str, str]:
    """What ``front`` returns of the cost ``key``; empty where it is not known of all ``rows``, or there is one row alone.

    ``rows``: of comparison.verdict.network_row.
    """
    ratios = _ratios(rows, key)
    return front([row["network"] for row in rows], ratios, better) if ratios else {}


def _ratios(rows, key) -> Optional[dict[tuple[str, str], tuple[float, float]]]:
    found = {}
    for row in rows:
        for other in rows:
            if row is not other:
                of_pair = ratio(row, other, key)
                if of_pair is None:
                    return None
                found[row["network"], other["network"]] = of_pair
    return found


def lines_of_fronts(found: Mapping[str, Mapping[str, str]]) -> list[Bilingual]:
    """A line for each of ``fronts``."""
    lines = []
    for key, states in found.items():
        networks = {kind: [network for network, state in states.items() if state == kind] for kind in WORDS}
        english = "; ".join(f"{WORDS[kind][0]} {', '.join(names)}" for kind, names in networks.items() if names)
        chinese = "；".join(f"{WORDS[kind][1]} {'、'.join(names)}" for kind, names in networks.items() if names)
        lines.append(
            Bilingual(
                f"On the front of accuracy against {COSTS[key]}: {english}.",
                f"准确率与{CHINESE[key].name}：{chinese}。",
            )
        )
    return lines

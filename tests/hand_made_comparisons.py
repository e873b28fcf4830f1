"""What a comparison found, made by hand: no network is trained."""

from statistics import fmean
from typing import Optional

import numpy as np
from PIL import Image

from comparison.answers import Answers
from comparison.decision import Look, Pair
from comparison.findings import Compared, Findings
from comparison.significance import Difference
from comparison.verdict import network_row
from comparison.worth import baseline_of, gains_of
from evaluation.scores import wilson_interval

PHOTOGRAPHS = 100


def row_of(network, accuracies=(0.7, 0.72, 0.74), rate=50.0, latency=20.0, parameters=11_000_000, memory=800.0, note=""):
    """A row of comparison.verdict.network_row; without accuracies that of a network that could not be trained."""
    row = network_row(network, [], {}, note)
    if not accuracies:
        return row
    mean, seeds = fmean(accuracies), len(accuracies)
    return {
        **row, "seeds": seeds, "accuracy": mean, "accuracy_of_seeds": list(accuracies), "loss": 1.0, "parameters": parameters,
        "accuracy_interval": list(wilson_interval(round(mean * PHOTOGRAPHS), PHOTOGRAPHS)),
        "training_images_per_second": rate, "training_images_per_second_of_seeds": [rate] * seeds,
        "numbers_of_seeds": list(range(seeds)),
        "latency_ms": latency, "latency_ms_of_rounds": [] if latency is None else [latency] * 9,
        "peak_memory_mb": memory, "peak_memory_mb_of_seeds": [memory] * seeds,
    }  # fmt: skip


def comparison(rows, decision=None, better=(), correct=None, names=None, differences=(), failures=None, split="test"):
    """(Compared, Findings) of ``rows``, in the order of the comparison; those without an accuracy failed."""
    networks = [row["network"] for row in rows if row["accuracy"] is not None]
    names = [f"cat/{number}.jpg" for number in range(PHOTOGRAPHS)] if names is None else names
    correct = {name: np.ones((3, len(names)), bool) for name in networks} if correct is None else correct
    failures = {row["network"]: [row["note"]] for row in rows if row["accuracy"] is None} if failures is None else failures
    compared = Compared({name: [] for name in networks}, {}, failures, split, True, decision)
    best_first = sorted(rows, key=lambda row: -(row["accuracy"] or 0))
    answers = Answers(names, ["cat"] * len(names), correct)
    pairs = decision.differences() if decision else {}
    baseline = baseline_of(rows)
    gains = gains_of(best_first, baseline, pairs) if baseline else []
    found = Findings(answers, {}, best_first, list(differences), baseline, gains, {}, "the verdict", [], False, better=better)
    return compared, found


def pair(first, second, mean, half, status, photographs: Optional[int] = None):
    """A Pair with an interval of ``half`` to both sides of the ``mean``."""
    return Pair(first, second, Difference(mean, mean - half, mean + half, float("nan"), True), status, photographs)


def look(seeds, *pairs, out=()):
    """A Look at ``pairs``."""
    return Look(seeds, list(pairs), list(out))


def pictures_in(folder):
    """Small pictures in the place of those that a comparison draws."""
    for name in ("comparison.png", "tradeoff.png"):
        Image.new("RGB", (20, 10), "white").save(folder / name)

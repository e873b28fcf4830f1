"""The figures of a comparison: one row a network over its seeds, and what the data say about the differences."""

import csv
import statistics
from pathlib import Path

import numpy as np

from reporting.significance import CONFIDENCE, holm, paired_difference

COLUMNS = (
    ("network", "network"),
    ("seeds", "seeds"),
    ("accuracy", "accuracy"),
    ("accuracy_sd", "± over seeds"),
    ("accuracy_of_seeds", "of each seed"),
    ("top5", "top-5"),
    ("loss", "loss"),
    ("parameters", "parameters (M)"),
    ("multiply_adds", "multiply-adds (G)"),
    ("training_images_per_second", "training images/s"),
    ("latency_ms", "evaluation ms/image"),
    ("peak_memory_mb", "peak memory (MB)"),
    ("seconds_to_best", "seconds to best epoch"),
    ("note", "note"),
)
"""Key of a row -> heading."""


def read_correct(run):
    """(paths, bool [photographs]) of an evaluated run: which photographs it got right, from eval/predictions.csv."""
    with open(Path(run) / "eval" / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["path"] for row in rows], np.array([row["label"] == row["prediction"] for row in rows])


def network_row(name, runs, cost, note="") -> dict:
    """The row of one network, by COLUMNS.

    ``runs``: its evaluated runs, one a seed, each a dict with "metrics" (eval/metrics.json), "result" (result.json) and
    "history"; ``cost``: {"parameters", "multiply_adds", "latency_ms"}.
    """
    if not runs:
        return {key: None for key, _ in COLUMNS} | {"network": name, "seeds": 0, "note": note}
    accuracies = [run["metrics"]["acc"] for run in runs]

    def mean(values):
        values = list(values)
        return None if None in values else statistics.fmean(values)

    return {
        "network": name,
        "seeds": len(runs),
        "accuracy": mean(accuracies),
        "accuracy_sd": statistics.stdev(accuracies) if len(runs) > 1 else None,
        "accuracy_of_seeds": accuracies,
        "top5": mean(run["metrics"].get("acc_top5") for run in runs),
        "loss": mean(run["metrics"]["loss"] for run in runs),
        **cost,
        "training_images_per_second": mean(run["result"]["images_per_second"] for run in runs),
        "peak_memory_mb": mean(run["result"].get("peak_memory_mb") for run in runs),
        "seconds_to_best": mean(seconds_to_best(run["history"], run["result"]["best"]) for run in runs),
        "note": note,
    }


def seconds_to_best(history, best) -> float:
    """Seconds of training and validation until the end of the best epoch."""
    return sum(row["seconds"] for row in history if row["epoch"] <= best["epoch"])


def differences(correct) -> list:
    """The best network against each of the others: [(best, other, Difference, whether it stands), ...].

    ``correct``: {network: bool [seeds, photographs]}. It stands where the paired comparison does at 95% for all of them
    together (Holm) and covers more than one seed.
    """
    best = max(correct, key=lambda name: correct[name].mean())
    others = [name for name in correct if name != best]
    found = [paired_difference(correct[best], correct[other]) for other in others]
    stands = holm([difference.p for difference in found])
    return [(best, other, d, stand and d.seeds) for other, d, stand in zip(others, found, stands)]


def verdict(compared, photographs) -> str:
    """One paragraph in plain words; names a winner only where the data carry it."""
    if not compared:
        return "One network alone: nothing to compare."
    best = compared[0][0]
    beaten = [other for _, other, _, stands in compared if stands]
    details = "; ".join(
        f"{best} against {other}: {100 * d.mean:+.1f} points ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
        for _, other, d, _ in compared
    )
    if len(beaten) == len(compared):
        claim = f"{best} is the best of these networks on this data."
    elif beaten:
        rest = [other for _, other, _, stands in compared if not stands]
        claim = f"{best} is better than {_listed(beaten)}; between it and {_listed(rest)} no difference is shown."
    else:
        claim = f"No difference shown: {best} has the highest accuracy, but the data do not carry that it is better."
    if not compared[0][2].seeds:
        claim += " With one training a network, nothing can be said about what other seeds would give."
    return (
        f"{claim} Differences in accuracy with their {CONFIDENCE:.0%} intervals, from a paired bootstrap over {photographs} "
        f"validation photographs and the seeds: {details}. Accuracies are those of each training's best epoch, chosen on the "
        f"same photographs: all are a little too high, alike for all networks."
    )


def _listed(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def markdown_table(rows) -> str:
    """The rows as a table in Markdown; columns that no row has are left out."""
    used = [(key, heading) for key, heading in COLUMNS if any(row[key] not in (None, "") for row in rows)]
    lines = ["| " + " | ".join(heading for _, heading in used) + " |", "|" + "---|" * len(used)]
    lines += ["| " + " | ".join(shown(key, row[key]) for key, _ in used) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def shown(key, value) -> str:
    """One value of a row as people read it."""
    if value is None:
        return "-"
    if key == "accuracy_of_seeds":
        return " ".join(f"{accuracy:.4f}" for accuracy in value)
    if key in ("accuracy", "accuracy_sd", "top5", "loss"):
        return f"{value:.4f}"
    if key in ("parameters", "multiply_adds"):
        scale, digits = (1e6, 2) if key == "parameters" else (1e9, 3 if value < 1e9 else 2)
        return f"{value / scale:.{digits}f}"
    if key in ("training_images_per_second", "latency_ms"):
        return f"{value:.1f}"
    if key in ("peak_memory_mb", "seconds_to_best"):
        return f"{value:.0f}"
    return str(value)

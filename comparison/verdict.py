"""The results of a comparison: one row a network over its seeds, and a verdict on the differences."""

import itertools
import statistics
from collections.abc import Container, Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from comparison.bilingual import Bilingual
from comparison.page_words import LISTS
from comparison.significance import CONFIDENCE, LEAST_SEEDS, Difference, level_of_pairs, paired_difference
from evaluation.scores import wilson_interval
from messages.markdown import in_markdown, table
from messages.quoting import named

NAMES = {"val": "validation", "test": "test"}
"""What the list of a split is called."""
UNEQUAL = 1.5
"""Times by which training losses differ at the end where a warning is due."""
COLUMNS = (
    ("network", "network"),
    ("seeds", "seeds"),
    ("folds", "folds"),
    ("accuracy", "accuracy"),
    ("accuracy_interval", "95% interval"),
    ("accuracy_sd", "± over seeds"),
    ("accuracy_of_seeds", "of each seed"),
    ("accuracy_of_folds", "of each fold"),
    ("balanced_accuracy", "balanced accuracy"),
    ("balanced_accuracy_sd", "± over seeds"),
    ("top5", "top-5"),
    ("loss", "loss"),
    ("calibration_error", "calibration error"),
    ("parameters", "parameters (M)"),
    ("multiply_adds", "multiply-adds (G)"),
    ("training_images_per_second", "training images/s"),
    ("latency_ms", "evaluation ms/image"),
    ("peak_memory_mb", "peak memory (MB)"),
    ("energy_wh", "energy of a training (Wh)"),
    ("seconds_to_best", "seconds to best epoch"),
    ("note", "note"),
)
"""Key of a row -> heading."""


def network_row(name: str, runs: list[dict[str, Any]], cost: dict[str, Any], note: str = "") -> dict[str, Any]:
    """The row of one network, with the keys of COLUMNS.

    ``runs``: of each seed a dict with "seed", "acc" and "photographs" (of its predictions), "balanced_acc" (None where classes
    are balanced: it would say what the accuracy says), "acc_of_folds" (empty without folds) and "trainings", one or one a fold,
    each a dict with "metrics" (of evaluation.report.read_metrics), "result" (of trained.result.read_result) and "history";
    ``cost``: of comparison.costs.measure_costs. The interval of the accuracy is Wilson's for the photographs alone, at the mean
    of the seeds; the calibration error is that after the temperature, where a run has one. It, the loss, and what a training
    costs are means over all trainings.
    """
    if not runs:
        return {key: None for key, _ in COLUMNS} | {"network": name, "seeds": 0, "note": note}
    accuracies, balanced = [run["acc"] for run in runs], [run["balanced_acc"] for run in runs]
    trainings = [training for run in runs for training in run["trainings"]]
    of_folds = [statistics.fmean(of_fold) for of_fold in zip(*(run["acc_of_folds"] for run in runs))]

    def deviation(values):
        return None if None in values or len(values) < 2 else statistics.stdev(values)

    return {
        "network": name,
        "seeds": len(runs),
        "folds": len(of_folds) or None,
        "accuracy": _mean(accuracies),
        "accuracy_interval": _interval(_mean(accuracies), runs[0]["photographs"]),
        "accuracy_sd": deviation(accuracies),
        "accuracy_of_seeds": accuracies,
        "numbers_of_seeds": [run["seed"] for run in runs],
        "accuracy_of_folds": of_folds or None,
        "balanced_accuracy": _mean(balanced),
        "balanced_accuracy_sd": deviation(balanced),
        "top5": _mean(run["metrics"].get("acc_top5") for run in trainings),
        "loss": _mean(run["metrics"]["loss"] for run in trainings),
        "calibration_error": _mean(_calibration_error(run["metrics"]) for run in trainings),
        **cost,
        **_costs_of_training(runs),
        "seconds_to_best": _mean(seconds_to_best(run["history"], run["result"]["best"]) for run in trainings),
        "note": note,
    }


def _costs_of_training(runs):
    """What a training costs, the mean over all, and of each seed."""
    found = {}
    for key, name in (("training_images_per_second", "images_per_second"), ("peak_memory_mb", "peak_memory_mb")):
        of_seeds = [_mean(training["result"].get(name) for training in run["trainings"]) for run in runs]
        found |= {key: _mean(of_seeds), f"{key}_of_seeds": of_seeds}
    joules = [_mean(training["result"].get("energy_joules") for training in run["trainings"]) for run in runs]
    watt_hours = [None if value is None else value / 3600 for value in joules]
    return {**found, "energy_wh": _mean(watt_hours), "energy_wh_of_seeds": watt_hours}


def _mean(values):
    """None where one of the values is."""
    values = list(values)
    return None if None in values else statistics.fmean(values)


def _interval(accuracy, photographs):
    return photographs and list(wilson_interval(round(accuracy * photographs), photographs))


def _calibration_error(metrics):
    return metrics.get("calibration_error_after", metrics.get("calibration_error"))


def seconds_to_best(history: list[dict], best: dict) -> float:
    """Seconds of training and validation up to the end of the best epoch."""
    return sum(row["seconds"] for row in history if row["epoch"] <= best["epoch"])


def differences(
    correct: dict[str, np.ndarray], folds: Optional[np.ndarray] = None, clusters: Optional[np.ndarray] = None
) -> dict[tuple[str, str], Difference]:
    """{(network, other): Difference} of all networks, each pair in both orders; their intervals hold together with 95%.

    ``correct``: {network: bool [seeds, photographs]}; ``folds``, ``clusters``: [photographs], the fold that each was predicted
    in, and equal numbers for nearly equal photographs, or None.
    """
    level = level_of_pairs(len(correct))
    found = {}
    for first, second in itertools.combinations(correct, 2):
        found[first, second] = paired_difference(correct[first], correct[second], level, folds, clusters)
        found[second, first] = found[first, second].turned()
    return found


def best_against_others(
    correct: dict[str, np.ndarray], pairs: Mapping[tuple[str, str], Difference]
) -> list[tuple[str, str, Difference, bool]]:
    """The best network against each of the others: [(best, other, Difference, whether it is shown), ...].

    ``pairs``: of ``differences``. A difference is shown if its interval excludes zero and both networks have several
    trainings, of seeds or on folds.
    """
    best = max(correct, key=lambda name: correct[name].mean())
    of_best = [(other, pairs[best, other]) for other in correct if other != best]
    return [(best, other, found, found.low > 0 and found.seeds) for other, found in of_best]


def most_accurate(compared: Sequence[tuple[str, str, Difference, bool]]) -> list[str]:
    """The network of the highest accuracy, and those whose accuracy is the same; ``compared``: of ``best_against_others``."""
    return [compared[0][0], *(other for _, other, difference, _ in compared if abs(difference.mean) < 1e-9)]  # but for rounding


def better_of(pairs: Mapping[tuple[str, str], Difference]) -> set[tuple[str, str]]:
    """(network, other) for each pair, of ``differences``, of which the data carry that the network is better."""
    return {pair for pair, found in pairs.items() if found.seeds and found.low > 0}


def verdict(
    compared: list[tuple[str, str, Difference, bool]],
    photographs: int,
    failed: Container[str] = (),
    split: str = "val",
    origin: str = "",
    folds: int = 0,
    price_of: Callable[[str, str], str] = lambda first, second: "",
) -> str:
    """One paragraph in plain words; it names a winner only where the data support that.

    ``compared``: of ``best_against_others``; ``photographs``: their number; ``failed``: networks with a failed training. They
    cannot win, because only their lucky trainings may be left. ``split``: where the photographs are from; ``origin``: of
    ``origin_of_accuracies``, the last sentence; ``folds``: how many the photographs were predicted in, 0 for none.
    ``price_of(network, other)``: see comparison.worth.price.
    """
    if not compared:
        return "One network alone: nothing to compare."
    best, highest = compared[0][0], most_accurate(compared)
    alone = len(highest) == 1
    accurate = f"{listed(highest)} {'has' if alone else 'share'} the highest accuracy"
    of_one = [other for _, other, difference, _ in compared if not difference.seeds]  # or of two
    beaten = [other for _, other, _, shown_to_differ in compared if shown_to_differ]
    if best in failed:
        claim = f"{accurate}, but a training of {'it' if alone else best} failed: what is left may be the lucky ones."
    elif len(of_one) == len(compared):
        claim = (
            f"The trained model{'' if alone else 's'} of {accurate}. Whether the networks differ cannot be said from so few "
            f"trainings: other seeds would give other accuracies. Three seeds (--seeds {LEAST_SEEDS}) are the least."
        )
    elif len(beaten) == len(compared):
        claim = f"{best} is the best of these networks on this data."
    elif beaten:
        rest = [other for _, other, _, shown_to_differ in compared if not shown_to_differ]
        claim = f"{best} is better than {listed(beaten)}; between it and {listed(rest)} no difference is shown."
    else:
        better = f"but the data do not carry that {'it' if alone else 'one of them'} is better"
        claim = f"No difference shown: {accurate}, {better}."
    if 0 < len(of_one) < len(compared):
        claim += f" Of {best} or of {listed(of_one)} there are fewer than {LEAST_SEEDS} trainings, too few to say more."
    details = "; ".join(
        f"{best} against {other}: {difference.in_points()}{price_of(best, other)}" for _, other, difference, _ in compared
    )
    seeds = "" if len(of_one) == len(compared) else " and the trainings" if folds else " and the seeds"
    kind = f"out-of-fold predictions of {photographs} photographs" if folds else f"{photographs} {NAMES[split]} photographs"
    together = "" if len(compared) == 1 else "s that hold together"
    return (
        f"{claim} Differences in accuracy on {kind}, with {CONFIDENCE:.0%} interval{together} over other photographs{seeds}: "
        f"{details}. {origin or origin_of_accuracies(split)}"
    )


def origin_of_accuracies(split: str, list_name: str = "the test list", could_test: bool = False) -> str:
    """A sentence on the photographs that the accuracies are of, and what that means.

    ``list_name``: of the test list; ``could_test``: whether there is one, though the networks are compared on the other.
    """
    if split == "test":
        return f"Accuracies are those of each training's best epoch on {named(list_name)}, which no training has read."
    chosen = "Accuracies are those of each training's best epoch, chosen on the same photographs: all are a little too high"
    return f"{chosen}; --split test compares on the test list, which chose nothing." if could_test else f"{chosen}."


def balance_note(rows: list[dict[str, Any]], counts: dict[str, int], split: str) -> Bilingual:
    """What is to be known where classes are unbalanced; ``counts``: {class: number of its photographs}."""
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    known = [row for row in rows if row["balanced_accuracy"] is not None]
    best = max(row["balanced_accuracy"] for row in known)
    names = [row["network"] for row in known if row["balanced_accuracy"] == best]
    sizes = f"{named(largest)} has {counts[largest]} {NAMES[split]} photographs, {named(smallest)} {counts[smallest]}"
    in_chinese = f"{named(largest)} 有 {counts[largest]} 张{LISTS[split]}照片，{named(smallest)} 只有 {counts[smallest]} 张"
    return Bilingual(
        f"The classes are unbalanced: {sizes}. The verdict is about accuracy, which the large classes decide. "
        f"Balanced accuracy, the mean recall of the classes, is highest for {listed(names)}: {best:.4f}.",
        f"各类照片数量不均衡：{in_chinese}。结论依据的是准确率，它主要由大类决定；平衡准确率（各类召回率的平均）最高的是 "
        f"{'、'.join(names)}：{best:.4f}。",
    )


def rate_note(losses: dict[str, float]) -> Optional[Bilingual]:
    """A warning where the shared settings seem to suit the networks unequally; None where they do not.

    ``losses``: {network: training loss at the end of its first training}.
    """
    worst, best = max(losses, key=lambda name: losses[name]), min(losses, key=lambda name: losses[name])
    if losses[worst] <= UNEQUAL * losses[best] + 0.05:
        return None
    return Bilingual(
        f"At the end of its first training {worst} has a training loss of {losses[worst]:.2f}, {best} {losses[best]:.2f}. The "
        f"learning rate by rule may suit {worst} less: python tune.py --net {worst} looks for its own.",
        f"第一次训练结束时，{worst} 的训练损失为 {losses[worst]:.2f}，{best} 为 {losses[best]:.2f}。按规则选的学习率可能"
        f"不太适合 {worst}：python tune.py --net {worst} 会为它单独寻找。",
    )


def listed(names: Sequence[str]) -> str:
    """The names in a sentence: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def used_columns(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The COLUMNS for which at least one of the rows has a value."""
    return [(key, heading) for key, heading in COLUMNS if any(row[key] not in (None, "") for row in rows)]


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown, without the columns for which no row has a value."""
    used = used_columns(rows)
    return table([heading for _, heading in used], [[_cell(shown(key, row[key])) for key, _ in used] for row in rows])


def _cell(text):
    return text if text == "-" else in_markdown(text)


def shown(key: str, value: Any) -> str:
    """The value of the column ``key`` as text for people."""
    if value is None:
        return "-"
    if key in ("accuracy_of_seeds", "accuracy_of_folds"):
        return " ".join(f"{accuracy:.4f}" for accuracy in value)
    if key == "accuracy_interval":
        return " to ".join(f"{bound:.4f}" for bound in value)
    if key in ("accuracy", "accuracy_sd", "balanced_accuracy", "balanced_accuracy_sd", "top5", "loss", "calibration_error"):
        return f"{value:.4f}"
    if key in ("parameters", "multiply_adds"):
        scale, digits = (1e6, 2) if key == "parameters" else (1e9, 3 if value < 1e9 else 2)
        return f"{value / scale:.{digits}f}"
    if key in ("training_images_per_second", "latency_ms", "energy_wh"):
        return f"{value:.1f}"
    if key in ("peak_memory_mb", "seconds_to_best"):
        return f"{value:.0f}"
    return str(value)

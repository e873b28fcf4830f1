"""What a comparison found, before anything is written: rows, verdict, notes."""

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple, Optional

from PIL import Image

from comparison.answers import Answers, read_answers
from comparison.bilingual import Bilingual
from comparison.contested import contested_labels
from comparison.decision import share_of_look
from comparison.front import fronts, lines_of_fronts
from comparison.photographs_alike import Alike, find_alike
from comparison.run_groups import repetitions
from comparison.significance import CONFIDENCE, Difference
from comparison.until_decided import Decision, verdict_of
from comparison.verdict import (
    NAMES,
    balance_note,
    best_against_others,
    better_of,
    differences,
    network_row,
    origin_of_accuracies,
    rate_note,
    verdict,
)
from comparison.why import Traits, lines_of_why, traits_of_photographs
from comparison.without import said_of
from comparison.worth import Gain, baseline_of, gains_of, price
from config import load_config
from data.class_balance import is_unbalanced
from data.data_source import DataSource
from evaluation.evaluation_lock import evaluations_read
from evaluation.report import read_evaluation
from evaluation.scores import balanced_accuracy
from trained.history import read_history
from trained.result import read_result


class Compared(NamedTuple):
    """What is compared. ``groups``: {network: its evaluated runs, one a seed, or one a seed and fold}; ``costs``: {network: see
    ``network_row``}; ``failures``: {network: reasons why trainings failed}; ``split``: which evaluations are compared;
    ``could_test``: see origin_of_accuracies; ``decision``: of --until decided, from which the verdict then comes; ``source``:
    the place of the photographs, None where they may not be read; ``baseline``: the network that gains are counted from, None:
    see ``baseline_of``; ``tuned``: whether each network has rates of its own."""

    groups: dict[str, list[Path]]
    costs: dict[str, dict[str, Any]]
    failures: dict[str, list[str]]
    split: str = "val"
    could_test: bool = False
    decision: Optional[Decision] = None
    source: Optional[DataSource] = None
    baseline: Optional[str] = None
    tuned: bool = False


class Findings(NamedTuple):
    """What a comparison found.

    ``answers``: of all networks; ``trainings``: {network: of each seed its trainings, {"metrics", "result", "history",
    "seed"}}; ``rows``: of ``network_row``, the best first; ``differences``: of best_against_others, empty with a decision;
    ``baseline``, ``gains``: of each other network against it; ``fronts``: of comparison.front.fronts, empty where no network is
    known to be better; ``summary``: the verdict; ``notes``: what else is to be known; ``unbalanced``: whether the classes are;
    ``traits``: of the photographs, None of one network alone; ``better``: the pairs (network, other) of which the data carry
    that the network is better.
    """

    answers: Answers
    trainings: dict[str, list[list[dict[str, Any]]]]
    rows: list[dict[str, Any]]
    differences: list[tuple[str, str, Difference, bool]]
    baseline: Optional[str]
    gains: list[Gain]
    fronts: dict[str, dict[str, str]]
    summary: str
    notes: list[Bilingual]
    unbalanced: bool
    traits: Optional[Traits] = None
    better: Collection[tuple[str, str]] = ()


def find(compared: Compared, photograph: Callable[[str], Image.Image]) -> Findings:
    """Judge what is compared; ``photograph(name)`` returns an image of the list or raises DataError.

    Raises OSError, and what the readers of evaluation.report and trained.history raise.
    """
    groups, split = compared.groups, compared.split
    seeds = {name: repetitions(group) for name, group in groups.items()}
    contested, traits = None, None
    with evaluations_read(run for group in groups.values() for run in group):
        answers = read_answers(seeds, split)
        trainings = {name: [[_read(run, split) for run in of_seed.values()] for of_seed in own] for name, own in seeds.items()}
        if len(groups) > 1 and _are_calibrated(trainings):
            contested = contested_labels(answers, seeds, split)
    unbalanced = is_unbalanced(Counter(answers.labels).values())
    rows = _rows(compared, answers, trainings, unbalanced)
    of_name = {row["network"]: row for row in rows}

    def price_of(first, second):
        return price(of_name[first], of_name[second])

    list_name = next(iter(trainings.values()))[0][0]["metrics"].get("list", "the test list")
    origin = origin_of_accuracies(split, list_name, compared.could_test)
    if compared.tuned:
        origin += " Each network was trained with a learning rate and weight decay of its own."
    of_best, alike = [], Alike()
    pairs: dict[tuple[str, str], Difference] = {}
    if compared.decision is not None:
        alike, pairs, better = compared.decision.alike, compared.decision.differences(), compared.decision.better()
        photographs = f"{len(answers.names)} {NAMES[split]} photographs"
        summary = verdict_of(compared.decision, photographs, list(compared.failures), origin, price_of)
    else:
        if len(groups) > 1:
            alike = find_alike(answers.names, photograph)
            pairs = differences(answers.correct, answers.folds, alike.clusters)
            of_best = best_against_others(answers.correct, pairs)
        better = {(first, second) for first, second in better_of(pairs) if first not in compared.failures}
        summary = verdict(of_best, len(answers.names), compared.failures, split, origin, answers.fold_count, price_of)
    baseline = baseline_of(rows, compared.baseline)
    found_fronts = fronts([of_name[name] for name in groups], better) if better else {}
    notes = [balance_note(rows, Counter(answers.labels), split)] if unbalanced else []
    if compared.baseline not in (None, baseline):
        notes.append(
            Bilingual(
                f"Of {compared.baseline}, the baseline that was asked for, no training can be compared.",
                f"指定的基准 {compared.baseline} 没有可以比较的训练。",
            )
        )
    notes += [] if compared.tuned else _notes_on_rates(trainings)
    notes += [alike.note] if alike.note else []
    if len(groups) > 1:
        work = sum(compared.costs[name]["multiply_adds"] for name in groups)
        traits = traits_of_photographs(answers, alike, contested, seeds, split, compared.source, work)
        networks = len({*groups, *compared.failures})
        level = (1 - CONFIDENCE) * (share_of_look(networks) if compared.decision else 1)
        said = said_of(of_best, compared.decision, networks)
        notes += lines_of_why(_of_whole(compared, answers), alike, traits, said, level)
    notes += lines_of_fronts(found_fronts)
    gains = gains_of(rows, baseline, pairs) if baseline else []
    return Findings(
        answers, trainings, rows, of_best, baseline, gains, found_fronts, summary, notes, unbalanced, traits, better
    )


def _read(run, split):
    return {
        "metrics": read_evaluation(run, split)[0],
        "result": read_result(run),
        "history": read_history(run),
        "seed": load_config(run / "config.yaml").seed,
    }


def _are_calibrated(trainings):
    """Whether the confidences of all are those after a temperature."""
    return all(run["metrics"].get("temperature") for own in trainings.values() for of_seed in own for run in of_seed)


def _of_whole(compared, answers):
    """The answers of the networks of which something may be claimed: of one with a failed training the lucky ones may be
    left."""
    none_looked_at = compared.decision is not None and not compared.decision.looks
    whole = {} if none_looked_at else {net: own for net, own in answers.correct.items() if net not in compared.failures}
    return answers._replace(correct=whole)


def _rows(compared, answers, trainings, unbalanced):
    """The row of each network, the best first; of those that failed the last."""
    reasons = {name: "; ".join(why) for name, why in compared.failures.items()}
    rows = [
        network_row(
            name,
            _of_seeds(trainings[name], answers.correct[name], answers, unbalanced),
            compared.costs[name],
            reasons.get(name, ""),
        )
        for name in compared.groups
    ]
    rows += [network_row(name, [], {}, reason) for name, reason in reasons.items() if name not in compared.groups]
    return sorted(rows, key=lambda row: -(row["accuracy"] or 0))


def _of_seeds(trainings, correct, answers, unbalanced):
    """The ``runs`` of network_row, from the same answers as the verdict: table and verdict cannot disagree."""
    return [
        {
            "seed": of_seed[0]["seed"],
            "acc": float(own.mean()),
            "photographs": len(own),
            "balanced_acc": balanced_accuracy(own, answers.labels) if unbalanced else None,
            "acc_of_folds": answers.accuracies_of_folds(own),
            "trainings": of_seed,
        }
        for of_seed, own in zip(trainings, correct)
    ]


def _notes_on_rates(trainings):
    losses = {name: loss for name, own in trainings.items() if (loss := own[0][0]["history"][-1]["train_loss"]) is not None}
    note = rate_note(losses) if len(losses) > 1 else None
    return [note] if note else []

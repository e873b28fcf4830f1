"""The files of a comparison: tables, pictures, the verdict, a page."""

from collections import Counter
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
from PIL import Image

from comparison.answers import Answers, read_answers
from comparison.decision import SHARE_OF_LOOK, path_of
from comparison.front import lines_of_front
from comparison.out_of_fold import write_out_of_fold
from comparison.page import write_page
from comparison.photographs_alike import Alike, find_alike
from comparison.run_groups import repetitions
from comparison.significance import CONFIDENCE
from comparison.slices import lines_of_parts, parts_of
from comparison.until_decided import Decision, lines_of_path, verdict_of
from comparison.verdict import (
    COLUMNS,
    NAMES,
    balance_note,
    better_of,
    differences,
    markdown_table,
    network_row,
    origin_of_accuracies,
    price,
    rate_note,
    verdict,
)
from data.class_balance import is_unbalanced
from evaluation.evaluation_lock import evaluations_read
from evaluation.report import read_evaluation
from evaluation.scores import balanced_accuracy
from machine.whole_file import write_csv, write_json, write_text
from messages.markdown import in_markdown
from plots.figures import draw_comparison, draw_tradeoff
from trained.history import read_history
from trained.result import read_result


def write_comparison(
    folder: Path,
    groups: dict[str, list[Path]],
    costs: dict[str, dict[str, Any]],
    failures: dict[str, list[str]],
    notes: list[str],
    photograph: Callable[[str], Image.Image],
    split: str = "val",
    could_test: bool = False,
    decision: Optional[Decision] = None,
) -> str:
    """Write table.md, table.csv, table.json, comparison.png, tradeoff.png and index.html; return the text of table.md.

    With folds also out_of_fold_NETWORK.csv. ``groups``: {network: its evaluated runs, one a seed, or one a seed and fold};
    ``costs``: {network: see ``network_row``}; ``failures``: {network: reasons why trainings failed}; ``notes``: lines for the
    reader; ``photograph``: see ``write_page``; ``split``: which evaluations are compared; ``could_test``: see
    origin_of_accuracies; ``decision``: of --until decided, from which the verdict then comes. Raises OSError, and what the
    readers of evaluation.report and trained.history raise.
    """
    seeds = {name: repetitions(group) for name, group in groups.items()}
    with evaluations_read(run for group in groups.values() for run in group):
        answers = read_answers(seeds, split)
        trainings = {name: [[_read(run, split) for run in of_seed.values()] for of_seed in own] for name, own in seeds.items()}
        written = write_out_of_fold(folder, seeds) if answers.folds is not None else []
    counts = Counter(answers.labels)
    unbalanced = is_unbalanced(counts.values())
    runs = {name: _of_seeds(trainings[name], answers.correct[name], answers, unbalanced) for name in groups}
    reasons = {name: "; ".join(why) for name, why in failures.items()}
    rows = [network_row(name, runs[name], costs[name], reasons.get(name, "")) for name in groups]
    rows += [network_row(name, [], {}, reason) for name, reason in reasons.items() if name not in groups]
    rows.sort(key=lambda row: -(row["accuracy"] or 0))
    compared, alike, better = [], Alike(), set()
    if decision is not None:
        alike, better = decision.alike, decision.better()
    elif len(groups) > 1:
        alike = find_alike(answers.names, photograph)
        compared = differences(answers.correct, answers.folds, alike.clusters)
        better = better_of(answers.correct, answers.folds, alike.clusters)
    list_name = next(iter(trainings.values()))[0][0]["metrics"].get("list", "the test list")
    origin = origin_of_accuracies(split, list_name, could_test)
    of_name = {row["network"]: row for row in rows}

    def price_of(first, second):
        return price(of_name[first], of_name[second])

    if decision is None:
        summary = verdict(compared, len(answers.names), failures, split, origin, answers.fold_count, price_of)
    else:
        photographs = f"{len(answers.names)} {NAMES[split]} photographs"
        summary = verdict_of(decision, photographs, list(failures), origin, price_of)
    notes = [*notes, balance_note(rows, counts, split)] if unbalanced else notes
    losses = {name: loss for name, own in trainings.items() if (loss := own[0][0]["history"][-1]["train_loss"]) is not None}
    if len(losses) > 1 and (line := rate_note(losses)):
        notes = [*notes, line]
    notes = [*notes, alike.note] if alike.note else notes
    if len(groups) > 1:
        parts = parts_of(answers.labels, alike.traits or {})
        level = (1 - CONFIDENCE) * (SHARE_OF_LOOK if decision else 1)
        notes = [*notes, *lines_of_parts(answers.correct, parts, answers.folds, alike.clusters, level)]
    if better:
        notes = [*notes, *lines_of_front([of_name[name] for name in groups], better)]
    if written:
        notes = [*notes, f"Each photograph's prediction by the training that did not see it: {', '.join(written)}."]

    histories = [(name, [run["history"] for of_seed in trainings[name] for run in of_seed]) for name in groups]
    draw_comparison(histories, folder / "comparison.png", unbalanced)
    # In the order of the other picture, so that a network has one colour on both
    draw_tradeoff([of_name[name] for name in groups], folder / "tradeoff.png", NAMES[split])
    lines = [markdown_table(rows), in_markdown(summary), *(f"Note: {in_markdown(note)}" for note in notes)]
    text = "\n\n".join(line.rstrip("\n") for line in lines) + "\n"
    write_text(folder / "table.md", text)
    flat = [[" ".join(map(str, v)) if isinstance(v := row[key], list) else v for key, _ in COLUMNS] for row in rows]
    write_csv(folder / "table.csv", [key for key, _ in COLUMNS], flat)
    found = {
        "networks": rows,
        "runs": {name: [str(run) for run in group] for name, group in groups.items()},
        "differences": [
            {"best": best, "other": other, "stands": stands, **difference._asdict()}
            for best, other, difference, stands in compared
        ],
        "split": split,
        **({"path": path_of(decision.looks), "end": decision.end} if decision else {}),
        "verdict": summary,
        "notes": notes,
    }
    write_json(folder / "table.json", found)
    path = lines_of_path(decision) if decision else []
    write_page(folder, rows, summary, notes, _alone(answers.correct), answers.names, photograph, NAMES[split], path)
    return text


def _read(run, split):
    return {"metrics": read_evaluation(run, split)[0], "result": read_result(run), "history": read_history(run)}


def _of_seeds(trainings, correct, answers: Answers, unbalanced):
    """The ``runs`` of network_row, from the same answers as the verdict: table and verdict cannot disagree."""
    return [
        {
            "acc": float(own.mean()),
            "photographs": len(own),
            "balanced_acc": balanced_accuracy(own, answers.labels) if unbalanced else None,
            "acc_of_folds": answers.accuracies_of_folds(own),
            "trainings": of_seed,
        }
        for of_seed, own in zip(trainings, correct)
    ]


def _alone(correct):
    """{network: (indices of the photographs that it alone got right, and alone got wrong)}, by the majority of its seeds."""
    majority = {name: of_seeds.mean(axis=0) > 0.5 for name, of_seeds in correct.items()}
    alone = {}
    for name, own in majority.items():
        others = np.stack([right for other, right in majority.items() if other != name] or [own])
        alone[name] = (np.flatnonzero(own & ~others.any(axis=0)), np.flatnonzero(~own & others.all(axis=0)))
    return alone

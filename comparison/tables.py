"""The files of a comparison: tables, pictures, the verdict, a page."""

from collections import Counter
from pathlib import Path
from typing import Any, Callable

import numpy as np
from PIL import Image

from comparison.page import write_page
from comparison.verdict import (
    COLUMNS,
    NAMES,
    balance_note,
    differences,
    markdown_table,
    network_row,
    origin_of_accuracies,
    verdict,
)
from data.class_balance import is_unbalanced
from evaluation.evaluation_lock import evaluations_read
from evaluation.report import read_correct, read_evaluation
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
) -> str:
    """Write table.md, table.csv, table.json, comparison.png, tradeoff.png and index.html; return the text of table.md.

    ``groups``: {network: its evaluated runs, one a seed}; ``costs``: {network: see ``network_row``}; ``failures``: {network:
    reasons why trainings failed}; ``notes``: lines for the reader; ``photograph``: see ``write_page``; ``split``: which
    evaluations are compared; ``could_test``: see origin_of_accuracies. Raises OSError, and what the readers of
    evaluation.report and trained.history raise.
    """
    with evaluations_read(run for group in groups.values() for run in group):
        names, labels, correct = _correct(groups, split)
        runs = {name: [_read(run, split) for run in group] for name, group in groups.items()}
    counts = Counter(labels)
    unbalanced = is_unbalanced(counts.values())
    for name, group in runs.items():
        for run, answers in zip(group, correct[name]):
            # What the verdict is made of: table and verdict cannot disagree
            run["acc"], run["photographs"] = float(answers.mean()), len(answers)
            run["balanced_acc"] = balanced_accuracy(answers, labels) if unbalanced else None
    reasons = {name: "; ".join(why) for name, why in failures.items()}
    rows = [network_row(name, runs[name], costs[name], reasons.get(name, "")) for name in groups]
    rows += [network_row(name, [], {}, reason) for name, reason in reasons.items() if name not in groups]
    rows.sort(key=lambda row: -(row["accuracy"] or 0))
    compared = differences(correct) if len(correct) > 1 else []
    list_name = next(iter(runs.values()))[0]["metrics"].get("list", "the test list")
    summary = verdict(compared, len(names), failures, split, origin_of_accuracies(split, list_name, could_test))
    notes = [*notes, balance_note(rows, counts, split)] if unbalanced else notes

    histories = [(name, [run["history"] for run in runs[name]]) for name in groups]
    draw_comparison(histories, folder / "comparison.png", unbalanced)
    draw_tradeoff([row for row in rows if row["accuracy"] is not None], folder / "tradeoff.png", NAMES[split])
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
        "verdict": summary,
        "notes": notes,
    }
    write_json(folder / "table.json", found)
    write_page(folder, rows, summary, notes, _alone(correct), names, photograph, NAMES[split])
    return text


def _read(run, split):
    return {"metrics": read_evaluation(run, split)[0], "result": read_result(run), "history": read_history(run)}


def _correct(groups, split):
    """(names of the photographs, names of their classes, {network: bool [seeds, photographs]})."""
    paths, labels, correct = read_correct([run for group in groups.values() for run in group], split)
    bounds = np.cumsum([len(group) for group in groups.values()])[:-1]
    return paths, labels, dict(zip(groups, np.split(correct, bounds)))


def _alone(correct):
    """{network: (indices of the photographs that it alone got right, and alone got wrong)}, by the majority of its seeds."""
    majority = {name: of_seeds.mean(axis=0) > 0.5 for name, of_seeds in correct.items()}
    alone = {}
    for name, own in majority.items():
        others = np.stack([right for other, right in majority.items() if other != name] or [own])
        alone[name] = (np.flatnonzero(own & ~others.any(axis=0)), np.flatnonzero(~own & others.all(axis=0)))
    return alone

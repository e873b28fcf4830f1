"""The files of a comparison: tables, pictures, the verdict, a page."""

import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
from PIL import Image

from comparison.page import write_page
from comparison.verdict import COLUMNS, differences, markdown_table, network_row, verdict
from evaluation.report import read_correct, read_metrics
from machine.whole_file import write_csv, write_text
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
) -> str:
    """Write table.md, table.csv, table.json, comparison.png, tradeoff.png and index.html; return the text of table.md.

    ``groups``: {network: its evaluated runs, one a seed}; ``costs``: {network: see ``network_row``}; ``failures``: {network:
    reasons why trainings failed}; ``notes``: lines for the reader; ``photograph``: see ``write_page``. Raises OSError, and what
    the readers of evaluation.report and trained.history raise.
    """
    runs = {name: [_read(run) for run in group] for name, group in groups.items()}
    reasons = {name: "; ".join(why) for name, why in failures.items()}
    rows = [network_row(name, runs[name], costs[name], reasons.get(name, "")) for name in groups]
    rows += [network_row(name, [], {}, reason) for name, reason in reasons.items() if name not in groups]
    rows.sort(key=lambda row: -(row["accuracy"] or 0))
    names, correct = _correct(groups)
    compared = differences(correct) if len(correct) > 1 else []
    summary = verdict(compared, len(names), failures)

    draw_comparison([(name, [run["history"] for run in runs[name]]) for name in groups], folder / "comparison.png")
    draw_tradeoff([row for row in rows if row["accuracy"] is not None], folder / "tradeoff.png")
    lines = [markdown_table(rows), summary, *(f"Note: {note}" for note in notes)]
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
        "verdict": summary,
        "notes": notes,
    }
    write_text(folder / "table.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    write_page(folder, rows, summary, notes, _alone(correct), names, photograph)
    return text


def _read(run):
    return {"metrics": read_metrics(run), "result": read_result(run), "history": read_history(run)}


def _correct(groups):
    """(names of the photographs, {network: bool [seeds, photographs]})."""
    paths, correct = read_correct([run for group in groups.values() for run in group])
    bounds = np.cumsum([len(group) for group in groups.values()])[:-1]
    return paths, dict(zip(groups, np.split(correct, bounds)))


def _alone(correct):
    """{network: (indices of the photographs that it alone got right, and alone got wrong)}, by the majority of its seeds."""
    majority = {name: of_seeds.mean(axis=0) > 0.5 for name, of_seeds in correct.items()}
    alone = {}
    for name, own in majority.items():
        others = np.stack([right for other, right in majority.items() if other != name] or [own])
        alone[name] = (np.flatnonzero(own & ~others.any(axis=0)), np.flatnonzero(~own & others.all(axis=0)))
    return alone

"""The files of a comparison: tables, pictures, the verdict, a page."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from comparison.bilingual import Bilingual
from comparison.decision import path_of
from comparison.findings import Compared, Findings, find
from comparison.out_of_fold import write_out_of_fold
from comparison.page import write_page
from comparison.run_groups import repetitions
from comparison.verdict import COLUMNS, NAMES, markdown_table
from comparison.why import write_photographs
from comparison.worth import table_of_gains
from evaluation.evaluation_lock import evaluations_read
from machine.whole_file import write_csv, write_json, write_text
from messages.markdown import in_markdown
from plots.figures import draw_comparison, draw_tradeoff


def write_comparison(folder: Path, compared: Compared, notes: list[Bilingual], photograph: Callable[[str], Image.Image]) -> str:
    """Write table.md, table.csv, table.json, photographs.csv, comparison.png, tradeoff.png and index.html; return the text of
    table.md.

    Of one network alone there is no photographs.csv. With folds there is out_of_fold_NETWORK.csv too. ``notes``: lines for the
    reader, beside those of the findings; ``photograph``: see ``write_page``. Raises OSError, and what the readers of
    evaluation.report and trained.history raise.
    """
    found = find(compared, photograph)
    notes = [*notes, *found.notes]
    if found.answers.folds is not None:
        with evaluations_read(run for group in compared.groups.values() for run in group):
            written = write_out_of_fold(folder, {name: repetitions(group) for name, group in compared.groups.items()})
        notes.append(
            Bilingual(
                f"Each photograph's prediction by the training that did not see it: {', '.join(written)}.",
                f"每张照片由没有见过它的训练给出的预测：{'、'.join(written)}。",
            )
        )
    if found.traits:
        write_photographs(folder, found.answers, found.traits)
    _draw(folder, compared, found)
    gains = table_of_gains(found.gains, found.baseline or "")
    lines = [markdown_table(found.rows), in_markdown(found.summary), gains, *(f"Note: {in_markdown(note)}" for note in notes)]
    text = "\n\n".join(line.rstrip("\n") for line in lines if line) + "\n"
    write_text(folder / "table.md", text)
    flat = [[" ".join(map(str, v)) if isinstance(v := row[key], list) else v for key, _ in COLUMNS] for row in found.rows]
    write_csv(folder / "table.csv", [key for key, _ in COLUMNS], flat)
    write_json(folder / "table.json", _as_json(compared, found, notes))
    write_page(folder, compared, found, notes, photograph)
    return text


def _draw(folder, compared, found):
    histories = [(name, [run["history"] for of_seed in found.trainings[name] for run in of_seed]) for name in compared.groups]
    draw_comparison(histories, folder / "comparison.png", found.unbalanced)
    of_name = {row["network"]: row for row in found.rows}
    # In the order of the other picture, so that a network has one colour on both and on the page
    draw_tradeoff([of_name[name] for name in compared.groups], folder / "tradeoff.png", NAMES[compared.split])


def _as_json(compared, found: Findings, notes):
    decision = compared.decision
    return {
        "networks": found.rows,
        "runs": {name: [str(run) for run in group] for name, group in compared.groups.items()},
        "differences": [
            {"best": best, "other": other, "stands": stands, **difference._asdict()}
            for best, other, difference, stands in found.differences
        ],
        "baseline": found.baseline,
        "gains": [_gain_as_dict(gain) for gain in found.gains],
        "fronts": found.fronts,
        "split": compared.split,
        **({"path": path_of(decision.looks), "end": decision.end} if decision else {}),
        "verdict": found.summary,
        "notes": notes,
    }


def _gain_as_dict(gain):
    costs = {key: change and change._asdict() for key, change in gain.costs.items()}
    return {"network": gain.network, "difference": gain.difference and gain.difference._asdict(), "costs": costs}

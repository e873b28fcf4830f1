"""The files of a surgery, and what it says: a table of stages and layers, a picture, a verdict in plain English."""

from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from comparison.significance import CONFIDENCE, Difference, paired_difference
from comparison.verdict import NAMES
from comparison.worth import Change
from config import Config
from insertion.combination import Combination, judge, kept, write_run
from insertion.gain import Gain, gains_of
from insertion.operation import NORM, Operation, is_exact
from insertion.tried import Tried
from machine.whole_file import write_csv, write_json, write_text
from messages.markdown import in_markdown, table
from messages.terminal import printable
from plots.surgery import Bar, draw_gains
from trained.trained_run import TrainedRun

HEADINGS = (
    "stage", "block", "loss", "gain in loss (95% interval)", "more than batch norm alone", "accuracy, points", "parameters",
    "ms an image (95% interval)", "kept",
)  # fmt: skip


class Findings(NamedTuple):
    """What a surgery on ``run`` found: ``base``, the network as it was; ``tried``, what each insertion made of it.

    ``costs``: by how much longer an image takes; ``split``: the list that judged; ``clusters``: of its nearly equal
    photographs; ``notes``: on the lists; ``device``: what computed.
    """

    run: TrainedRun
    config: Config
    split: str
    notes: list[str]
    base: Tried
    tried: list[Tried]
    costs: dict[Operation, Change]
    clusters: Optional[np.ndarray]
    device: str


class Row(NamedTuple):
    """One insertion: its ``gain``, also ``beyond`` the training of batch norm alone in its stage, its ``accuracy`` against the
    network as it was; None where it is not known. ``kept``: whether it helps."""

    tried: Tried
    gain: Optional[Gain]
    beyond: Optional[Gain]
    accuracy: Optional[Difference]
    latency: Change
    kept: bool


def rows_of(found: Findings) -> list[Row]:
    """The rows of the table, in the order in which the insertions were tried."""
    gains, keep = judge(found.base, found.tried, found.clusters), kept(found.base, found.tried, found.clusters)
    alone = {one.operation.stages: one for one in found.tried if one.operation.block == NORM and not one.diverged}
    against = [one for one in found.tried if one.operation.block != NORM and not one.diverged and one.operation.stages in alone]
    differences = [alone[one.operation.stages].losses - one.losses for one in against]
    beyond = {one.operation: gain for one, gain in zip(against, gains_of(differences, found.clusters))}
    level = (1 - CONFIDENCE) / max(len(found.tried), 1)
    rows = []
    for one, gain, keeps in zip(found.tried, gains, keep):
        accuracy = None
        if not one.diverged:
            accuracy = paired_difference(one.right[None], found.base.right[None], level, clusters=found.clusters)
        rows.append(Row(one, gain, beyond.get(one.operation), accuracy, found.costs[one.operation], keeps))
    return rows


def write_findings(folder: Path, found: Findings, combination: Optional[Combination]) -> str:
    """Write table.md, table.csv, table.json, gains.png and, if there is a ``combination``, its network; returns table.md."""
    rows = rows_of(found)
    summary = verdict(found, rows, combination)
    notes = _notes(found, rows, combination)
    place = write_run(folder, found.run, combination) if combination else None
    if place:
        notes.append(f"The network with it is a run: python eval.py --run {place} --split {found.split}")
    text = "\n\n".join([_table(rows), in_markdown(summary), *(f"Note: {in_markdown(note)}" for note in notes)]) + "\n"
    write_text(folder / "table.md", text)
    flat = [_flat(row) for row in rows]
    write_csv(folder / "table.csv", list(flat[0]), [list(row.values()) for row in flat])
    write_json(folder / "table.json", _as_json(found, flat, combination, place, summary, notes))
    bars = [
        Bar(row.tried.name, row.tried.operation.stages[0], row.gain, row.kept, is_exact(row.tried.operation.block))
        for row in rows
    ]
    title = f"Insertions into {found.run.name}: what they take off the {NAMES[found.split]} loss"
    draw_gains(bars, folder / "gains.png", title)
    return text


def report(folder: Path, text: str) -> None:
    """Print the table and where it is."""
    print(text, end="")
    print(f"surgery: {printable(folder)}")


def verdict(found: Findings, rows: list[Row], combination: Optional[Combination]) -> str:
    """What was found, in a few sentences."""
    loss, name = f"{NAMES[found.split]} loss", found.run.name
    if combination is None:
        known = [row for row in rows if row.gain is not None and row.tried.operation.block != NORM]
        if not known:
            return f"No training of gates on {name} came to an end: every one diverged."
        gain, best = max((row.gain, _where(row.tried)) for row in known if row.gain)
        return (
            f"No block in any stage lowers the {loss} of {name} by more than chance explains: the best is {best}, with a gain "
            f"of {gain.text()}."
        )
    operation = combination.operation
    used = [row for row in rows if row.tried.operation in [operation._replace(stages=(one,)) for one in operation.stages]]
    gain = used[0].gain if len(used) == 1 and used[0].gain else combination.gain
    where = " and ".join(map(str, operation.stages))
    lowers = (
        f"{operation.block} in stage{'s' * (len(used) > 1)} {where} lowers the {loss} of {name} by {gain.mean:.4f} "
        f"({gain.low:.4f} to {gain.high:.4f}) for {_milliseconds(combination.latency)} ms an image"
    )
    if all(row.beyond is not None and row.beyond.is_sure for row in used):
        return f"Attention helps this finished network: {lowers}."
    alone = {row.tried.operation.stages: row.gain for row in rows if row.tried.operation.block == NORM}
    controls = [(stage, control) for stage in operation.stages if (control := alone.get((stage,)))]
    of_stages = ", ".join(f"{control.text()} in stage {stage}" for stage, control in controls) or "not known, it diverged"
    return (
        f"{lowers}. But attention need not be the reason: training the last batch norms of a stage alone, which costs nothing "
        f"at work, has a gain of {of_stages}."
    )


def _where(tried):
    return f"{tried.name} in stage {tried.operation.stages[0]}"


def _notes(found, rows, combination):
    loss, epochs = found.base.losses.mean(), found.config.gate_epochs
    notes = [
        f"{len(rows)} insertions, judged on {len(found.base.losses):,} photographs of the {NAMES[found.split]} list, on which "
        f"the network as it was has a loss of {loss:.4f}. Losses are after each network's own temperature, so a mere change of "
        f"confidence is no gain. All intervals of a column hold together with 95%, over photographs; gates that saw them in "
        f"another order would differ a little, which the intervals do not know.",
        f"Gates were trained for {epochs} {'epoch' if epochs == 1 else 'epochs'} on the training list, as the training shows "
        f"it; all other weights and the statistics of batch norm are those of {found.run.folder}.",
    ]
    groups = {one.operation.sa_groups for one in found.tried if one.operation.block == "shuffle"}
    if groups:
        notes.append(f"shuffle has {groups.pop()} groups; --sa_groups gives it another number.")
    if found.split == "val":
        notes.append("The validation list also chose the epoch of the network as it was, which favours it a little.")
    for row in rows:
        if row.tried.start_loss is not None:
            notes.append(
                f"{_where(row.tried)} is not an exact start: it begins at a loss of {row.tried.start_loss:.4f} in place of "
                f"{loss:.4f}."
            )
    if combination and len(combination.operation.stages) > 1:
        notes.append("The same photographs chose the stages that are combined, so the combination's gain is flattered.")
    if combination and combination.validation_gain:
        notes.append(
            f"On the validation list, which had no part in that choice, it gains {combination.validation_gain.text()}."
        )
    notes.append(f"Milliseconds are medians over rounds that measure the networks in turn, on this machine's {found.device}.")
    return [*notes, *found.notes]


def _table(rows):
    cells = [
        (
            str(row.tried.operation.stages[0]),
            in_markdown(row.tried.name) + ("" if row.tried.start_loss is None else " (start not exact)"),
            "diverged" if row.tried.diverged else f"{row.tried.losses.mean():.4f}",
            row.gain.text() if row.gain else "-",
            row.beyond.text() if row.beyond else "-",
            _points(row.accuracy) if row.accuracy else "-",
            f"+{row.tried.parameters:,}",
            "0" if row.tried.operation.block == NORM else _milliseconds(row.latency),
            "yes" if row.kept else "no",
        )
        for row in rows
    ]
    return table(HEADINGS, cells).rstrip("\n")


def _points(difference):
    return difference.in_points().replace(" points", "")


def _milliseconds(latency):
    return latency.text(digits=2)


def _flat(row: Row) -> dict[str, Any]:
    """A row for table.csv and table.json."""
    one = row.tried
    values: dict[str, Any] = {
        "stage": one.operation.stages[0],
        "block": one.operation.block,
        "exact_start": is_exact(one.operation.block),
        "start_loss": one.start_loss,
        "training_loss": one.training_loss if np.isfinite(one.training_loss) else None,
        "loss": None if one.diverged else float(one.losses.mean()),
    }
    for name, gain in (("gain", row.gain), ("beyond_norm", row.beyond), ("accuracy_difference", row.accuracy)):
        bounds = (gain.mean, gain.low, gain.high) if gain else (None, None, None)
        values.update(zip((name, f"{name}_low", f"{name}_high"), bounds))
    return {
        **values,
        "parameters": one.parameters,
        **dict(zip(("latency_ms", "latency_ms_low", "latency_ms_high"), row.latency)),
        "seconds": one.seconds,
        "kept": row.kept,
    }


def _as_json(found, flat, combination, place, summary, notes):
    together = combination and {
        "block": combination.operation.block,
        "stages": list(combination.operation.stages),
        "gain": combination.gain._asdict(),
        "validation_gain": combination.validation_gain and combination.validation_gain._asdict(),
        "parameters": combination.parameters,
        "latency_ms": combination.latency.middle,
        "run": str(place),
    }
    return {
        "format": 1,
        "run": str(found.run.folder),
        "net": found.run.net,
        "split": found.split,
        "photographs": len(found.base.losses),
        "loss": float(found.base.losses.mean()),
        "seed": found.config.seed,
        "gate_epochs": found.config.gate_epochs,
        "insertions": flat,
        "combination": together,
        "verdict": summary,
        "notes": notes,
    }

"""Photographs of none of the classes: how many a threshold of confidence lets pass, and how many of one's own it keeps."""

import os
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from data.given_photographs import PhotographFiles, photographs_in
from data.lists import DataError
from data.loader import PhotographLoader
from evaluation.scores import wilson_interval
from machine.whole_file import write_csv
from messages.progress import ProgressBar
from messages.terminal import print_line, printable
from trained.trained_run import TrainedRun

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
TOLERATED = 0.05  # share of the strangers that may pass
FILE = "strangers.csv"
MAX_NAMED = 20  # unreadable photographs


class Strangers(NamedTuple):
    """What a network says of photographs that show none of its classes.

    ``paths``: those that can be read; ``predictions``: their most probable classes, by name; ``confidences``: [N], of these;
    ``unreadable``: (path, reason) of the others.
    """

    folder: str
    paths: list[Path]
    predictions: list[str]
    confidences: np.ndarray
    unreadable: list[tuple[Path, str]]


def stranger_paths(folder: str) -> list[Path]:
    """The photographs in ``folder``, at any depth; raises DataError where there are none."""
    found = photographs_in(Path(folder)) if os.path.isdir(folder) else []
    if not found:
        problem = "holds no photographs" if os.path.isdir(folder) else "is no folder"
        raise DataError(f"strangers = {folder} {problem}: name a folder of photographs that show none of the classes")
    return found


def predict_strangers(run: TrainedRun, folder: str, paths: list[Path], batch_size: int, num_workers: int) -> Strangers:
    """The Strangers in ``folder``; names those of ``paths`` that cannot be read on stderr.

    ``num_workers``: processes that read, as PhotographLoader takes them. Raises DataError where none can be read, and as
    ``run.classifier`` does.
    """
    read, unreadable, labels, confidences = [], [], [], []
    bar = ProgressBar(len(paths), "strangers")
    dataset = PhotographFiles(paths, **run.view)
    for images, readable in PhotographLoader(dataset, batch_size, num_workers):
        usable = readable.numpy().astype(bool)
        for ok in usable:
            number = len(read) + len(unreadable)
            if ok:
                read.append(paths[number])
            else:
                unreadable.append((paths[number], dataset.problem(number)))
        probabilities = run.predict(images.numpy()[usable], batch_size)
        run.check_answers(probabilities)
        labels += probabilities.argmax(axis=1).tolist()
        confidences += probabilities.max(axis=1).tolist()
        bar.update(len(read) + len(unreadable))
    bar.close()
    for path, reason in unreadable[:MAX_NAMED]:
        print_line(f"left out: {printable(path)}: {printable(reason)}")
    if len(unreadable) > MAX_NAMED:
        print_line(f"left out: {len(unreadable) - MAX_NAMED:,} more, see {FILE}")
    if not read:
        raise DataError(f"strangers = {folder}: none of its {len(paths):,} photographs can be read")
    return Strangers(folder, read, [run.classes[label] for label in labels], np.array(confidences), unreadable)


def threshold_for(confidences: np.ndarray, share: float = TOLERATED) -> Optional[float]:
    """The lowest threshold, to four digits, that at most ``share`` of ``confidences`` [N] reach; None where only 1 would do."""
    lowest_refused = np.sort(confidences)[::-1][int(share * len(confidences))]
    threshold = np.floor(lowest_refused * 1e4 + 1) / 1e4
    return float(threshold) if threshold <= 1 else None


def outcome_of(strangers: Strangers, own: np.ndarray) -> dict[str, Any]:
    """The entry "strangers" of metrics.json; ``own``: confidences [M] of the photographs of the list that is evaluated."""
    threshold, found = threshold_for(strangers.confidences), strangers.confidences

    def row(value):
        passing = int((found >= value).sum())
        low, high = wilson_interval(passing, len(found))
        return {
            "threshold": value, "own_kept": float((own >= value).mean()),
            "strangers_passing": passing / len(found), "interval": [low, high],
        }  # fmt: skip

    return {
        "folder": strangers.folder,
        "photographs": len(found),
        "unreadable": len(strangers.unreadable),
        "thresholds": [row(value) for value in THRESHOLDS],
        "tolerated": TOLERATED,
        "chosen": None if threshold is None else row(threshold),
    }


def write_strangers(folder: Path, strangers: Strangers) -> None:
    """Write FILE into ``folder``. Raises OSError."""
    rows = [
        (str(path), name, f"{confidence:.6f}", "")
        for path, name, confidence in zip(strangers.paths, strangers.predictions, strangers.confidences)
    ]
    rows += [(str(path), "", "", reason) for path, reason in strangers.unreadable]
    write_csv(folder / FILE, ["path", "prediction", "confidence", "reason"], sorted(rows))


def lines_of(outcome: dict[str, Any], own: int, kind: str) -> list[str]:
    """``outcome``, of ``outcome_of``, for the terminal; ``own``: photographs of the list; ``kind``: what the list is called."""
    rows, chosen, count = outcome["thresholds"], outcome["chosen"], outcome["photographs"]
    lines = [f"{'threshold':>9}  {f'{kind} kept':>15}  {'strangers that pass':>19}"]
    lines += [f"{row['threshold']:9.2f}  {row['own_kept']:15.1%}  {row['strangers_passing']:19.1%}" for row in rows]
    if chosen is None:
        passing = "more than " + f"{outcome['tolerated']:.0%}"
        return [*lines, f"{passing} of {count:,} strangers have a confidence of 1: no threshold keeps them out"]
    low, high = chosen["interval"]
    return [
        *lines,
        f"--unsure_below {chosen['threshold']:g} lets {chosen['strangers_passing']:.1%} of {count:,} strangers pass "
        f"(95% interval {low:.1%} to {high:.1%}) and keeps {chosen['own_kept']:.1%} of {own:,} {kind} photographs",
    ]

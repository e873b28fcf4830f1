"""The picture of a surgery: for each stage, what each inserted layer takes off the loss, with its interval."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from plots.figures import COLOURS, Figure, save_figure, shortened

MAX_TITLE = 90  # letters
MARKERS = "osD^vP*X"


class Bar(NamedTuple):
    """``gain``: (mean, low, high) of the layer ``name`` in ``stage``, None where its training diverged; ``kept``: it helps."""

    name: str
    stage: int
    gain: Optional[tuple[float, float, float]]
    kept: bool


def draw_gains(bars: Sequence[Bar], path: Path, title: str) -> None:
    """A point with its interval for each bar, grouped by stage; a filled one is kept. Raises OSError."""
    names, stages = list(dict.fromkeys(bar.name for bar in bars)), sorted({bar.stage for bar in bars})
    figure = Figure(figsize=(max(7.0, 1.6 * len(stages) + 0.35 * len(bars)), 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.3", linewidth=1)
    for index, name in enumerate(names):
        colour, own = COLOURS[index % len(COLOURS)], [bar for bar in bars if bar.name == name and bar.gain is not None]
        places = [stages.index(bar.stage) + (index - (len(names) - 1) / 2) * 0.7 / len(names) for bar in own]
        for number, (place, bar) in enumerate(zip(places, own)):
            mean, low, high = bar.gain if bar.gain else (np.nan,) * 3
            axes.errorbar(
                place, mean, yerr=[[mean - low], [high - mean]], fmt=MARKERS[index % len(MARKERS)], color=colour, capsize=4,
                markersize=8, markerfacecolor=colour if bar.kept else "white", markeredgewidth=1.5,
                label=name if number == 0 else None,
            )  # fmt: skip
    axes.set_xticks(range(len(stages)), [f"stage {stage}" for stage in stages])
    axes.set_xlim(-0.6, len(stages) - 0.4)
    axes.set_ylabel("gain in loss (95% interval of all together)")
    axes.grid(True, axis="y", color="0.9")
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.02, 0.5), title="filled: kept")
    figure.suptitle(shortened(title, MAX_TITLE), fontsize=11)
    save_figure(figure, path)

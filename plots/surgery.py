"""The picture of a surgery: for each stage, what each inserted layer takes off the loss, with its interval."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from plots.figures import COLOURS, MARKERS, Figure, save_figure, shortened

MAX_TITLE = 90  # letters


class Bar(NamedTuple):
    """``gain``: (mean, low, high) of the layer ``name`` in ``stage``, None where its training diverged; ``kept``: it helps.

    ``exact``: its start was; others may lose so much that they would hide the rest.
    """

    name: str
    stage: int
    gain: Optional[tuple[float, float, float]]
    kept: bool
    exact: bool = True


def draw_gains(bars: Sequence[Bar], path: Path, title: str) -> None:
    """A point with its interval for each bar, grouped by stage; a filled one is kept. Raises OSError.

    The axis is for the exact starts; what lies below it is written at its lower end.
    """
    names, stages = list(dict.fromkeys(bar.name for bar in bars)), sorted({bar.stage for bar in bars})
    figure = Figure(figsize=(max(7.0, 1.6 * len(stages) + 0.35 * len(bars)), 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.3", linewidth=1)
    bottom, top = _limits([bar for bar in bars if bar.gain is not None])
    axes.set_ylim(bottom, top)
    for index, name in enumerate(names):
        colour, marker, label = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], name
        for bar in (bar for bar in bars if bar.name == name and bar.gain is not None):
            place = stages.index(bar.stage) + (index - (len(names) - 1) / 2) * 0.7 / len(names)
            mean, low, high = bar.gain or (0.0, 0.0, 0.0)
            fill = colour if bar.kept else "white"
            below = mean < bottom
            axes.errorbar(place, math.nan if below else mean, yerr=[[mean - low], [high - mean]], fmt=marker, color=colour,
                          capsize=4, markersize=8, markerfacecolor=fill, markeredgewidth=1.5, label=label)  # fmt: skip
            label = "_"  # the legend has it once
            if below:
                axes.annotate(f"{mean:+.3f}", (place, bottom), xytext=(0, 4), textcoords="offset points", ha="center",
                              va="bottom", rotation=90, fontsize=8, color=colour)  # fmt: skip
    axes.set_xticks(range(len(stages)), [f"stage {stage}" for stage in stages])
    axes.set_xlim(-0.6, len(stages) - 0.4)
    axes.set_ylabel("gain in loss (95%, all together)")
    axes.grid(True, axis="y", color="0.9")
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.02, 0.5), title="filled: kept")
    figure.suptitle(shortened(title, MAX_TITLE), fontsize=11)
    save_figure(figure, path)


def _limits(bars):
    """The lower and the upper end of the axis."""
    low = min([0.0, *(bar.gain[1] for bar in bars if bar.exact)])
    high = max([0.0, *(bar.gain[2] for bar in bars)])
    margin = max(0.08 * (high - low), 1e-6)
    return low - margin, high + margin

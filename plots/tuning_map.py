"""The map of a search for learning rate and weight decay: what each pair of values reached."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
from matplotlib.patches import Rectangle

from plots.figures import COLOURS, Figure, save_figure, shortened

Values = tuple[float, float]
MAX_TITLE = 90  # letters


class Panel(NamedTuple):
    """``cells``: {(learning rate, weight decay): accuracy in 0..1, or None where the training diverged}."""

    title: str
    cells: Mapping[Any, Optional[float]]


def draw_tuning(
    path: Path, title: str, learning_rates: Sequence[float], weight_decays: Sequence[float], panels: Sequence[Panel],
    best: Optional[Values] = None, usual: Optional[Values] = None,
) -> None:  # fmt: skip
    """A map for each of ``panels``, whose colours run over their own accuracies; pairs that were not tried stay grey.

    ``best`` and ``usual`` get a frame, the best one in the last panel. Raises OSError.
    """
    wide, high = len(learning_rates), len(weight_decays)
    size = (max((1.5 + 0.75 * wide) * len(panels), 7.0), 2.1 + 0.55 * high)  # the title needs seven inches
    figure = Figure(figsize=size, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        accuracies = np.full((high, wide), np.nan)
        for (rate, decay), accuracy in panel.cells.items():
            row, column = weight_decays.index(decay), learning_rates.index(rate)
            accuracies[row, column] = np.nan if accuracy is None else accuracy
        axes.set_facecolor("0.93")
        low, top = _range(accuracies)
        axes.imshow(accuracies, cmap="cividis", vmin=low, vmax=top, origin="lower", aspect="auto")
        for (rate, decay), accuracy in panel.cells.items():
            place = learning_rates.index(rate), weight_decays.index(decay)
            dark = accuracy is not None and accuracy < (low + top) / 2
            text = "diverged" if accuracy is None else f"{accuracy:.3f}"
            axes.text(*place, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        for pair, colour, name in ((usual, COLOURS[4], "usual"), (best if panel is panels[-1] else None, COLOURS[1], "best")):
            if pair is not None and pair in panel.cells:
                column, row = learning_rates.index(pair[0]), weight_decays.index(pair[1])
                inset = 0.06 if name == "usual" else 0.0
                corner, side = (column - 0.46 + inset, row - 0.46 + inset), 0.92 - 2 * inset
                axes.add_patch(Rectangle(corner, side, side, fill=False, lw=2.5, edgecolor=colour, label=name))
        axes.set_xticks(range(wide), [f"{rate:g}" for rate in learning_rates], rotation=45)
        axes.set_yticks(range(high), [f"{decay:g}" for decay in weight_decays])
        axes.set_xlabel("learning rate")
        axes.set_title(panel.title, fontsize=10)
    figure.axes[0].set_ylabel("weight decay")
    frames = {str(frame.get_label()): frame for axes in figure.axes for frame in axes.patches}
    if frames:
        shown = list(frames.values())
        figure.axes[-1].legend(handles=shown, fontsize=9, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(shortened(title, MAX_TITLE), fontsize=11)
    save_figure(figure, path)


def _range(accuracies):
    """The lowest and the highest accuracy, which differ even where only one is known."""
    known = accuracies[~np.isnan(accuracies)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.01, high + 0.01)

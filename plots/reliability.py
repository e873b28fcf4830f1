"""The reliability diagram: whether a network is right as often as it is confident."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from plots.figures import COLOURS, save_figure


def draw_reliability(panels: list[tuple[str, Any]], path: Path, title: str) -> None:
    """Accuracy in each bin of confidence, and the shares of the photographs in the bins below, side by side for ``panels``.

    ``panels``: [(name, evaluation.scores.Reliability), ...]. On the diagonal, confidence says how often the network is right;
    below it, the network is too sure of itself.
    """
    figure = Figure(figsize=(4.6 * len(panels), 5.4), layout="constrained")
    grid = figure.subplots(2, len(panels), sharex="col", sharey="row", squeeze=False, height_ratios=(3, 1))
    for (name, found), (above, below) in zip(panels, grid.T):
        edges = np.linspace(0, 1, len(found.counts) + 1)
        shares = found.counts / max(1, found.counts.sum())
        used = found.counts > 0
        bars = {"width": edges[1], "align": "edge", "edgecolor": "white", "linewidth": 0.5}
        accuracy, confidence = found.accuracy[used], found.confidence[used]
        above.bar(edges[:-1][used], accuracy, color=COLOURS[0], label="accuracy", **bars)
        above.bar(edges[:-1][used], confidence - accuracy, bottom=accuracy, color=COLOURS[1], alpha=0.35, hatch="//",
                  label="distance to the mean confidence", **bars)  # fmt: skip
        above.plot([0, 1], [0, 1], "--", color="0.3", linewidth=1, label="confidence as it should be")
        above.set_title(f"{name}: expected calibration error {found.error:.4f}", fontsize=10)
        below.bar(edges[:-1], shares, color="0.55", **bars)
        below.set_xlabel("confidence")
        above.set_xlim(0, 1)
        above.set_ylim(0, 1.02)
        for axes in (above, below):
            axes.grid(True, color="0.9")
            axes.set_axisbelow(True)
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("share of\nphotographs")
    grid[0, 0].legend(fontsize=9, loc="upper left")
    figure.suptitle(title)
    save_figure(figure, path)

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
    figure = Figure(figsize=(4.8 * len(panels), 5.8), layout="constrained")
    grid = figure.subplots(2, len(panels), sharex="col", sharey="row", squeeze=False, height_ratios=(3, 1))
    for (name, found), (above, below) in zip(panels, grid.T):
        used = found.counts > 0
        edges, width = np.linspace(0, 1, len(found.counts), endpoint=False), 1 / len(found.counts)
        accuracy, confidence = found.accuracy[used], found.confidence[used]

        def bars(axes, heights, bottom, where=used, width=width, edges=edges, **look):
            axes.bar(edges[where], heights, width, bottom, align="edge", edgecolor="white", linewidth=0.5, **look)

        least = np.minimum(accuracy, confidence)
        bars(above, least, 0, color=COLOURS[0], label="accuracy")
        bars(above, confidence - least, least, color=COLOURS[5], hatch="//", label="too sure: confidence is higher")
        bars(above, accuracy - least, least, color=COLOURS[4], hatch="..", label="too unsure: accuracy is higher")
        above.plot([0, 1], [0, 1], "--", color="0.2", linewidth=1)
        above.set_title(f"{name}\nexpected calibration error {found.error:.4f}", fontsize=10)
        above.set_xlim(0, 1)
        above.set_ylim(0, 1.02)
        bars(below, found.counts[used] / found.counts.sum(), 0, color="0.55")
        below.set_xlabel("confidence")
        for axes in (above, below):
            axes.grid(True, color="0.9")
            axes.set_axisbelow(True)
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("share of\nphotographs")
    grid[0, 0].legend(fontsize=9, loc="upper left")
    figure.suptitle(title)
    save_figure(figure, path)

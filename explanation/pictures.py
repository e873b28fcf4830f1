"""The pictures of gradcam.py: photographs with the heat maps of their classes, and the gates of Shuffle Attention.

The functions write ``path`` as PNG, whole or not at all.
"""

from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from explanation.shuffle_gates import StageGates
from plots.figures import COLOURS, Figure, save_figure, shortened

RIGHT, WRONG, UNKNOWN = COLOURS[0], COLOURS[1], "0.4"
HEAT, GATES = "inferno", "viridis"  # even steps in lightness: readable in grey and by colour-blind readers
CELL, MAX_NAME_LENGTH = 1.9, 20  # side of a photograph in inches, letters of a class name
GATE_AT_START = 1 / (1 + np.exp(-1.0))  # weights start at 0, biases at 1
LEGEND = """Above: gates of the channel
branch, sorted, one line a
layer. Blue: the stage's last;
its band: the standard
deviation over these
photographs. Dotted: where
training starts.
Below: gates of the spatial
branch in the stage's last
layer, mean over channels."""


class ClassMap(NamedTuple):
    """The heat map of one class for one photograph: float32 [H, W] in 0..1, the class's name and probability."""

    heat: np.ndarray
    name: str
    probability: float


class Explanation(NamedTuple):
    """The prediction of one network for one photograph.

    ``predicted``: the map of the predicted class. ``right``: whether that is the true class; None where the true class is not
    known. ``true``: the map of the true class if the prediction is wrong, else None.
    """

    predicted: ClassMap
    right: Optional[bool]
    true: Optional[ClassMap]


def draw_gradcam(
    photographs: list[tuple[str, Optional[str]]], networks: list[tuple[str, np.ndarray, list[Explanation]]], path: Path
) -> None:
    """A grid with one row a photograph: a column for the photograph itself and one or two for each network.

    ``photographs``: [(file name, true class or None), ...]; ``networks``: [(name, the photographs as it sees them, uint8
    [N, H, W, 3], [Explanation of each]), ...]. A network has a second column, for the true class, only if one of its
    predictions is wrong.
    """
    columns = []  # (heading, images, explanations, whether of the true class)
    for name, images, explanations in networks:
        columns.append((f"{name}\npredicted class", images, explanations, False))
        if any(explanation.true for explanation in explanations):
            columns.append((f"{name}\ntrue class", images, explanations, True))
    figure, grid = _grid(len(photographs), 1 + len(columns), top=0.75, bottom=0.65)
    for row, (file_name, true_class) in enumerate(photographs):
        _show_photograph(grid[row, 0], columns[0][1][row], file_name, true_class)
        for axes, (_, images, explanations, of_true_class) in zip(grid[row, 1:], columns):
            _show_explanation(axes, images[row], explanations[row], of_true_class)
    for axes, heading in zip(grid[0], ("as the network\nsees it", *(column[0] for column in columns))):
        axes.annotate(heading, (0.5, 1), (0, 22), "axes fraction", "offset points", ha="center", va="bottom", weight="bold",
                      fontsize=9)  # fmt: skip
    _heat_bar(figure)
    save_figure(figure, path)


def draw_shuffle_gates(images: np.ndarray, stages: list[StageGates], path: Path, title: str) -> None:
    """The gates of Shuffle Attention: above, the channel branch; below, one row a photograph, the spatial branch.

    ``images``: uint8 [N, H, W, 3]; ``stages``: of explanation.shuffle_gates.stage_gates.
    """
    figure, grid = _grid(len(images) + 1, len(stages) + 1, top=0.75, bottom=0.75, gap=0.35, between=0.5)
    figure.suptitle(title, y=1 - 0.12 / figure.get_figheight(), va="top", fontsize=11)
    grid[0, 0].axis("off")
    grid[0, 0].text(0, 1, LEGEND, va="top", fontsize=8)
    limits = _limits([GATE_AT_START, *(stage.channel.mean(axis=0) for stage in stages)])
    for column, (name, channel, spatial) in enumerate(stages, start=1):
        _show_channel_gates(grid[0, column], channel, name)
        grid[0, column].set_ylim(*limits)
        grid[0, column].tick_params(labelleft=column == 1)
        shown = None
        for axes, gates in zip(grid[1:, column], spatial):
            shown = axes.imshow(gates, cmap=GATES, vmin=spatial.min(), vmax=spatial.max())
            _bare(axes)
        _bar_below(figure, grid[-1, column], shown, "spatial gate")
    for axes, image in zip(grid[1:, 0], images):
        axes.imshow(image)
        _bare(axes)
    save_figure(figure, path)


def _grid(rows, columns, top, bottom, gap=0.45, between=0.25):
    """A figure of rows x columns square cells; ``top``, ``bottom``: inches for headings and scales; ``gap``: inches between
    rows, ``between``: between columns."""
    left = 0.45
    width, height = left + columns * (CELL + between), top + rows * CELL + (rows - 1) * gap + bottom
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left / width, bottom / height, 1 - between / width, 1 - top / height, between / CELL, gap / CELL)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show_photograph(axes, image, file_name, true_class):
    axes.imshow(image)
    axes.set_title(f"true: {shortened(true_class, MAX_NAME_LENGTH)}" if true_class else "true class unknown", fontsize=9)
    axes.set_ylabel(shortened(file_name, 30), fontsize=7, color="0.3")
    _bare(axes)


def _show_explanation(axes, image, explanation, of_true_class):
    shown = explanation.true if of_true_class else explanation.predicted
    if shown is None:
        axes.axis("off")
        text = "the true class\nis the predicted one" if explanation.right else "true class unknown\nto this network"
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, color=UNKNOWN)
        return
    axes.imshow(image)
    height, width = image.shape[:2]
    axes.imshow(shown.heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.55, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    _bare(axes)
    title, colour = f"{shortened(shown.name, MAX_NAME_LENGTH)} {shown.probability:.2f}", "black"
    if not of_true_class:
        mark, colour = {True: ("\u2713 ", RIGHT), False: ("\u2717 ", WRONG), None: ("", UNKNOWN)}[explanation.right]
        title = mark + title
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=3)
    if not shown.heat.any():
        axes.text(0.5, 0.04, "nothing speaks for it", transform=axes.transAxes, ha="center", fontsize=8, color="white")
    axes.set_title(title, fontsize=9, color=colour)


def _show_channel_gates(axes, channel, name):
    """One line a layer: the mean over the photographs of each channel's gate, from the lowest to the highest."""
    means, spread = channel.mean(axis=0), channel.std(axis=0)  # [layers, C / 2]
    layers, channels = means.shape
    places = np.arange(channels)
    for layer in range(layers):
        order, last = means[layer].argsort(), layer == layers - 1
        axes.plot(places, means[layer][order], color=COLOURS[0] if last else "0.7", linewidth=1.6 if last else 0.8)
        if last:
            low, high = means[layer] - spread[layer], means[layer] + spread[layer]
            axes.fill_between(places, low[order], high[order], color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.axhline(GATE_AT_START, color="0.3", linewidth=0.8, linestyle=":")
    axes.set_title(f"{name}: {layers} layer{'s' * (layers > 1)}", fontsize=9)
    axes.set_xlabel(f"{channels} channels", fontsize=8, labelpad=1)
    axes.set_xticks([])
    axes.tick_params(labelsize=7, pad=1, length=2)
    axes.set_xlim(0, max(channels - 1, 1))


def _limits(values):
    """Limits of an axis that leave some room around all the values."""
    low, high = min(np.min(part) for part in values), max(np.max(part) for part in values)
    room = 0.05 * max(high - low, 0.01)
    return low - room, high + room


def _bare(axes):
    axes.set_xticks([])
    axes.set_yticks([])


def _heat_bar(figure):
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.45 / width, 0.38 / height, CELL / width, 0.12 / height))
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=HEAT, aspect="auto", extent=(0, 1, 0, 1))
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("Grad-CAM; 1: the strongest place of each map", fontsize=8, labelpad=1, x=0, ha="left")
    text = "\u2713 right, \u2717 wrong; the number\nis the class's probability"
    figure.text((0.45 + CELL + 0.25) / width, 0.48 / height, text, fontsize=8, va="top")


def _bar_below(figure, axes, shown, label):
    place = axes.get_position()
    height = figure.get_figheight()
    bar = figure.colorbar(shown, cax=figure.add_axes((place.x0, place.y0 - 0.22 / height, place.width, 0.1 / height)),
                          orientation="horizontal")  # fmt: skip
    bar.ax.tick_params(labelsize=7, pad=1)
    bar.ax.locator_params(nbins=4)
    bar.set_label(label, fontsize=8, labelpad=1)

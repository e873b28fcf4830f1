"""Which classes are taken for which: the confusion matrix, or where there are many classes, its most confused pairs."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from messages.terminal import columns_of
from plots import figures
from plots.figures import COLOURS, shortened

MAX_IN_MATRIX = 100  # classes: with more, neither names nor cells can be told apart, and 1,000 take 22 s to draw
WITH_NUMBERS = 40  # classes up to which the numbers fit into the cells
PAIRS = 30  # that are drawn of many classes


def draw_confusion(matrix: np.ndarray, classes: list[str], path: Path, title: str) -> None:
    """Draw the whole ``matrix``, or of more than MAX_IN_MATRIX classes the PAIRS that are confused most.

    ``matrix`` int [C, C]: counts by true (row) and predicted class (column). Raises OSError.
    """
    if len(classes) > MAX_IN_MATRIX:
        draw_confused_pairs(matrix, classes, path, title)
    else:
        draw_confusion_matrix(matrix, classes, path, title)


def draw_confusion_matrix(matrix: np.ndarray, classes: list[str], path: Path, title: str) -> None:
    """``matrix`` int [C, C]: counts by true (row) and predicted class (column), shaded by the share of the true class."""
    share = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    names = [shortened(name) for name in classes]
    room = 0.1 * max(0, max(map(columns_of, names)) - 15)  # inches for long names, without which no place is left to the cells
    size = min(max(4.5, 0.55 * len(classes) + 2), 30) + room
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    if len(classes) <= WITH_NUMBERS:
        for row in places:
            for column in places:
                if matrix[row, column]:
                    axes.text(column, row, matrix[row, column], ha="center", va="center",
                              color="white" if share[row, column] > 0.5 else "black")  # fmt: skip
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    figures.save_figure(figure, path)


def confused_pairs(matrix: np.ndarray, number: int = PAIRS) -> list[tuple[int, int, int, int]]:
    """[(true class, predicted class, count, photographs of the true class), ...] of the pairs that are confused most.

    ``matrix`` int [C, C]. The highest counts first, of equal ones those that are the larger share of the true class. Pairs that
    are never confused are left out.
    """
    support = matrix.sum(axis=1)
    true, predicted = np.nonzero(matrix)
    wrong = true != predicted
    true, predicted = true[wrong], predicted[wrong]
    count = matrix[true, predicted]
    order = np.lexsort((predicted, true, support[true], -count))[:number]
    return [(int(true[i]), int(predicted[i]), int(count[i]), int(support[true[i]])) for i in order]


def draw_confused_pairs(matrix: np.ndarray, classes: list[str], path: Path, title: str) -> None:
    """A bar for each of the PAIRS of classes that are confused most; ``matrix`` int [C, C]. Raises OSError."""
    pairs = confused_pairs(matrix)
    wrong = int(matrix.sum() - np.trace(matrix))
    names = [f"{shortened(classes[true])} → {shortened(classes[guess])}" for true, guess, _, _ in pairs]
    room = 0.09 * max(map(columns_of, names), default=0)  # inches for the names
    figure = Figure(figsize=(max(10, 5.5 + room), 1.6 + 0.3 * max(len(pairs), 3)), layout="constrained")
    axes = figure.subplots()
    counts = [count for _, _, count, _ in pairs]
    axes.barh(range(len(pairs)), counts, color=COLOURS[0], height=0.7)
    axes.set_yticks(range(len(pairs)), names)
    for place, (_, _, count, support) in enumerate(pairs):
        axes.text(count, place, f" {count} of {support}", va="center")
    axes.set_ylim(max(len(pairs), 3) - 0.5, -0.5)  # the first pair on top
    axes.set_xlim(0, 1.15 * max(counts, default=1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    below = "photographs of the first class that were taken for the second, of all photographs of the first"
    figure.supxlabel(below, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if pairs:
        of = f"the {len(pairs)} pairs of classes confused most: {sum(counts):,} of {wrong:,} wrong answers"
    else:
        of = "no photograph was taken for one of another class"
    figure.suptitle(f"{title}\n{len(classes):,} classes; {of}")  # of the figure: long names leave the axes little room
    figures.save_figure(figure, path)

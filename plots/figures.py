"""The pictures: learning curves, their comparison, accuracy against cost, a grid of photographs.

They suit print: labelled axes, a legend, colours that are distinct for colour-blind readers and in grey. All functions write
``path`` as PNG, whole or not at all.
"""

import contextlib
import functools
import logging
import math
import os
import statistics
import warnings
from pathlib import Path
from typing import Optional

import numpy as np

from machine.home_folder import provide_home

provide_home()  # a script without Paddle has not done it yet

# A notebook's kernel hands down a backend of its own, which matplotlib refuses at its import where it is not installed
os.environ["MPLBACKEND"] = "Agg"

import matplotlib  # noqa: E402

matplotlib.use("Agg")  # where something else has imported matplotlib before
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # VisualDL turns on its notes about fonts

from matplotlib import font_manager  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402
from PIL import Image  # noqa: E402

from machine.whole_file import whole_file  # noqa: E402
from messages.terminal import print_line  # noqa: E402
from trained.history import best_epoch  # noqa: E402

# Okabe and Ito's palette without yellow, which is too light for a line on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*X"
MAX_NAME_LENGTH = 30  # letters of a class name that are shown
CHINESE_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
                 "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS")  # fmt: skip


def _letters_without_font(texts):
    """The letters, sorted, that no font in use can draw."""
    paths = [font_manager.findfont(name) for name in matplotlib.rcParams["font.family"]]
    known = set().union(*(font_manager.get_font(path).get_charmap() for path in paths))
    letters = {letter for text in texts for letter in text if letter.isprintable()}
    return "".join(sorted(letter for letter in letters if ord(letter) not in known))


@functools.cache
def _mention(letters):
    if letters:
        print_line(
            f"note: no installed font has the letters {letters}; for Chinese characters install, for instance, Debian's "
            f"package fonts-noto-cjk",
        )


def _use_fonts():
    """Add the installed Chinese fonts as fallbacks, because class names may be Chinese."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    matplotlib.rcParams["font.family"] = ["DejaVu Sans", *(name for name in CHINESE_FONTS if name in installed)]
    matplotlib.rcParams["axes.unicode_minus"] = False
    warnings.filterwarnings("ignore", message="Glyph .* missing from")  # _mention says it once
    matplotlib.rcParams["text.parse_math"] = False  # a class name may have dollar signs


_use_fonts()


@functools.cache
def _find_new_fonts():
    """Take fonts that were installed after matplotlib wrote the list of fonts that it keeps: only once, it takes a moment."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            with contextlib.suppress(OSError, RuntimeError):  # no font, or of a kind that matplotlib cannot read
                font_manager.fontManager.addfont(path)
    _use_fonts()


def draw_curves(history: list[dict], path: Path, title: str, balanced: bool = False) -> None:
    """Training and validation loss and accuracy over the epochs of one run; ``history``: rows as in trained.history.

    ``balanced``: draw the balanced accuracy as well; epochs from before it was measured are left out.
    """
    epochs = [row["epoch"] for row in history]
    best = best_epoch(history)
    panels = [("loss", "cross-entropy loss"), ("acc", "accuracy")] + [("balanced_acc", "balanced accuracy")] * balanced
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, len(panels)), panels):
        train, val = ([_number(row[f"{side}_{key}"]) for row in history] for side in ("train", "val"))
        axes.plot(epochs, train, "--", color=COLOURS[1], label="training", **_marker(epochs))
        axes.plot(epochs, val, "-", color=COLOURS[0], label="validation", **_marker(epochs))
        axes.axvline(best["epoch"], color="0.6", linewidth=1, linestyle=":")
        axes.plot(best["epoch"], _number(best[f"val_{key}"]), "o", color=COLOURS[0], markersize=8, markerfacecolor="white",
                  markeredgewidth=2, label=f"best epoch {best['epoch']}: {_shown(best[f'val_{key}'])}")  # fmt: skip
        _finish(axes, label, key != "loss", train + val)
    figure.suptitle(title)
    save_figure(figure, path)


def draw_comparison(networks: list[tuple[str, list]], path: Path, balanced: bool = False) -> None:
    """Validation accuracy and loss of several networks; ``networks``: [(name, [history of each seed]), ...].

    A line is the mean over the seeds; the band around it goes from the lowest to the highest seed. A circle marks the best
    epoch of the mean. ``balanced``: draw the balanced accuracy as well, where the histories have it.
    """
    panels = [("acc", "validation accuracy"), ("loss", "validation loss")]
    panels[1:1] = [("balanced_acc", "validation balanced accuracy")] * balanced
    figure = Figure(figsize=(5 * len(panels), 4.2), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, len(panels)), panels):
        shown = []
        for index, (name, histories) in enumerate(networks):
            mean = mean_history(histories)
            epochs = [row["epoch"] for row in mean]
            best = best_epoch(mean)
            colour, line = COLOURS[index % len(COLOURS)], LINES[index % len(LINES)]
            line_values = [_number(row[f"val_{key}"]) for row in mean]
            axes.plot(epochs, line_values, line, color=colour, **_marker(epochs),
                      label=f"{name}, best epoch {best['epoch']}: {_shown(best[f'val_{key}'])}")  # fmt: skip
            axes.plot(best["epoch"], _number(best[f"val_{key}"]), "o", color=colour, markersize=8, markerfacecolor="white",
                      markeredgewidth=2)  # fmt: skip
            if len(histories) > 1:
                values = np.array([[_number(history[i][f"val_{key}"]) for history in histories] for i in range(len(mean))])
                axes.fill_between(epochs, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, lw=0)
            shown += line_values
        _finish(axes, label, key != "loss", shown)
    seeds = max(len(histories) for _, histories in networks)
    spread = f", mean and range of {seeds} seeds" if seeds > 1 else ""
    figure.suptitle("Validation of " + ", ".join(name for name, _ in networks) + spread)
    save_figure(figure, path)


def mean_history(histories: list[list[dict]]) -> list[dict]:
    """Rows with the mean val_acc, val_loss and val_balanced_acc over several histories, up to the end of the shortest.

    None where a history lacks the value.
    """
    keys = ("val_acc", "val_loss", "val_balanced_acc")
    return [{"epoch": rows[0]["epoch"], **{key: _mean([row[key] for row in rows]) for key in keys}} for rows in zip(*histories)]


def draw_tradeoff(rows: list[dict], path: Path, kind: str = "validation") -> None:
    """Accuracy against training and evaluation speed; ``rows``: of comparison.verdict.network_row, with an accuracy.

    Where the rows have a balanced accuracy, that is drawn as well. ``kind``: of the photographs, "validation" or "test".
    """
    costs = (("training_images_per_second", "training images a second"), ("latency_ms", "evaluation of one image, ms"))
    balanced = all(row["balanced_accuracy"] is not None for row in rows)
    measures = ["accuracy"] + ["balanced_accuracy"] * balanced
    figure = Figure(figsize=(10, 4.2 if not balanced else 7.6), layout="constrained")
    for line, measure in zip(figure.subplots(len(measures), 2, sharex="col", sharey="row", squeeze=False), measures):
        for axes, (key, label) in zip(line, costs):
            for index, row in enumerate(rows):
                colour = COLOURS[index % len(COLOURS)]
                axes.errorbar(row[key], row[measure], yerr=row[f"{measure}_sd"] or None, fmt=MARKERS[index % len(MARKERS)],
                              color=colour, capsize=4, markersize=8, label=row["network"])  # fmt: skip
                if measure == "accuracy" and row["seeds"] > 1:
                    axes.plot([row[key]] * row["seeds"], row["accuracy_of_seeds"], ".", color=colour, markersize=9, mec="white")
            axes.set_xlabel(label if measure == measures[-1] else "")
            axes.margins(0.15)
            axes.grid(True, color="0.9")
        line[0].set_ylabel(f"{kind} {measure.replace('_', ' ')}")
    figure.axes[1].legend(fontsize=9, loc="center left", bbox_to_anchor=(1.02, 0.5))
    several = any(row["seeds"] > 1 for row in rows)
    figure.suptitle("Accuracy and its cost" + (" (dots: each seed; bars: their standard deviation)" if several else ""))
    save_figure(figure, path)


def draw_photographs(images: list[tuple[Image.Image, str]], path: Path, columns: Optional[int] = None) -> None:
    """A grid of labelled photographs; ``images``: [(image, label), ...]."""
    columns = columns or min(len(images), 5 if len(images) > 9 else 3)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.8 * rows), layout="constrained")
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if index < len(images):
            image, label = images[index]
            axes.imshow(image)
            axes.set_title(shortened(label))
    save_figure(figure, path)


def _number(value):
    """``value`` for a line, which has a gap where it is None: not known."""
    return math.nan if value is None else value


def _mean(values):
    return None if None in values else statistics.fmean(values)


def _shown(value):
    return "not recorded" if value is None else f"{value:.4f}"


def _marker(epochs):
    """Options of ``Axes.plot`` for a line over ``epochs``: dots, unless there are too many."""
    return {"marker": ".", "markersize": 4} if len(epochs) <= 60 else {}


def _finish(axes, label, is_share, values):
    """Label the axes of a curve over epochs and set its limits: 0 to 1 for a share, else by the plotted ``values``."""
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if is_share:
        axes.set_ylim(0, 1.02)
    else:
        # Until batch norm's running statistics settle, the validation loss can be tens of times as high as later
        top = min(max(values), 4 * statistics.median(values)) * 1.05 or 1.0
        axes.set_ylim(0, top)
        if max(values) > top:
            axes.set_ylabel(f"{label} (up to {max(values):.3g}, axis cut)")
    axes.grid(True, color="0.9")
    axes.legend(fontsize=9)


def shortened(text: str, max_length: int = MAX_NAME_LENGTH) -> str:
    """``text``, cut to ``max_length`` letters: a name can be longer than the picture is wide."""
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, and print a note about letters that no installed font has."""
    texts = figure.findobj(Text)
    for text in texts:  # a file name may have bytes that are not UTF-8, which no font can draw
        text.set_text(text.get_text().encode("utf-8", "backslashreplace").decode("utf-8"))
    if _letters_without_font(text.get_text() for text in texts):
        _find_new_fonts()
        for text in texts:
            text.set_fontfamily(matplotlib.rcParams["font.family"])
    _mention(_letters_without_font(text.get_text() for text in texts))
    figure.set_dpi(120)
    with whole_file(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)  # savefig would draw twice: first for the layout, which a drawing settles

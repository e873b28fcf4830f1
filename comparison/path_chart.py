"""The decision seed by seed, for the page: of each pair of networks the interval of the difference at each number of seeds."""

from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from comparison.decision import BETTER, CLOSE, FUTILE, OPEN, WORSE
from comparison.network_marks import FAINT, INK, LINE, add, as_markup, colour_of, svg, swatch
from comparison.until_decided import Decision
from messages.terminal import printable

WIDTH, HEIGHT, MARGIN = 300.0, 22.0, 14.0
BAND = "#d5d9e0"


class State(NamedTuple):
    """A text of comparison.page_words: its ``key`` and ``values``."""

    key: str
    values: tuple[str, ...] = ()


class Step(NamedTuple):
    """A pair of networks at a number of ``seeds``: the ``drawing`` of the interval, ``points`` (difference, low, high), and
    ``states``: where it stands, and who is trained no more from here on."""

    seeds: int
    drawing: Markup
    points: tuple[str, str, str]
    states: list[State]


class PairPath(NamedTuple):
    """The ``steps`` of a pair of networks, with their marks; the last one is how it ended."""

    names: tuple[str, str]
    marks: tuple[Markup, Markup]
    steps: list[Step]


class Path(NamedTuple):
    """``axis``: the drawing above the steps; ``worth``: the least difference that matters, in points."""

    axis: Markup
    worth: str
    pairs: list[PairPath]


def path_chart(decision: Decision, indices: Mapping[str, int]) -> Path:
    """The path; ``indices``: {network: its place in the comparison}, of which the colours are."""
    bounds = [abs(end) for look in decision.looks for pair in look.pairs for end in (pair.difference.low, pair.difference.high)]
    limit = 1.04 * max([*bounds, 2 * decision.worth, 0.01])
    worth = f"{100 * decision.worth:g}"
    pairs: dict[tuple[str, str], PairPath] = {}
    for look in decision.looks:
        for pair in look.pairs:
            key = (pair.first, pair.second)
            if key not in pairs:
                marks = (swatch(indices[pair.first]), swatch(indices[pair.second]))
                pairs[key] = PairPath((printable(pair.first), printable(pair.second)), marks, [])
            states = [_state(pair, worth)]
            states += [State("out", (printable(name),)) for name in (pair.first, pair.second) if name in look.out]
            mean, low, high = pair.difference.points()
            step = Step(look.seeds, _drawing(pair, limit, decision.worth, indices), (mean, low, high), states)
            pairs[key].steps.append(step)
    return Path(_axis(limit), worth, list(pairs.values()))


def _state(pair, worth):
    if pair.status in (BETTER, WORSE):
        return State("is_better", (printable(pair.first if pair.status == BETTER else pair.second),))
    return {CLOSE: State("close", (worth,)), OPEN: State("open"), FUTILE: State("futile")}[pair.status]


def _x_of(share, limit):
    return MARGIN + (share + limit) / (2 * limit) * (WIDTH - 2 * MARGIN)


def _drawing(pair, limit, worth, indices):
    """Interval and difference against zero and what is worth it, in the colour of the network that is better."""
    root = svg(WIDTH, HEIGHT, class_="step", aria_hidden="true")
    left, right, middle = _x_of(-worth, limit), _x_of(worth, limit), HEIGHT / 2
    add(root, "rect", class_="worth", x=left, y=0, width=max(right - left, 1.0), height=HEIGHT, fill=BAND)
    add(root, "line", class_="zero", x1=_x_of(0, limit), x2=_x_of(0, limit), y1=0, y2=HEIGHT, stroke=FAINT)
    better = {BETTER: pair.first, WORSE: pair.second}.get(pair.status)
    colour = FAINT if better is None else colour_of(indices[better])
    low, high = _x_of(pair.difference.low, limit), _x_of(pair.difference.high, limit)
    add(root, "line", class_="interval", x1=low, x2=high, y1=middle, y2=middle, stroke=colour, stroke_width=4)
    for end in (low, high):
        add(root, "line", x1=end, x2=end, y1=middle - 6, y2=middle + 6, stroke=colour, stroke_width=2)
    add(root, "circle", cx=_x_of(pair.difference.mean, limit), cy=middle, r=4.5, fill=colour, stroke="#ffffff")
    return as_markup(root)


def _axis(limit):
    """Ticks in points; the same to both sides of zero."""
    root = svg(WIDTH, HEIGHT, class_="step", aria_hidden="true")
    for value in MaxNLocator(nbins=8, symmetric=True, steps=[1, 2, 5, 10]).tick_values(-100 * limit, 100 * limit):
        if abs(value) <= 100 * limit:
            x = _x_of(value / 100, limit)
            add(root, "line", x1=x, x2=x, y1=HEIGHT - 5, y2=HEIGHT, stroke=LINE if value else FAINT)
            text = add(root, "text", x=x, y=HEIGHT - 8, text_anchor="middle", fill=INK, font_size=11)
            text.text = f"{value:+g}" if value else "0"
    return as_markup(root)

"""Accuracy against each cost as drawings of the page, with the front as far as the data carry it."""

import itertools
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from comparison.front import CERTAIN, COSTS, NOT, PERHAPS, WORDS, front_of
from comparison.label_places import Box, place_labels
from comparison.network_marks import FAINT, INK, LINE, PAPER, add, as_markup, colour_of, draw_mark, mark, say, svg
from comparison.page_words import COSTS as CHINESE
from comparison.page_words import Words
from comparison.worth import COSTS as MEASURED
from messages.terminal import columns_of, printable
from plots.figures import shortened

WIDTH, HEIGHT = 680.0, 440.0
PLOT = Box(64.0, 14.0, WIDTH - 18, HEIGHT - 58)
RADIUS = 7.0
APART = 17.0  # pixels between the bars of networks that cost about the same
SEEDS_BESIDE = 11.0  # pixels from a bar
LETTER = 7.2  # width in pixels of a letter of a label
LABEL_HEIGHT = 15.0


class Point(NamedTuple):
    """A network in the drawing. ``place``: in the comparison; ``cost``: in the unit of the axis; ``accuracies``: of
    each seed; ``interval``: of the accuracy; ``state``: CERTAIN, PERHAPS or NOT on the front."""

    place: int
    name: str
    cost: float
    accuracy: float
    accuracies: Sequence[float]
    interval: Sequence[float]
    state: str


class Chart(NamedTuple):
    """The drawing for the cost ``key``. ``choice``: key of its name in the page's Words; ``states``: (CERTAIN, PERHAPS or NOT,
    names of the networks in this state), empty where there is no front; ``missing``: names without this cost."""

    key: str
    choice: str
    drawing: Markup
    states: list[tuple[str, str]]
    missing: str


def front_charts(
    rows: Sequence[Mapping[str, Any]], better: Collection[tuple[str, str]], judged: bool, words: Words
) -> list[Chart]:
    """A drawing for each cost of comparison.front.COSTS that is known of a network with an accuracy.

    ``rows``: of comparison.verdict.network_row, in the order of the comparison, which is that of the colours. ``better``: see
    ``front_of``; ``judged``: whether the trainings were enough to say of any pair whether one is better. Where they were not,
    all of several networks are perhaps on the front.
    """
    charts = []
    for key, name in COSTS.items():
        costs = {row["network"]: cost for row in rows if (cost := _cost(row, key)) is not None}
        if not costs:
            continue
        # Also where some networks lack this cost, or none is known to be better: else they would be those of Findings
        states = front_of(key, [row for row in rows if row["network"] in costs], better) if judged else {}
        of_all = states or dict.fromkeys(costs, CERTAIN if len(costs) == 1 else PERHAPS)
        points = [
            Point(place, network, costs[network], row["accuracy"], row["accuracy_of_seeds"], _interval(row), of_all[network])
            for place, row in enumerate(rows)
            if (network := row["network"]) in costs
        ]
        axis = words.add(f"axis_{key}", *CHINESE[key].axis)
        choice = words.add(f"cost_{key}", name, CHINESE[key].name)
        named = [(state, _names(point.name for point in points if point.state == state)) for state in WORDS]
        charts.append(
            Chart(
                key,
                choice,
                draw_front(points, axis, words),
                [(state, names) for state, names in named if names] if states else [],
                _names(row["network"] for row in rows if row["network"] not in costs),
            )
        )
    return charts


def _cost(row, key):
    """The cost in the unit of the axis, as the table has it; what the table lacks is the median of what was measured."""
    if key == "training_time":
        return 1000 / row["training_images_per_second"] if row["training_images_per_second"] else None
    if key in row:
        return row[key]
    measured = [value for value in MEASURED[key].measured(row).values() if value is not None]
    return statistics.median(measured) if measured else None


def _names(names):
    return ", ".join(map(printable, names))


def _interval(row):
    return row["accuracy_interval"] or [row["accuracy"]] * 2


def draw_front(points: Sequence[Point], axis: str, words: Words) -> Markup:
    """The drawing; ``axis``: key of the horizontal axis's name in ``words``."""
    root = svg(WIDTH, HEIGHT, class_="front", role="img")
    root.set("data-label", "front")
    root.set("aria-label", words.english("front"))
    least, most = min(point.cost for point in points), max(point.cost for point in points)
    span = max(most - least, 0.2 * most, 1e-6)
    low, high = least - 0.25 * span, most + 0.3 * span
    across = (0.0 if low < 0.2 * high else low, high)
    shares = [share for point in points for share in (*point.accuracies, *point.interval)]
    margin = 0.06 * max(max(shares) - min(shares), 0.02)
    up = (max(min(shares) - margin, 0.0), min(max(shares) + margin, 1.0))

    def x_of(cost):
        return PLOT.left + (cost - across[0]) / (across[1] - across[0]) * (PLOT.right - PLOT.left)

    def y_of(share):
        return PLOT.bottom - (share - up[0]) / (up[1] - up[0]) * (PLOT.bottom - PLOT.top)

    _draw_axes(root, x_of, y_of, across, up, axis, words)
    xs = _set_apart([x_of(point.cost) for point in points])
    places = list(zip(points, xs, [y_of(point.accuracy) for point in points]))
    _draw_front_line(root, places)
    leaders, obstacles = add(root, "g", class_="leaders"), []  # below the marks
    for point, x, y in places:
        obstacles += _draw_network(root, point, x, y, y_of)
    _draw_labels(root, leaders, places, obstacles)
    return as_markup(root)


def _set_apart(xs):
    """The places ``xs`` [pixels] of the networks, moved as little as possible (in squares) so that all are APART at least.

    By pooling neighbours that are too near (R. Barlow et al., "Statistical Inference under Order Restrictions", 1972).
    """
    apart = min(APART, (PLOT.right - PLOT.left) / 2 / len(xs))
    order = sorted(range(len(xs)), key=lambda place: (xs[place], place))
    pools: list[list[float]] = []  # of neighbours: each one's place if it were the first of all
    for number, place in enumerate(order):
        pools.append([xs[place] - number * apart])
        while len(pools) > 1 and sum(pools[-2]) / len(pools[-2]) >= sum(pools[-1]) / len(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    starts = [sum(pool) / len(pool) for pool in pools for _ in pool]
    found = {place: starts[number] + number * apart for number, place in enumerate(order)}
    beyond = max(max(found.values()) - PLOT.right + RADIUS, 0) - max(PLOT.left + RADIUS - min(found.values()), 0)
    return [found[place] - beyond for place in range(len(xs))]


def _draw_axes(root, x_of, y_of, across, up, axis, words):
    text = {"fill": INK, "font_size": 13}
    for value in MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(*across):
        if across[0] <= value <= across[1]:
            x = x_of(value)
            add(root, "line", x1=x, x2=x, y1=PLOT.top, y2=PLOT.bottom, stroke=LINE)
            add(root, "text", x=x, y=PLOT.bottom + 19, text_anchor="middle", **text).text = f"{value:g}"
    for value in MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(*up):
        if up[0] <= value <= up[1]:
            y = y_of(value)
            add(root, "line", x1=PLOT.left, x2=PLOT.right, y1=y, y2=y, stroke=LINE)
            add(root, "text", x=PLOT.left - 7, y=y + 4, text_anchor="end", **text).text = f"{100 * value:g}%"
    add(root, "line", x1=PLOT.left, x2=PLOT.right, y1=PLOT.bottom, y2=PLOT.bottom, stroke=FAINT)
    add(root, "line", x1=PLOT.left, x2=PLOT.left, y1=PLOT.top, y2=PLOT.bottom, stroke=FAINT)
    middle = (PLOT.left + PLOT.right) / 2
    say(add(root, "text", x=middle, y=HEIGHT - 12, text_anchor="middle", **text), words, axis)
    y = (PLOT.top + PLOT.bottom) / 2
    label = add(root, "text", x=16, y=y, text_anchor="middle", transform=f"rotate(-90 16 {y:g})", **text)
    say(label, words, "accuracy_axis")


def _draw_front_line(root, places):
    """The highest accuracy at no more cost, over the networks that are at least perhaps on the front."""
    corners, highest = [], None
    for point, x, y in sorted((place for place in places if place[0].state != NOT), key=lambda place: place[1]):
        if highest is None or point.accuracy > highest:
            corners += [(x, corners[-1][1])] if corners else []
            corners.append((x, y))
            highest = point.accuracy
    if len(places) > 1 and corners:
        corners.append((PLOT.right, corners[-1][1]))
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        add(root, "polyline", class_="line", points=points, fill="none", stroke=FAINT, stroke_width=1.5, stroke_dasharray="5 4")


def _draw_network(root, point, x, y, y_of):
    """Bar, mark and seeds of a network; returns the boxes that they take."""
    group, colour = add(root, "g", class_="network"), colour_of(point.place)
    add(group, "title").text = f"{printable(point.name)}: {100 * point.accuracy:.1f}%, {point.cost:.4g}"
    top, bottom = y_of(point.interval[1]), y_of(point.interval[0])
    opacity = 0.4 if point.state == NOT else None
    add(group, "line", x1=x, x2=x, y1=top, y2=bottom, stroke=colour, stroke_width=1.8, opacity=opacity)
    for end in (top, bottom):
        add(group, "line", x1=x - 4, x2=x + 4, y1=end, y2=end, stroke=colour, stroke_width=1.8, opacity=opacity)
    mark(group, point.place, x, y, RADIUS, point.state)
    boxes = [Box(x - RADIUS - 2, y - RADIUS - 2, x + RADIUS + 2, y + RADIUS + 2), Box(x - 4, top, x + 4, bottom)]
    if len(point.accuracies) > 1:
        for accuracy, same in itertools.groupby(sorted(point.accuracies)):
            for number, _ in enumerate(same):  # beside the bar, equal ones side by side
                seed_x, seed_y = x + SEEDS_BESIDE + 6.5 * number, y_of(accuracy)
                add(group, "circle", class_="seed", cx=seed_x, cy=seed_y, r=3.0, fill=colour, stroke=PAPER, stroke_width=0.8)
                boxes.append(Box(seed_x - 4, seed_y - 4, seed_x + 4, seed_y + 4))
    return boxes


def _draw_labels(root, leaders, places, obstacles):
    labels = [shortened(printable(point.name)) for point, _, _ in places]
    sizes = [(LETTER * columns_of(label), LABEL_HEIGHT) for label in labels]
    boxes = place_labels([(x, y) for _, x, y in places], sizes, obstacles, PLOT)
    for (_, x, y), label, box in zip(places, labels, boxes):
        end_x, end_y = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
        if abs(end_x - x) + abs(end_y - y) > 3 * RADIUS:
            add(leaders, "line", x1=x, y1=y, x2=end_x, y2=end_y, stroke=FAINT, stroke_width=0.8)
        halo = {"stroke": PAPER, "stroke_width": 3, "paint_order": "stroke", "stroke_linejoin": "round"}
        text = add(root, "text", class_="label", x=box.left, y=box.bottom - 3.5, fill=INK, font_size=13, **halo)
        text.text = label


def legend() -> dict[str, Markup]:
    """{CERTAIN, PERHAPS or NOT: the mark of a network in this state, without a network's colour}."""
    found = {}
    for state in WORDS:
        root = svg(18, 18, class_="swatch", aria_hidden="true")
        draw_mark(root, "o", FAINT, 9.0, 9.0, 6.0, state)
        found[state] = as_markup(root)
    return found

"""How a network looks in the drawings of the page: the colour and the shape that it has on the pictures of plots.figures.

The drawings are SVG within HTML, built as elements, so that no name can become a part of the page.
"""

import json
import math
from collections.abc import Sequence
from xml.etree import ElementTree

from markupsafe import Markup

from comparison.front import CERTAIN, NOT, PERHAPS
from comparison.page_words import Words
from plots.figures import COLOURS, MARKERS

INK, FAINT, LINE, PAPER = "#222222", "#5a6270", "#dddddd", "#ffffff"
FADED = "0.35"


def add(parent: ElementTree.Element, tag: str, **attributes: object) -> ElementTree.Element:
    """A new element within ``parent``; ``stroke_width=2`` is the attribute stroke-width="2"."""
    named = {name.rstrip("_").replace("_", "-"): _shown(value) for name, value in attributes.items() if value is not None}
    return ElementTree.SubElement(parent, tag, named)


def _shown(value):
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def svg(width: float, height: float, **attributes: object) -> ElementTree.Element:
    """An empty drawing."""
    root = ElementTree.Element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"})
    root.attrib.update({name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    return root


def say(element: ElementTree.Element, words: Words, key: str, values: Sequence[str] = ()) -> ElementTree.Element:
    """Give the element a text in both languages."""
    element.set("data-text", key)
    if values:
        element.set("data-values", json.dumps(list(values)))
    element.text = words.english(key, values)
    return element


def as_markup(root: ElementTree.Element) -> Markup:
    """The drawing for a template; its texts and attributes are escaped."""
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def colour_of(index: int) -> str:
    """The colour of the network at this place of the comparison."""
    return COLOURS[index % len(COLOURS)]


def mark(parent: ElementTree.Element, index: int, x: float, y: float, radius: float, state: str = CERTAIN) -> None:
    """The mark of the network at this place: filled, for PERHAPS hollow, for NOT faded."""
    draw_mark(parent, MARKERS[index % len(MARKERS)], colour_of(index), x, y, radius, state)


def draw_mark(parent: ElementTree.Element, shape: str, colour: str, x: float, y: float, radius: float, state: str) -> None:
    """A mark of this shape, one of MARKERS."""
    attributes = {
        "class": f"mark {state}",
        "fill": PAPER if state == PERHAPS else colour,
        "stroke": colour if state == PERHAPS else PAPER,
        "stroke_width": 2.4 if state == PERHAPS else 1,
        "opacity": FADED if state == NOT else None,
        "stroke_linejoin": "round",
    }
    if shape == "o":
        add(parent, "circle", cx=x, cy=y, r=radius, **attributes)
    else:
        points = " ".join(f"{x + radius * dx:.1f},{y + radius * dy:.1f}" for dx, dy in _outline(shape))
        add(parent, "polygon", points=points, **attributes)


def _outline(shape):
    """The corners of a mark around (0, 0), about as large as a circle of radius 1."""
    if shape == "s":
        return [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]
    if shape == "D":
        return [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)]
    if shape in "^v":
        corners = [(0, -1.2), (1.2, 0.95), (-1.2, 0.95)]
        return corners if shape == "^" else [(x, -y) for x, y in corners]
    if shape == "*":
        radii = [(1.4 if corner % 2 == 0 else 0.6, math.pi * corner / 5) for corner in range(10)]
        return [(size * math.sin(angle), -size * math.cos(angle)) for size, angle in radii]
    arm = 0.42  # a thick plus, or turned by 45 degrees an X
    plus = [(-arm, -1.2), (arm, -1.2), (arm, -arm), (1.2, -arm), (1.2, arm), (arm, arm), (arm, 1.2), (-arm, 1.2),
            (-arm, arm), (-1.2, arm), (-1.2, -arm), (-arm, -arm)]  # fmt: skip
    if shape == "P":
        return plus
    return [((x - y) * math.sqrt(0.5), (x + y) * math.sqrt(0.5)) for x, y in plus]


def swatch(index: int) -> Markup:
    """A small mark beside a network's name."""
    root = svg(16, 16, class_="swatch", aria_hidden="true")
    mark(root, index, 8.0, 8.0, 5.5)
    return as_markup(root)

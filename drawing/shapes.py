"""Colours, the geometry of shapes, and the painting of figures made of shapes.

All geometry is in complex numbers: x to the right, y down. A shape is an array of the points of its outline, complex [N], so
that a product turns and scales it and a sum moves it.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple, Optional, Union, overload

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

Colour = tuple[int, int, int]  # red, green and blue, 0 to 255
Points = Union[Sequence[complex], np.ndarray]
Lengths = Union[Sequence[float], np.ndarray]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
DARK, BONE = (34, 30, 32), (244, 234, 208)
COATS = (
    (58, 40, 30), (101, 67, 40), (139, 94, 60), (176, 128, 84), (205, 170, 125), (231, 214, 184), (245, 243, 238),
    (190, 190, 192), (135, 137, 142), (84, 86, 92), (40, 40, 46), (196, 112, 48), (222, 150, 66), (150, 66, 40),
)  # fmt: skip
BRIGHTS = ((226, 74, 60), (244, 178, 40), (64, 120, 214), (150, 80, 190), (48, 170, 160), (232, 110, 160))


def blend(colour: Colour, other: Colour, share: float) -> Colour:
    """Return the colour at ``share`` (0 to 1) of the way from ``colour`` to ``other``."""
    red, green, blue = (np.multiply(colour, 1 - share) + np.multiply(other, share)).astype(int).tolist()
    return red, green, blue


def jitter(colour: Colour, rng: random.Random, amount: float = 14) -> Colour:
    """Return a random colour whose channels differ from the given ones by at most ``amount``."""
    red, green, blue = (max(0, min(255, round(channel + rng.uniform(-amount, amount)))) for channel in colour)
    return red, green, blue


def luma(colour: Colour) -> float:
    """Return how bright a colour looks, 0 to 255."""
    return float(np.dot(colour, (0.299, 0.587, 0.114)))


# ---- Shapes ---------------------------------------------------------------------------------------------------------


@overload
def heading(degrees: float) -> complex: ...
@overload
def heading(degrees: np.ndarray) -> np.ndarray: ...
def heading(degrees):
    """Return the unit vector this many degrees clockwise from the x axis, that is, below it; an array for an array."""
    return np.exp(1j * np.radians(degrees))


def both_sides(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and their mirror image in the y axis, complex [N] each."""
    return np.asarray(points), -np.conj(points)


def curve(points: Points, closed: bool = False, steps: int = 8) -> np.ndarray:
    """Return a smooth line (a Catmull-Rom spline) through the points, with ``steps`` points from each to the next."""
    p = np.asarray(points, complex)
    p = np.r_[p[-1], p, p[:2]] if closed else np.r_[2 * p[0] - p[1], p, 2 * p[-1] - p[-2]]
    a, b, c, d = (p[i : len(p) - 3 + i] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]  # [steps, 1]
    # [steps, spans] -> [spans, steps] -> [spans * steps]: one span after the other
    line = (b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))).T.ravel()
    return line if closed else np.r_[line, p[-2]]


def limb(path: Points, radii: Lengths) -> np.ndarray:
    """Return a smooth limb with round ends along ``path``: a leg, neck, tail, horn or trunk; with a last radius of 0, an ear.

    The ``radii`` are spaced evenly along the path.
    """
    spine = curve(path)
    radius = np.interp(np.linspace(0, 1, len(spine)), np.linspace(0, 1, len(radii)), radii)
    ahead = np.gradient(spine)
    ahead /= np.abs(ahead)
    side = 1j * ahead * radius
    cap = heading(np.linspace(90, -90, 9)[1:-1])
    end, start = spine[-1] + ahead[-1] * radius[-1] * cap, spine[0] - ahead[0] * radius[0] * cap
    return np.r_[spine + side, end, (spine - side)[::-1], start]


def oval(centre: complex, rx: float, ry: Optional[float] = None, tilt: float = 0) -> np.ndarray:
    """Return an ellipse turned by ``tilt`` degrees, or a circle if ``ry`` is None."""
    turn = heading(np.linspace(0, 360, 28, endpoint=False))
    return centre + heading(tilt) * (rx * turn.real + 1j * (rx if ry is None else ry) * turn.imag)


def cloud(centre: complex, rx: float, ry: float, puff: float, rng: random.Random) -> list[np.ndarray]:
    """Return the circles that make up wool or leaves."""
    rim = oval(centre, rx, ry, rng.uniform(-8, 8))[::2]
    return [oval(centre, rx, ry)] + [oval(point, puff * rng.uniform(0.8, 1.2)) for point in rim]


class Frame(NamedTuple):
    """The coordinates of a part of a body, to attach others to it: the origin, and turn and scale as one complex factor."""

    origin: complex
    axis: complex

    def limb(self, path: Points, radii: Lengths) -> np.ndarray:
        """Return the limb with this path and these radii, given in units of this frame."""
        return limb(self.origin + self.axis * np.asarray(path), np.multiply(radii, abs(self.axis)))


# ---- Painting -------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Shapes with a common outline and colour, and marks on them, which are clipped to that outline."""

    colour: Colour
    shapes: list[np.ndarray]
    marks: list[np.ndarray]
    mark_colour: Colour


class Figure:
    """An animal as a list of parts in drawing order, in its own units until ``fit`` places it in an image."""

    def __init__(self, tones: dict[str, Colour]):
        self.tones = tones
        self.parts: list[Part] = []

    def add(self, tone: str, *shapes: np.ndarray, marks: Sequence[np.ndarray] = (), mark_tone: str = "accent") -> None:
        """Add a part in front of the earlier ones; ``tone`` and ``mark_tone`` name colours of ``tones``."""
        self.parts.append(Part(self.tones[tone], list(shapes), list(marks), self.tones[mark_tone]))

    def add_eye(self, centre: complex, radius: float) -> None:
        """Add a white eye whose pupil looks ahead."""
        self.add("white", oval(centre, radius), marks=[oval(centre + 0.2 * radius, 0.75 * radius)], mark_tone="dark")

    def fit(self, size: tuple[int, int], rng: random.Random, tilt: float) -> None:
        """Mirror, tilt and stretch the animal a little at random, and place it so that it fills most of the image.

        ``size``: width and height of the image in pixels. ``tilt``: the maximum angle in degrees, either way.
        """
        side, turn, stretch = rng.choice((-1, 1)), heading(rng.uniform(-tilt, tilt)), rng.uniform(0.9, 1.1)

        def pose(shape):
            return turn * (side * stretch * shape.real + 1j * shape.imag)

        points = pose(np.concatenate([shape for part in self.parts for shape in part.shapes]))
        low = complex(points.real.min(), points.imag.min())
        extent = complex(points.real.max(), points.imag.max()) - low
        scale = rng.uniform(0.8, 0.95) * min(size[0] / extent.real, size[1] / extent.imag)
        slack = complex(*size) - scale * extent
        corner = complex(rng.uniform(0.1, 0.9) * slack.real, rng.uniform(0.4, 0.9) * slack.imag)
        for part in self.parts:
            for shapes in (part.shapes, part.marks):
                shapes[:] = [corner + scale * (pose(shape) - low) for shape in shapes]


def pixels(shape: np.ndarray, origin: complex = 0) -> list[float]:
    """Return the outline in Pillow's form: x and y alternate, relative to ``origin``."""
    # complex [N] -> [N, 2] -> [2 * N]
    return np.column_stack(((shape - origin).real, (shape - origin).imag)).ravel().tolist()


def paint_part(canvas: Image.Image, part: Part, light: complex) -> None:
    """Paint a part with a dark outline and round shading; ``light`` points in the direction of the light's rays."""
    points, margin = np.concatenate(part.shapes), canvas.width // 40
    left, top = int(points.real.min()) - margin, int(points.imag.min()) - margin
    size = int(points.real.max()) + margin - left, int(points.imag.max()) + margin - top
    body, rim, marked = (Image.new("L", size) for _ in range(3))
    for shape in part.shapes:
        outline = pixels(shape, complex(left, top))
        ImageDraw.Draw(body).polygon(outline, fill=255)
        ImageDraw.Draw(rim).line(outline + outline[:4], fill=255, width=canvas.width // 90)
    for shape in part.marks:
        ImageDraw.Draw(marked).polygon(pixels(shape, complex(left, top)), fill=255)

    # The blurred body, moved towards the light, fades on the far side, where a round body is in shade.
    # A quarter of the resolution is enough for that, and much faster.
    blur, bilinear = canvas.width / 120, Image.Resampling.BILINEAR
    soft = body.resize((size[0] // 4, size[1] // 4), bilinear).filter(ImageFilter.GaussianBlur(blur))
    soft = ImageChops.offset(soft, round(-light.real * blur), round(-light.imag * blur)).resize(size, bilinear)

    canvas.paste(blend(part.colour, BLACK, 0.72), (left, top), rim)
    for colour, mask in ((part.colour, body), (part.mark_colour, ImageChops.darker(body, marked))):
        canvas.paste(ImageOps.colorize(soft, blend(colour, BLACK, 0.5), blend(colour, WHITE, 0.16)), (left, top), mask)


def pick_tones(backdrop: Image.Image, rng: random.Random) -> dict[str, Colour]:
    """Return {use: colour} for one animal; the coat's brightness differs from the backdrop's."""
    behind = int(np.asarray(backdrop.convert("L").resize((1, 1), Image.Resampling.BOX))[0, 0])  # mean brightness
    coat = rng.choice([colour for colour in COATS * 3 + BRIGHTS if abs(luma(colour) - behind) > 50])
    accent = rng.choice([colour for colour in COATS if abs(luma(colour) - luma(coat)) > 50])
    return {
        "coat": jitter(coat, rng), "shade": blend(coat, BLACK, 0.25), "accent": jitter(accent, rng),
        "face": rng.choice((DARK, BONE, coat)), "dark": DARK, "bone": BONE, "white": WHITE,
        "pink": (228, 164, 150), "red": (200, 60, 50), "beak": (236, 172, 70),
    }  # fmt: skip

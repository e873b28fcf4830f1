"""Draws backdrops, the clutter in them, and grain."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from drawing.shapes import BONE, BRIGHTS, COATS, Colour, blend, cloud, heading, jitter, limb, oval, pixels

GREENS = ((58, 104, 50), (92, 138, 64), (120, 150, 84), (140, 128, 70))
SCENES = (  # upper and lower colour: meadow, hay, beach, dusk, two rooms, wood, two nights, water, snow, earth
    ((150, 196, 235), (104, 158, 74)), ((205, 222, 236), (150, 170, 96)), ((168, 206, 226), (222, 198, 148)),
    ((244, 196, 140), (146, 122, 84)), ((214, 204, 188), (142, 104, 72)), ((178, 190, 180), (120, 112, 108)),
    ((96, 140, 84), (70, 112, 56)), ((24, 30, 60), (38, 52, 50)), ((50, 44, 78), (74, 66, 60)),
    ((196, 176, 196), (120, 140, 160)), ((236, 236, 238), (214, 220, 228)), ((120, 86, 60), (170, 140, 100)),
)  # fmt: skip


def draw_clutter(kind: str, rng: random.Random) -> Iterator[tuple[Colour, np.ndarray]]:
    """Yield the (colour, shape) pairs of one object of unit size that stands on the origin."""
    wood, green, bright = (jitter(rng.choice(palette), rng) for palette in (COATS, GREENS, BRIGHTS))
    if kind == "bush":
        for shape in cloud(-0.4j, 0.5, 0.35, 0.2, rng):
            yield jitter(green, rng, 8), shape
    elif kind == "fence":
        for x in (-1.2, -0.6, 0, 0.6, 1.2):
            yield wood, limb([x, x - 0.9j], [0.07, 0.07])
        for y in (-0.3j, -0.65j):
            yield wood, limb([y - 1.5, y + 1.5], [0.05, 0.05])
    elif kind == "flower":
        yield green, limb([0, -0.35j], [0.03, 0.03])
        for angle in range(0, 360, 72):
            yield bright, oval(-0.4j + 0.1 * heading(angle), 0.08)
        yield BONE, oval(-0.4j, 0.06)
    elif kind == "grass":
        for x in (-0.15, -0.05, 0.05, 0.15):
            yield green, limb([x, 1.6 * x - rng.uniform(0.3, 0.6) * 1j], [0.05, 0])
    elif kind == "leaf":
        yield rng.choice((green, wood)), limb(0.2 * heading(rng.uniform(0, 360)) * np.arange(3), [0, 0.1, 0])
    elif kind == "pole":
        yield wood, limb([0.2j, -2.5j], [0.12, 0.08])
    else:
        yield blend(wood, (128, 128, 128), 0.6), oval(-0.1j, 0.45, 0.3)


def scatter(
    image: Image.Image,
    kinds: Sequence[str],
    count: int,
    heights: tuple[float, float],
    sizes: tuple[float, float],
    rng: random.Random,
) -> None:
    """Draw ``count`` objects of random ``kinds`` into ``image``.

    ``heights``: range of the objects' feet, as shares of the image's height from the top. ``sizes``: range of their sizes, as
    shares of the image's shorter side.
    """
    for _ in range(count):
        foot = complex(rng.random() * image.width, rng.uniform(*heights) * image.height)
        scale = rng.uniform(*sizes) * min(image.size)
        for colour, shape in draw_clutter(rng.choice(kinds), rng):
            ImageDraw.Draw(image).polygon(pixels(foot + scale * shape), fill=colour)


def add_grain(image: Image.Image, strength: float, rng: random.Random, size: int = 1) -> Image.Image:
    """Return the image with random specks of ``size`` pixels a side; ``strength``: their standard deviation, of 255."""
    specks = image.height // size + 1, image.width // size + 1
    noise = np.random.default_rng(rng.getrandbits(64)).normal(0, strength, specks)
    # [rows, columns] of specks -> [H, W, 1], the same for red, green and blue
    noise = noise.repeat(size, 0).repeat(size, 1)[: image.height, : image.width, None]
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def draw_backdrop(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Draw an unfocused scene: soft patches of colour, with or without a horizon, and clutter.

    ``size``: width and height in pixels.
    """
    upper, lower = rng.choice(SCENES)
    shares = np.linspace(0, 1, 6)
    if rng.random() < 0.6:
        shares = 0.2 * shares + 0.8 * (shares > rng.uniform(0.3, 0.7))
    unevenness = rng.uniform(5, 18)
    grid = [[jitter(blend(upper, lower, share), rng, unevenness) for _ in shares] for share in shares]
    image = Image.fromarray(np.array(grid, np.uint8)).resize(size, Image.Resampling.BICUBIC)
    kinds = ("bush", "fence", "flower", "grass", "leaf", "pole", "stone")
    scatter(image, kinds, rng.randint(1, 5), (0.5, 1), (0.15, 0.4), rng)
    return add_grain(image.filter(ImageFilter.GaussianBlur(rng.uniform(1, 3))), rng.uniform(1, 7), rng, size=2)

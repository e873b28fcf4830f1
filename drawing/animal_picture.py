"""One picture of an animal: a figure in front of a backdrop, with clutter in front of both."""

import random

from PIL import Image, ImageFilter

from drawing.animals import ARTISTS, SEEN_FROM_ABOVE
from drawing.scenery import add_grain, draw_backdrop, scatter
from drawing.shapes import Figure, paint_part, pick_tones

SIDES = (160, 224)  # minimum and maximum of an image's sides in pixels
SUPERSAMPLE = 2  # animals are painted larger by this factor and then shrunk, which smooths their edges


def draw_animal(name: str, rng: random.Random) -> Image.Image:
    """Draw one picture of the class ``name``, one of drawing.animals.CLASSES, as RGB; all random choices come from ``rng``."""
    size = rng.randint(*SIDES), rng.randint(*SIDES)
    backdrop = draw_backdrop(size, rng)
    figure = Figure(pick_tones(backdrop, rng))
    ARTISTS[name](figure, rng)
    canvas = backdrop.resize((SUPERSAMPLE * size[0], SUPERSAMPLE * size[1]), Image.Resampling.BILINEAR)
    figure.fit(canvas.size, rng, tilt=40 if name in SEEN_FROM_ABOVE else 9)
    light = complex(rng.choice((-1, 1)), 1)
    for part in figure.parts:
        paint_part(canvas, part, light)
    scatter(canvas, ("flower", "grass", "leaf", "stone"), rng.randint(0, 4), (0.95, 1.05), (0.12, 0.25), rng)
    image = canvas.reduce(SUPERSAMPLE).filter(ImageFilter.GaussianBlur(rng.choice((0, 0, 0.5, 0.9))))
    return add_grain(image, rng.uniform(1, 6), rng)

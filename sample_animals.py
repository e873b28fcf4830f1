"""Draw a small data set of the ten Animals-10 classes, to try the toolkit without photographs.

Coats, backdrops and clutter come from ranges that all classes share, so colour says little and shape decides.
"""

import random
import shlex
import shutil
from pathlib import Path

from PIL import Image, ImageFilter

from machine import ending
from config import parse_config
from data.archive_entries import SUFFIXES as ARCHIVES
from drawing.animals import ARTISTS, CLASSES, SEEN_FROM_ABOVE
from drawing.scenery import add_grain, draw_backdrop, scatter
from drawing.shapes import Figure, paint_part, pick_tones
from messages.terminal import printable
from messages.user_error import UserError

SIDES = (160, 224)  # shortest and longest side of an image in pixels
SUPERSAMPLE = 2  # animals are painted this much larger and then shrunk, which smooths their edges
JPEG_QUALITY = 88
UNFINISHED = ".sample_animals"  # this file marks a folder as left by an interrupted run, which may be deleted


class SampleError(UserError):
    """A data set that cannot be drawn; the message says what to do."""


def draw_animal(name: str, rng: random.Random) -> Image.Image:
    """Draw one picture of the named class; all that is random in it comes from ``rng``."""
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


def draw_dataset(folder: Path, per_class: int, seed: int) -> int:
    """Write ``per_class`` JPEGs of each class to ``folder/<class>/`` and return how many images that makes.

    An image depends only on the seed, its class and its number, so a larger ``per_class`` keeps the earlier ones.
    The folder appears only when it is complete, and one that already holds anything is refused with a SampleError.
    """
    if per_class < 1:
        raise SampleError(f"per_class is {per_class}, but each class needs at least 1 image")
    folder = Path(folder).resolve()
    if folder.name.lower().endswith(ARCHIVES):
        raise SampleError(f"{folder} is the name of an archive, but pictures are drawn into a folder: give --data its name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SampleError(f"{folder} already holds something; give --data a new or an empty folder")
    unfinished = folder.with_name(folder.name + ".partial")
    if (unfinished / UNFINISHED).exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    (unfinished / UNFINISHED).touch()
    for name in CLASSES:
        (unfinished / name).mkdir()
        for number in range(1, per_class + 1):
            image = draw_animal(name, random.Random(f"{seed}/{name}/{number}"))
            image.save(unfinished / name / f"{name}_{number:04d}.jpg", quality=JPEG_QUALITY)
    (unfinished / UNFINISHED).unlink()
    if folder.exists():
        folder.rmdir()  # it is empty; not every system renames onto an existing folder
    unfinished.rename(folder)
    return len(CLASSES) * per_class


def main(config) -> int:
    return ending.run("sample_animals", draw, config, uses_paddle=False)


def draw(config) -> None:
    """Draw the data set that the configuration asks for; raises SampleError, OSError."""
    count = draw_dataset(Path(config.data), config.per_class, config.seed)
    following = f"python train_val_split.py --data {shlex.quote(config.data)}"
    print(printable(f"Drew {count} images of {len(CLASSES)} classes in {config.data}; next: {following}"))


if __name__ == "__main__":
    ending.leave(main(parse_config()))

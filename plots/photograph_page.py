"""Small photographs with a few lines each, as one HTML page. Its template is photograph_page.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from data.boxes import whole_box
from data.photographs import PhotographError, read_crop
from machine.whole_file import write_text
from messages.progress import ProgressBar
from messages.terminal import printable
from plots.embedded import data_uri

MAX_SHOWN = 1000  # photographs: a page of more takes long to open
MAX_SIDE = 160  # pixels of a small photograph


class Figure(NamedTuple):
    """A photograph of the page: the ``lines`` below it, of which the first is bold, and its ``name``.

    ``path``: its file; None: it is shown by its name alone. ``is_marked``: whether it has an orange frame.
    """

    name: str
    lines: Sequence[str]
    path: Union[str, Path, None]
    is_marked: bool = False


def write_photograph_page(page: Path, figures: Sequence[Figure], title: str, introduction: str) -> None:
    """Write the file ``page``, which needs no other file and no connection. Raises OSError.

    ``introduction``: the text below the ``title``. A photograph that cannot be read any more is shown by its name alone.
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    bar, shown = ProgressBar(len(figures), "small photographs"), []
    for figure in figures:
        shown.append(
            {
                "name": printable(figure.name),
                "source": None if figure.path is None else _thumbnail(figure.path),
                "marked": figure.is_marked,
                "lines": [printable(line) for line in figure.lines],
            }
        )
        bar.update(len(shown))
    bar.close()
    template = templates.get_template("photograph_page.html")
    write_text(page, template.render(title=printable(title), introduction=printable(introduction), figures=shown))


def _thumbnail(path) -> Optional[str]:
    """A small JPEG as a data URI; None where the photograph has gone since."""
    sides = []

    def choose_box(width, height):
        sides.extend((width, height))
        return whole_box(width, height)

    try:
        square = read_crop(path, choose_box, MAX_SIDE)  # decodes a JPEG at a part of its size, unlike read_photograph
    except PhotographError:
        return None
    scale = min(1, MAX_SIDE / max(sides))
    return data_uri(square.resize([max(1, round(side * scale)) for side in sides], Image.Resampling.BILINEAR), MAX_SIDE)

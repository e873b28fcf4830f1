"""Predictions as one HTML page of small photographs, the least confident first. Its template is contact_sheet.html."""

import heapq
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from data.boxes import whole_box
from data.photographs import PhotographError, read_crop
from machine.whole_file import write_text
from messages.progress import ProgressBar
from messages.terminal import printable
from plots.embedded import data_uri
from prediction.predictions import Prediction

MAX_SHOWN = 1000  # photographs: a page of more takes long to open
MAX_SIDE = 160  # pixels of a small photograph


def write_contact_sheet(page: Path, records: Iterable[Prediction], total: int, title: str) -> None:
    """Write the file ``page``, which needs no other file and no connection. Raises OSError.

    Shows the MAX_SHOWN photographs with the lowest confidence of ``total``, and those that cannot be read by name alone.
    """
    shown = heapq.nsmallest(MAX_SHOWN, enumerate(records), key=lambda item: (item[1].confidence, item[0]))
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    bar, figures = ProgressBar(len(shown), "small photographs"), []
    for _, record in shown:
        figures.append(_figure(record))
        bar.update(len(figures))
    bar.close()
    text = templates.get_template("contact_sheet.html").render(title=title, total=total, figures=figures)
    write_text(page, text)


def _figure(record):
    if not record.classes:
        return {"name": printable(record.path), "source": None, "unsure": False, "lines": [record.reason]}
    lines = [f"{name} {value:.1%}" for name, value in record.classes]
    return {"name": printable(record.path), "source": _thumbnail(record.path), "unsure": bool(record.unsure), "lines": lines}


def _thumbnail(path):
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

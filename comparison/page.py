"""A comparison as one HTML page that needs nothing beside itself: no network, no other file. Its template is page.html."""

import base64
import io
from pathlib import Path
from typing import Callable, Optional

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from comparison.verdict import shown, used_columns
from data.lists import DataError
from machine.whole_file import write_text

MAX_SIDE = 112  # pixels of a small photograph
MAX_SHOWN = 12  # photographs of each kind for each network
PICTURES = (("comparison.png", "validation curves"), ("tradeoff.png", "accuracy against cost"))


def write_page(
    folder: Path, rows: list[dict], summary: str, notes: list[str], alone: dict, names: list[str], photograph: Callable
) -> None:
    """Write ``folder/index.html``; comparison.png and tradeoff.png must be in ``folder`` already. Raises OSError.

    ``rows``: of comparison.verdict.network_row. ``alone``: {network: (indices that it alone got right, that it alone got
    wrong)} into ``names``, those of the photographs of the validation list. ``photograph(name)`` returns one as a
    ``PIL.Image``; where it raises DataError, the name alone is shown.
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    columns = used_columns(rows)
    page = templates.get_template("page.html").render(
        summary=summary,
        headings=[heading for _, heading in columns],
        rows=[[(_sort_value(row[key]), shown(key, row[key])) for key, _ in columns] for row in rows],
        notes=notes,
        pictures=[(description, _embed((folder / name).read_bytes(), "png")) for name, description in PICTURES],
        shown=MAX_SHOWN,
        total=len(names),
        alone=[(network, _kinds(right, wrong, names, photograph)) for network, (right, wrong) in alone.items()],
    )
    write_text(folder / "index.html", page)


def _sort_value(value):
    """What a column is sorted by: of several values the first."""
    if value is None:
        return ""
    return value[0] if isinstance(value, list) else value


def _kinds(right, wrong, names, photograph):
    """[(what the network did alone, how often, [(name, photograph as a data URI or None), ...]), ...]"""
    return [
        (what, len(indices), [(names[index], _thumbnail(names[index], photograph)) for index in indices[:MAX_SHOWN]])
        for indices, what in ((right, "alone right on"), (wrong, "alone wrong on"))
    ]


def _thumbnail(name, photograph) -> Optional[str]:
    try:
        image = photograph(name)
    except DataError:  # moved since the training
        return None
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return _embed(buffer.getvalue(), "jpeg")


def _embed(data, kind):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"

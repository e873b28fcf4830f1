"""A comparison as one HTML page, which needs no internet connection and no other file. Its template is page.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from comparison.verdict import shown, used_columns
from data.lists import DataError
from machine.whole_file import write_text
from messages.terminal import printable
from plots.embedded import data_uri, encoded

MAX_SIDE = 112  # pixels of a small photograph
MAX_SHOWN = 12  # photographs of each kind and network
PICTURES = (("comparison.png", "validation curves"), ("tradeoff.png", "accuracy against cost"))


def write_page(
    folder: Path,
    rows: list[dict[str, Any]],
    summary: str,
    notes: list[str],
    alone: dict[str, tuple[Sequence[int], Sequence[int]]],
    names: list[str],
    photograph: Callable[[str], Image.Image],
    kind: str = "validation",
    path: Sequence[str] = (),
) -> None:
    """Write ``folder/index.html``, with comparison.png and tradeoff.png from ``folder`` in it. Raises OSError.

    ``rows``: of comparison.verdict.network_row. ``names``: of the photographs of the list. ``alone``: {network: (indices into
    ``names`` of the photographs that this network alone got right, and alone got wrong)}. ``photograph(name)`` returns the
    image; where it raises DataError, the page shows the name alone. ``kind``: of the photographs, "validation" or "test".
    ``path``: lines on what was known after each seed.
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
        summary=printable(summary),
        headings=[heading for _, heading in columns],
        rows=[[(_sort_value(row[key]), printable(shown(key, row[key]))) for key, _ in columns] for row in rows],
        notes=[printable(note) for note in notes],
        path=[printable(line) for line in path],
        kind=kind,
        pictures=[(description, encoded((folder / name).read_bytes(), "png")) for name, description in PICTURES],
        shown=MAX_SHOWN,
        total=len(names),
        alone=[(network, _kinds(right, wrong, names, photograph)) for network, (right, wrong) in alone.items()],
    )
    write_text(folder / "index.html", page)


def _sort_value(value):
    """The value by which the page sorts a column; of several values the first."""
    if value is None:
        return ""
    return value[0] if isinstance(value, list) else value


def _kinds(right, wrong, names, photograph):
    """[("alone right on" or "alone wrong on", number of photographs, [(name, thumbnail as a data URI or None), ...]), ...]"""
    return [
        (what, len(indices), [(printable(names[index]), _thumbnail(names[index], photograph)) for index in indices[:MAX_SHOWN]])
        for indices, what in ((right, "alone right on"), (wrong, "alone wrong on"))
    ]


def _thumbnail(name, photograph) -> Optional[str]:
    """A small JPEG of the photograph as a data URI; None where it cannot be read."""
    try:
        image = photograph(name)
    except DataError:  # moved or deleted since the training
        return None
    return data_uri(image, MAX_SIDE)

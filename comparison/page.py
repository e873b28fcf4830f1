"""A comparison as one HTML page, which needs no internet connection and no other file.

Its template is page.html, its style page.css, its script page.js; its texts are in comparison.page_words.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from comparison.bilingual import Bilingual
from comparison.findings import Compared, Findings
from comparison.front_chart import front_charts, legend
from comparison.network_marks import swatch
from comparison.page_words import COLUMNS, Words
from comparison.page_words import COSTS as CHINESE
from comparison.path_chart import path_chart
from comparison.significance import LEAST_SEEDS
from comparison.until_decided import lines_of_path
from comparison.verdict import shown, used_columns
from comparison.verdict_in_chinese import verdict_in_chinese
from comparison.worth import COSTS, known_costs
from data.lists import DataError
from machine.whole_file import write_text
from messages.terminal import printable
from plots.embedded import data_uri, digest_for_policy, encoded

MAX_SIDE = 112  # pixels of a small photograph
MAX_SHOWN = 12  # photographs of each kind and network
PICTURES = (("comparison.png", "curves"), ("tradeoff.png", "tradeoff"))
"""(file, key of what it shows)."""


def write_page(
    folder: Path, compared: Compared, found: Findings, notes: Sequence[Bilingual], photograph: Callable[[str], Image.Image]
) -> None:
    """Write ``folder/index.html``, with comparison.png and tradeoff.png from ``folder`` in it. Raises OSError.

    ``notes``: lines for the reader. ``photograph(name)`` returns an image of the list; where it raises DataError, the page
    shows the name alone.
    """
    here = Path(__file__).parent
    templates = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    words = Words()
    names = list(compared.groups)  # in the order of the pictures, so that a network has one colour on all of them
    rows = {row["network"]: row for row in found.rows}
    words.add("summary", printable(found.summary), "\n".join(map(printable, verdict_in_chinese(compared, found).split("\n"))))
    charts = front_charts([rows[name] for name in names], found.better, _is_judged(found), words)
    decision = compared.decision
    page = templates.get_template("page.html").render(
        policy=f"default-src 'none'; style-src {digest_for_policy(style)}; script-src {digest_for_policy(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
        words=words,
        headings=[(key, words.add(f"column_{key}", heading, COLUMNS[key])) for key, heading in used_columns(found.rows)],
        rows=[_cells(row, used_columns(found.rows), names) for row in found.rows],
        gains=_gains(found, names, words),
        baseline=printable(found.baseline),
        notes=[words.add(f"note_{n}", printable(note), printable(note.chinese)) for n, note in enumerate(notes)],
        charts=charts,
        judged=_is_judged(found),
        legend=legend(),
        path=path_chart(decision, {name: index for index, name in enumerate(names)}) if decision and decision.looks else None,
        lines=[printable(line) for line in lines_of_path(decision)] if decision else [],
        pictures=[(key, encoded((folder / name).read_bytes(), "png")) for name, key in PICTURES],
        majority=f"majority_{compared.split}",
        most=MAX_SHOWN,
        total=len(found.answers.names),
        alone=[(printable(name), kinds) for name, kinds in _alone(found, photograph)],
    )
    write_text(folder / "index.html", page)


def _is_judged(found):
    """Whether there are trainings enough to say of any pair of networks whether one is better."""
    enough = sorted(row["seeds"] for row in found.rows)[-2:]
    return bool(found.better) or (len(enough) == 2 and (enough[0] >= LEAST_SEEDS or found.answers.fold_count > 1))


def _cells(row, columns, names):
    """[(key, value by which the column is sorted, text, mark of the network or None), ...]"""
    mark = swatch(names.index(row["network"])) if row["network"] in names else None
    return [
        (key, _sort_value(row[key]), printable(shown(key, row[key])), mark if key == "network" else None) for key, _ in columns
    ]


def _gains(found, names, words):
    """(keys of the headings, rows: [(mark, network, [the values of a cell: one, or three with an interval, or none]), ...])."""
    costs = known_costs(found.gains)
    of_costs = [words.add(f"gain_{key}", COSTS[key].heading, CHINESE[key].more) for key in costs]
    rows = [
        (swatch(names.index(gain.network)), printable(gain.network), [_points(gain), *(_change(gain, key) for key in costs)])
        for gain in found.gains
    ]
    return ["gain_network", "gain_accuracy", *of_costs], rows


def _points(gain):
    return [] if gain.difference is None else gain.difference.points()


def _change(gain, key):
    change = gain.costs[key]
    return [] if change is None else change.parts(COSTS[key].digits, COSTS[key].unit)


def _sort_value(value):
    """The value by which the page sorts a column; of several values the first."""
    if value is None:
        return ""
    return value[0] if isinstance(value, list) else printable(value)


def _alone(found, photograph):
    """[(network, [(key of what it was alone in, number of photographs, [(name, thumbnail or None), ...]), ...]), ...]"""

    def shown_of(indices):
        names = [found.answers.names[index] for index in indices[:MAX_SHOWN]]
        return [(printable(name), _thumbnail(name, photograph)) for name in names]

    return [
        (name, [(key, len(of), shown_of(of)) for key, of in (("alone_right", right), ("alone_wrong", wrong))])
        for name, (right, wrong) in alone_of(found.answers.correct).items()
    ]


def alone_of(correct: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{network: (indices of the photographs that it alone got right, and alone got wrong)}, by the majority of its seeds.

    ``correct``: {network: bool [seeds, photographs]}.
    """
    majority = {name: of_seeds.mean(axis=0) > 0.5 for name, of_seeds in correct.items()}
    alone = {}
    for name, own in majority.items():
        others = np.stack([right for other, right in majority.items() if other != name] or [own])
        alone[name] = (np.flatnonzero(own & ~others.any(axis=0)), np.flatnonzero(~own & others.all(axis=0)))
    return alone


def _thumbnail(name, photograph) -> Optional[str]:
    """A small JPEG of the photograph as a data URI; None where it cannot be read."""
    try:
        image = photograph(name)
    except DataError:  # moved or deleted since the training
        return None
    return data_uri(image, MAX_SIDE)

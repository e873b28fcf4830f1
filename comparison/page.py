"""A comparison as one HTML page that needs nothing beside itself: no network, no other file."""

import base64
import html
import io

from comparison.verdict import COLUMNS, shown
from data.lists import DataError
from machine.whole_file import write_text

THUMBNAIL = 112  # pixels a side at most
SHOWN = 12  # photographs of each kind for each network

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
th button { font: inherit; font-weight: 600; border: 0; background: none; cursor: pointer; padding: 0; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
img { max-width: 100%; } figure { display: inline-block; margin: .3rem; text-align: center; }
figcaption { font-size: 12px; max-width: 112px; overflow-wrap: anywhere; }
.verdict { background: #f3f6fa; border-left: 4px solid #0072b2; padding: .7rem 1rem; }
"""

SCRIPT = """
for (const heading of document.querySelectorAll("th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const column = heading.cellIndex, body = document.querySelector("tbody");
    const descending = heading.getAttribute("aria-sort") !== "descending";
    for (const other of document.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value;
    const rows = [...body.rows].sort((one, other) => {
      const a = value(one), b = value(other);
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return descending ? -order : order;
    });
    body.append(...rows);
  });
}
"""


def write_page(folder, rows, summary, notes, alone, names, photograph) -> None:
    """Write ``folder/index.html``; comparison.png and tradeoff.png must be in ``folder`` already.

    ``rows``: of comparison.verdict.network_row. ``alone``: {network: (indices that it alone got right, that it alone got
    wrong)} into ``names``, those of the photographs of the validation list. ``photograph(name)`` returns one as a
    ``PIL.Image``; where it raises DataError, the name alone is shown.
    """
    pictures = "\n".join(
        f'<p><img alt="{alt}" src="{_embed((folder / name).read_bytes(), "png")}"></p>'
        for name, alt in (("comparison.png", "validation curves"), ("tradeoff.png", "accuracy against cost"))
    )
    photographs = "\n".join(_photographs(name, right, wrong, names, photograph) for name, (right, wrong) in alone.items())
    listed_notes = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    write_text(
        folder / "index.html",
        f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Comparison of networks</title>
<link rel="icon" href="data:,"><style>{STYLE}</style></head><body>
<h1>Comparison of networks</h1>
<p class="verdict">{html.escape(summary)}</p>
{_table(rows)}
<ul>{listed_notes}</ul>
{pictures}
<h2>Where the networks differ</h2>
<p>By the majority of a network's trainings, on the validation photographs; at most {SHOWN} of each kind are shown.</p>
{photographs}
<script>{SCRIPT}</script></body></html>
""",
    )


def _table(rows):
    used = [(key, heading) for key, heading in COLUMNS if any(row[key] not in (None, "") for row in rows)]
    head = "".join(f'<th scope="col"><button type="button">{html.escape(heading)}</button></th>' for _, heading in used)
    body = "\n".join("<tr>" + "".join(_cell(key, row[key]) for key, _ in used) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(key, value):
    raw = "" if value is None else (value[0] if isinstance(value, list) else value)
    return f'<td data-value="{html.escape(str(raw))}">{html.escape(shown(key, value))}</td>'


def _photographs(name, right, wrong, names, photograph):
    parts = [f"<h3>{html.escape(name)}</h3>"]
    for indices, what in ((right, "alone right on"), (wrong, "alone wrong on")):
        figures = "".join(_figure(names[index], photograph) for index in indices[:SHOWN])
        parts.append(f"<p>{what} {len(indices)} of {len(names)}</p><div>{figures}</div>")
    return "\n".join(parts)


def _figure(name, photograph):
    try:
        image = photograph(name)
    except DataError:  # moved since the training
        return f"<figure><figcaption>{html.escape(name)}</figcaption></figure>"
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    caption = html.escape(name)
    return f'<figure><img alt="{caption}" src="{_embed(buffer.getvalue(), "jpeg")}"><figcaption>{caption}</figcaption></figure>'


def _embed(data, kind):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"

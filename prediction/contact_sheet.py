"""Predictions as one HTML page of small photographs, the least confident first."""

import heapq
from collections.abc import Iterable
from pathlib import Path

from plots.photograph_page import MAX_SHOWN, Figure, write_photograph_page
from prediction.predictions import Prediction


def write_contact_sheet(page: Path, records: Iterable[Prediction], total: int, title: str) -> None:
    """Write the file ``page``, which needs no other file and no connection. Raises OSError.

    Shows the MAX_SHOWN photographs with the lowest confidence of ``total``, and those that cannot be read by name alone.
    """
    shown = heapq.nsmallest(MAX_SHOWN, enumerate(records), key=lambda item: (item[1].confidence, item[0]))
    figures = [_figure(record) for _, record in shown]
    frame = "; those below the threshold have an orange frame" if any(figure.is_marked for figure in figures) else ""
    text = f"{len(figures)} of {total} photographs, the least confident first{frame}."
    write_photograph_page(page, figures, title, text)


def _figure(record):
    if not record.classes:
        return Figure(record.path, [record.reason], None)
    lines = [f"{name} {value:.1%}" for name, value in record.classes]
    return Figure(record.path, lines, record.path, bool(record.unsure))

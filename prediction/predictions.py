"""Predictions: one record for each photograph, the file that they are gathered in, and the formats that they end in.

While photographs are read, each record goes to ``OUTPUT.unfinished``, one JSON object a line, after a line that says which
network and settings made them. So a process that is interrupted or killed loses none, and ``--continue`` goes on after the last
whole line. At the end OUTPUT is made of it, whole or not at all, and it is removed once nothing is left to do.
"""

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from machine.locks import ClaimedError, claim
from machine.regular_file import open_regular
from machine.whole_file import for_text, whole_file
from messages.quoting import named
from messages.spreadsheet import defused
from messages.user_error import UserError

SUFFIXES = {"csv": ".csv", "json": ".json", "jsonl": ".jsonl"}
DIGITS = 6  # of a confidence
MAX_BYTES = 2**36  # of an unfinished file: a hundred million photographs


class PredictionError(UserError):
    """Predictions that cannot be written or continued; the message says what to do."""


class Prediction(NamedTuple):
    """The answer for a photograph.

    ``classes``: (name, probability) of the most probable classes, best first; empty where the photograph cannot be read, and
    ``reason`` says why. ``unsure``: whether the best probability is below the user's threshold; None without a threshold.
    """

    path: str
    classes: list[tuple[str, float]]
    reason: str = ""
    unsure: Optional[bool] = None

    @property
    def name(self) -> str:
        """The predicted class; "" where the photograph cannot be read."""
        return self.classes[0][0] if self.classes else ""

    @property
    def confidence(self) -> float:
        """The probability of the predicted class; 0 where the photograph cannot be read."""
        return self.classes[0][1] if self.classes else 0.0


def prediction_of(
    path: str, probabilities: np.ndarray, classes: list[str], top: int, unsure_below: Optional[float]
) -> Prediction:
    """The record of a photograph with the ``probabilities`` [C] of ``classes``; of these it keeps the ``top`` best."""
    best = np.argsort(-probabilities, kind="stable")[:top]
    unsure = None if unsure_below is None else bool(probabilities[best[0]] < unsure_below)
    return Prediction(path, [(classes[label], float(probabilities[label])) for label in best], unsure=unsure)


class Journal:
    """The unfinished file of ``output``: ``append`` records to it, read them with ``records``, ``write`` the output, then
    ``remove`` it.

    ``origin``: what made the records, plain values; only the same origin may go on with them.
    """

    def __init__(self, output: Path, origin: dict[str, Any]):
        self.output, self.origin = output, origin
        self.path = output.with_name(f"{output.name}.unfinished")
        self._file: Any = None

    @contextlib.contextmanager
    def begun(self, go_on: bool, paths: Iterable[str]) -> Iterator[set[str]]:
        """Open the file, and close it at the end of the block; yields the paths that it has records of.

        ``go_on``: with the records that are there; otherwise there must be none. ``paths``: the photographs to predict; they
        must include those that have a record already, except for files that have gone since. Raises PredictionError, also where
        another process writes the file, and OSError.
        """
        if not self.output.parent.is_dir():
            raise PredictionError(f"there is no folder {self.output.parent} to write {self.output.name} into")
        with self._claimed():
            if self.path.exists() and not go_on:
                raise PredictionError(
                    f"{self.path} holds unfinished predictions: --continue goes on with them, or delete the file"
                )
            done, end = self._read_back() if self.path.exists() else (set(), 0)
            self._check_same_photographs(done, set(paths))
            with open(self.path, "ab") as self._file:
                self._file.truncate(end)
                if not end:
                    self._write([self.origin])
                yield done

    @contextlib.contextmanager
    def _claimed(self):
        """No other process may write the file meanwhile. Raises PredictionError where one does."""
        lock = self.path.with_name(f".{self.path.name}.lock")  # not the file itself: reading it would end a POSIX lock
        try:
            claim_of_file = claim(lock)
        except ClaimedError:
            raise PredictionError(
                f"another predict.py is writing {self.path}: wait until it ends, or give another --output"
            ) from None
        with claim_of_file:
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # on Windows not while it is open
                    lock.unlink()

    def _read_back(self):
        """(paths that have a record, the file's length up to the last whole one)."""
        done, end = set(), 0
        with open_regular(self.path, MAX_BYTES) as file:
            for line in file:
                content = _parsed(line)
                if not end and content != self.origin and line.endswith(b"\n"):
                    raise PredictionError(
                        f"{self.path} was made with another network or other settings: give the same, or delete the file"
                    )
                if not line.endswith(b"\n") or not isinstance(content, dict):
                    break  # a killed process leaves a part of a line at the end
                if end:
                    done.add(content.get("path"))
                end += len(line)
        return done, end

    def _check_same_photographs(self, done, paths):
        """Raise PredictionError where the records are of other photographs: two jobs would end in one file."""
        others = done - paths
        other = next((path for path in sorted(others) if len(others) == len(done) or os.path.lexists(path)), None)
        if other is not None:
            raise PredictionError(
                f"{self.path} has predictions of other photographs, such as {named(other)}: give the same --images, "
                f"another --output, or delete the file"
            )

    def append(self, records: Iterable[Prediction]) -> None:
        """Add records; they reach the file before this returns."""
        self._write(record._asdict() for record in records)

    def records(self) -> Iterator[Prediction]:
        """All records, in the order of the photographs."""
        with open_regular(self.path, MAX_BYTES) as file:
            file.readline()
            for line in file:
                record = json.loads(line)
                yield Prediction(**{**record, "classes": [(name, value) for name, value in record["classes"]]})

    def write(self, form: str, top: int) -> None:
        """Write the output in the format ``form``, with ``top`` classes for each photograph."""
        with_unsure = self.origin["unsure_below"] is not None
        with whole_file(self.output) as temporary, for_text(temporary) as file:
            WRITERS[form](file, self.records(), top, with_unsure)

    def remove(self) -> None:
        """Remove the unfinished file: nothing is left that ``--continue`` could do."""
        self.path.unlink()

    def _write(self, values):
        self._file.write(b"".join(json.dumps(value).encode("ascii") + b"\n" for value in values))
        self._file.flush()


def _parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        return None


def _write_csv(file, records, top, with_unsure):
    ranks = [column for rank in range(2, top + 1) for column in (f"class_{rank}", f"confidence_{rank}")]
    writer = csv.writer(file)
    writer.writerow(["path", "prediction", "confidence", *ranks, *(["unsure"] if with_unsure else []), "reason"])
    for record in records:
        cells = [cell for name, value in record.classes for cell in (name, f"{value:.{DIGITS}f}")]
        cells += [""] * (2 * top - len(cells))
        row = [record.path, *cells, *([_flag(record.unsure)] if with_unsure else []), record.reason]
        writer.writerow(map(defused, row))


def _flag(value):
    return "" if value is None else "yes" if value else "no"


def _write_jsonl(file, records, top, with_unsure):
    for record in records:
        file.write(f"{_json(record, with_unsure)}\n")


def _write_json(file, records, top, with_unsure):
    between = "[\n"
    for record in records:
        file.write(f"{between}{_json(record, with_unsure)}")
        between = ",\n"
    file.write("[]\n" if between == "[\n" else "\n]\n")


def plain_record(record: Prediction, with_unsure: bool) -> dict[str, Any]:
    """The record as a JSON object; ``with_unsure``: whether there is a threshold."""
    content: dict[str, Any] = {"path": record.path}
    if record.classes:
        content.update(prediction=record.name, confidence=round(record.confidence, DIGITS))
        content["classes"] = [{"name": name, "confidence": round(value, DIGITS)} for name, value in record.classes]
        content.update(unsure=record.unsure) if with_unsure else None
    else:
        content["reason"] = record.reason
    return content


def _json(record, with_unsure):
    return json.dumps(plain_record(record, with_unsure), ensure_ascii=False, allow_nan=False)


WRITERS = {"csv": _write_csv, "json": _write_json, "jsonl": _write_jsonl}

"""The files of a run beside its settings and weights, as trained and evaluation read them."""

import csv
import io
import json
import math
from pathlib import Path

from harness import Crash, Reader
from json_mutation import dump, mutate_json

from evaluation.report import RULES as OF_METRICS
from evaluation.report import EvaluationError, read_metrics, read_predictions
from machine.whole_file import write_csv
from settings.format_number import FormatError
from trained.class_list import read_classes, write_classes
from trained.history import COLUMNS, read_history, write_history
from trained.result import RULES as OF_RESULT
from trained.result import read_result, read_whole_result
from trained.run_error import RunError

BEST = {name: 0.5 for name in COLUMNS} | {"epoch": 2, "train_size": 8}
RESULT = {
    "format": 2, "status": "finished", "net": "resnet", "epochs": 3, "best": BEST, "seconds": 1.5, "images_per_second": 10.5,
    "peak_memory_mb": None, "photographs": {"train": 12, "val": 6}, "list_sha256": {"train": "0" * 64, "val": "f" * 64},
    "epochs_before": [1, 2], "stopped_early": True,
}  # fmt: skip
METRICS = {
    "format": 2, "loss": 0.5, "acc": 0.75, "acc_interval": [0.5, 0.9], "balanced_acc": 0.75, "temperature": 1.5,
    "calibration_error": 0.1, "cross_fitted": True, "strangers": {"chosen": None}, "photographs": 4, "split": "val",
    "per_class": {"猫": {"recall": 0.5}}, "list": "data/val_list.txt", "list_sha256": "0" * 64, "epoch": 2,
    "same_list_as_in_training": True,
}  # fmt: skip
JSON_WORDS = (
    b"null", b"NaN", b"-Infinity", b"1e999", b"1e101", b"[" * 2000, b'{"a":' * 2000, b'"\\ud800"', b"\\u0000", b"9" * 5000,
    b"9" * 100_000, b",", b":", b'"', b"}", b"]", b'"acc": 0.5,', b'"format": 3,', b'"epoch": 1.0,',
)  # fmt: skip
CSV_WORDS = (
    b"nan", b"inf", b"-1", b"1e999", b"1e101", b"0", b"1", b"2", b"9" * 5000, b'"', b'""', b",", b",,,,", b"\n", b"\r", b"\r\n",
    b"\0", b"'", b"'=1+1", b"''=1", b"=1+1", b"\t", b"x" * 300_000, b",\n" * 2000, b"a,b\n", b"epoch", b"path", b"label",
    "猫".encode(), b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"1_0", b"0x1", b" 1 ", "٣".encode(),
)  # fmt: skip


def _of_json(folder, name, good, keys, read):
    """The reader of a JSON file ``name`` in ``folder``; ``good``: a dict that it may hold."""
    file = Path(folder) / name
    file.parent.mkdir(exist_ok=True)

    def read_bytes(data):
        file.write_bytes(data)
        for value in read(Path(folder)).values():
            _check_numbers(value)

    def mutate(data, rng, mutate_bytes):
        if rng.random() < 0.3:
            return mutate_bytes(data, rng, JSON_WORDS)
        try:
            return dump(mutate_json(json.loads(data), rng, keys, (BEST, 0.5, "finished", "f" * 64)))
        except (ValueError, RecursionError):
            return mutate_bytes(data, rng, JSON_WORDS)

    seeds = (json.dumps(good).encode(), json.dumps(good, indent=2, ensure_ascii=False).encode())
    return Reader(name, (RunError, EvaluationError, FormatError), (file,), read_bytes, seeds, mutate)


def _check_numbers(value):
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,):
        if isinstance(part, (int, float)) and not math.isfinite(part):
            raise Crash(f"read a number that is none: {part}")


def results(folder) -> Reader:
    """The reader of result.json."""

    def read(run):
        read_result(run)
        return read_whole_result(run)

    return _of_json(folder, "result.json", RESULT, (*OF_RESULT, "format"), read)


def metrics(folder) -> Reader:
    """The reader of metrics.json."""
    return _of_json(folder, "eval/metrics.json", METRICS, (*OF_METRICS, "format"), read_metrics)


def _of_csv(name, file, read, seeds):
    def mutate(data, rng, mutate_bytes):
        lines = data.split(b"\n")
        place, change = rng.randrange(len(lines)), rng.randrange(6)
        if change == 0:
            lines.insert(place, rng.choice(lines))
        elif change == 1:
            del lines[place]
        elif change in (2, 3):
            cells = lines[place].split(b",")
            cells[rng.randrange(len(cells))] = rng.choice(CSV_WORDS)
            lines[place] = b",".join(cells)
        elif change == 4:
            lines[place] = mutate_bytes(lines[place], rng, CSV_WORDS)
        else:
            return mutate_bytes(data, rng, CSV_WORDS)
        return b"\n".join(lines)

    def read_bytes(data):
        file.write_bytes(data)
        read()

    return Reader(name, (RunError, EvaluationError, FormatError), (file,), read_bytes, seeds, mutate)


def histories(folder) -> Reader:
    """The reader of history.csv."""
    run = Path(folder)
    file = run / "history.csv"

    def read():
        for number, row in enumerate(read_history(run), start=1):
            if row["epoch"] != number or row.keys() != COLUMNS.keys() or row["images_per_second"] <= 0:
                raise Crash(f"read a row that cannot be: {row}")
            _check_numbers(row)

    write_history(run, [{**BEST, "epoch": 1}, {**BEST, "val_balanced_acc": None}])
    good = file.read_bytes()
    older = b"\n".join(b",".join(line.split(b",")[:8]) for line in good.splitlines()) + b"\n"
    return _of_csv("history.csv", file, read, (good, older))


def predictions(folder) -> Reader:
    """The reader of predictions.csv."""
    run = Path(folder)
    file = run / "eval" / "predictions.csv"
    file.parent.mkdir(exist_ok=True)
    rows = [("cat/1.jpg", "cat", "cat", "0.9"), ("=1+1.jpg", "猫", "cat", "1.000000"), ('a "b",\nc', "cat", "'=x", "0")]

    def read():
        found = read_predictions(run)
        if not len(found.paths) == len(found.labels) == len(found.correct) or not all(found.paths):
            raise Crash(f"read predictions that cannot be: {found}")

    write_csv(file, ["path", "label", "prediction", "confidence"], rows)
    if read_predictions(run).paths != [row[0] for row in rows]:
        raise Crash("names do not come back from a table")
    plain = io.StringIO()
    csv.writer(plain).writerows([("path", "label", "prediction"), *(row[:3] for row in rows[:1] * 3)])
    return _of_csv("predictions.csv", file, read, (file.read_bytes(), plain.getvalue().encode()))


def class_lists(folder) -> Reader:
    """The reader of classes.txt."""
    run = Path(folder)
    file = run / "classes.txt"

    def read():
        names = read_classes(run)
        if len(set(names)) != len(names) or len(names) < 2 or not all(name.strip() for name in names):
            raise Crash(f"read classes that cannot be: {names}")

    seeds = []
    for names in (("cat", "dog"), ("猫", "a b", "'=1", "\udcff")):
        write_classes(run, names)
        seeds.append(file.read_bytes())
    return _of_csv("classes.txt", file, read, tuple(seeds))

"""The record of a search, tune.json, as tune.py reads it."""

import json
import math
from pathlib import Path

from harness import Crash, Reader
from json_mutation import dump, mutate_json

from settings.format_number import FormatError
from tuning.record import NAME, RULES, read_search
from tuning.search import trials_left
from tuning.tune_error import TuneError

TRIAL = {"rung": 1, "epochs": 2, "pair": [0.1, 0.0], "accuracy": 0.5, "loss": 1.25, "seconds": 3.5, "run": "002"}
SEARCH = {
    "format": 1, "sought": {"budget": 60.0, "settings": {"net": "resnet"}}, "photographs": {"train": 9, "val": 3},
    "learning_rates": [0.01, 0.1], "weight_decays": [0.0], "pairs": [[0.1, 0.0], [0.01, 0.0]], "usual": [0.1, 0.0],
    "costs": [5.0, 4.0], "rungs": [[2, 2], [2, 6]],
    "trials": [TRIAL, {**TRIAL, "pair": [0.01, 0.0], "accuracy": None, "loss": None}, {**TRIAL, "rung": 2}],
    "seconds": 12.5, "stopped": None, "finished": False,
}  # fmt: skip
WORDS = (b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"9" * 5000, b"[" * 5000, b'"format": 2,', b'"rung": 3,', b'"002"')


def reader(folder) -> Reader:
    """The reader of tune.json."""
    file = Path(folder) / NAME

    def read(data):
        file.write_bytes(data)
        search = read_search(Path(folder))
        numbers = [*search.learning_rates, *search.weight_decays, *search.costs, search.seconds]
        numbers += [value for trial in search.trials for value in (trial.accuracy, trial.loss, trial.seconds, *trial.pair)]
        if not all(math.isfinite(number) for number in numbers if number is not None):
            raise Crash("read a number that is none")
        trials_left(search)

    def mutate(data, rng, mutate_bytes):
        if rng.random() < 0.3:
            return mutate_bytes(data, rng, WORDS)
        try:
            return dump(mutate_json(json.loads(data), rng, (*RULES, *TRIAL, "format"), (TRIAL, [0.1, 0.0], 0.5, "002")))
        except (ValueError, RecursionError):
            return mutate_bytes(data, rng, WORDS)

    seeds = (json.dumps(SEARCH).encode(), json.dumps({**SEARCH, "finished": True, "stopped": "time"}, indent=2).encode())
    return Reader(NAME, (TuneError, FormatError), (file,), read, seeds, mutate)

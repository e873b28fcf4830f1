"""``result.json`` of a run: the status of its training, its best epoch, its times."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from machine.whole_file import write_json
from messages.reason import reason_of
from settings.format_number import FormatError
from trained.history import is_best, known_columns
from trained.json_file import read_values
from trained.rules import (
    Rule,
    is_count,
    is_dict_of_counts,
    is_digest,
    is_flag,
    is_list_of_weights,
    is_pair_of_digests,
    is_positive_or_zero,
    is_text,
)
from trained.run_error import RunError

FORMAT = 2
"""Of result.json. 1: without a number; 2: with ``format``."""
STATUSES = ("unfinished", "finished", "interrupted", "failed")

RULES: dict[str, Rule] = {
    "status": lambda value: isinstance(value, str) and value in STATUSES,
    "net": is_text,
    "epochs": is_count,
    "best": is_best,
    "seconds": is_positive_or_zero,
    "images_per_second": lambda value: value is None or is_positive_or_zero(value),
    "peak_memory_mb": lambda value: value is None or is_positive_or_zero(value),
    "energy_joules": lambda value: value is None or is_positive_or_zero(value),
    "photographs": is_dict_of_counts,
    "list_sha256": is_pair_of_digests,
    "photographs_sha256": is_pair_of_digests,
    "best_not_saved": is_text,
    "reason": is_text,
    "epochs_before": lambda value: isinstance(value, list) and all(map(is_count, value)),
    "stopped_early": is_flag,
    "diverged": is_flag,
    "init_from_sha256": is_digest,
    "class_weights": is_list_of_weights,
    "class_weights_sha256": is_digest,
}
"""The values of result.json. To add one, add one line here; readers use ``get``, because older files lack it."""


def read_result(run: Union[str, Path]) -> dict[str, Any]:
    """{name: value} from the ``result.json`` of a run: those that RULES names and that fit their rule.

    Empty if the file is missing or damaged. The status is "unfinished" until training ends, then "finished", "interrupted" or
    "failed". Raises FormatError if a newer version of the toolkit wrote the file.
    """
    try:
        return _with_known_columns(read_values(Path(run) / "result.json", RULES, FORMAT).good)
    except FormatError:
        raise
    except (OSError, ValueError):
        return {}


def read_whole_result(run: Union[str, Path]) -> dict[str, Any]:
    """As ``read_result``, but raises RunError, which names the fault, if the file is damaged or a value breaks its rule.

    Empty if the file is missing.
    """
    path = Path(run) / "result.json"
    try:
        good, faults = read_values(path, RULES, FORMAT)
    except FormatError:
        raise
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {reason_of(error, path)}; restore a copy, or train again") from None
    if faults:
        raise RunError(f"{path} has {faults[0]}, which no training writes; restore a copy, or train again")
    return _with_known_columns(good)


def _with_known_columns(good):
    return {**good, "best": known_columns(good["best"])} if "best" in good else good


def write_result(run: Path, result: Mapping[str, Any]) -> None:
    """Write ``result``, {name: value} for names in RULES, to ``result.json``. Raises OSError."""
    write_json(run / "result.json", {"format": FORMAT, **result})

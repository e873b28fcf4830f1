"""The keys in the header of a checkpoint, and the checks of their values: a stranger's file may hold anything."""

import copy
import math
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from data.lists import MAX_CLASSES
from messages.quoting import quoted
from messages.user_error import UserError
from settings.format_number import check_format
from trained import history
from trained.calibration import HIGHEST, LOWEST, is_temperature
from trained.rules import (
    NEEDED,
    Rule,
    is_class_list,
    is_count,
    is_dict,
    is_dict_of_texts,
    is_list_of_weights,
    is_number,
    is_pair_of_digests,
    is_positive_or_zero,
)

FORMAT, FORMAT_WITHOUT_AVERAGES = 3, 2
"""Of a checkpoint's header. 1: without a number, with the preparation of photographs; 2: with ``format``; 3: averages of the
weights beside them, which older readers would take for tensors of another network. A file without averages has 2."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read or does not fit; the message names the file and the difference."""


class Key(NamedTuple):
    """One key of the header: ``fits`` checks its value, ``expected`` describes a good one.

    ``default``: the value if the key is missing, NEEDED if a header without it is refused. ``of_position``: it tells how far
    the training is; last.safetensors has all such keys without a default, best.safetensors none. ``fill``: a function that adds
    to a good value the parts that older files lack.
    """

    fits: Rule
    expected: str
    default: object = NEEDED
    of_position: bool = False
    fill: Optional[Callable[[Any], Any]] = None


METRICS = {"mean_loss": NEEDED, "acc": NEEDED, "balanced_acc": [[], []]}
"""The metrics of training, which ``so_far`` keeps as [total, count]: name -> the value for files older than the metric.

A new metric is one line here, such as "acc_top5": [0.0, 0].
"""
OF_EACH_CLASS = ("balanced_acc",)
"""The METRICS whose total and count are lists of one number a class, empty where the epoch's photographs were not counted."""


def check_header(header: object, path: Path) -> dict[str, Any]:
    """``header``, of the file ``path``, with defaults for missing keys; keys that KEYS does not name stay as they are.

    Raises CheckpointError unless it is a dict with values that fit KEYS and each other, FormatError if a newer version of the
    toolkit wrote it.
    """
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is {quoted(header)}; expected a dict. {_remedy()}")
    filled = {"format": check_format(header.get("format"), FORMAT, str(path)), **header}
    has_position = any(rule.of_position and key in header for key, rule in KEYS.items())
    for key, rule in KEYS.items():
        if key in header:
            if not rule.fits(header[key]):
                found = f"{key} = {quoted(header[key])}"
                raise CheckpointError(f"{path}: its header has {found}; expected {rule.expected}. {_remedy()}")
            if rule.fill:
                filled[key] = rule.fill(header[key])
        elif rule.default is not NEEDED:
            if has_position or not rule.of_position:
                filled[key] = copy.deepcopy(rule.default)
        elif not rule.of_position:
            raise CheckpointError(f"{path}: its header has no {key!r}; expected {rule.expected}. {_remedy()}")
    contradiction = _contradiction(header)
    if contradiction:
        raise CheckpointError(f"{path}: its header has {contradiction}. {_remedy()}")
    return filled


def _contradiction(header):
    """The values of a header that fit KEYS but contradict each other, as text; None if there are none."""
    position = [key for key, rule in KEYS.items() if rule.of_position and rule.default is NEEDED]
    missing = [key for key in position if key not in header]
    if missing and len(missing) < len(position):
        return f"{next(key for key in position if key in header)}, but no {missing[0]}"
    best, rows = header["best"], header.get("history")
    if best and best["epoch"] > header["epoch"]:
        return f"a best epoch {best['epoch']} and epoch {header['epoch']}"
    if not missing and bool(header["step"]) != bool(header["so_far"]):
        return f"step {header['step']} and so_far = {quoted(header['so_far'])}"
    if rows is not None and len(rows) != header["epoch"]:
        return f"a history of {len(rows)} epochs and epoch {header['epoch']}"
    weights = header.get("class_weights")
    if weights is not None and len(weights) != len(header["classes"]):
        return f"class_weights of {len(weights)} classes and {len(header['classes'])} classes"
    found = (header.get("so_far") or {"metrics": {}})["metrics"]
    for name in OF_EACH_CLASS:
        counted, classes = len(found[name][1]) if name in found else 0, len(header["classes"])
        if counted not in (0, classes):
            return f"{name} of {counted} classes and {classes} classes"
    return None


def _remedy():
    return "It is damaged or from another program: use another copy, or train again"


def _is_history(value):
    return (
        isinstance(value, list)
        and all(map(history.is_row, value))
        and [row["epoch"] for row in value] == list(range(1, len(value) + 1))
    )


def _filled_history(rows):
    return [history.filled_row(row) for row in rows]


def _is_sum(name, value):
    """Whether the total and count of the metric ``name`` are numbers, or lists of equally many for OF_EACH_CLASS.

    Format 1 has those of the accuracy as lists with one number each.
    """
    if not (isinstance(value, list) and len(value) == 2):
        return False
    if name in OF_EACH_CLASS:
        return all(isinstance(part, list) and all(map(is_number, part)) for part in value) and len(value[0]) == len(value[1])
    return all(is_number(part[0] if isinstance(part, list) and len(part) == 1 else part) for part in value)


def _is_part_of_epoch(value):
    if value is None:
        return True
    if not (isinstance(value, dict) and is_positive_or_zero(value.get("seconds")) and is_dict(value.get("metrics"))):
        return False
    found = value["metrics"]
    return all(_is_sum(name, found[name]) if name in found else default is not NEEDED for name, default in METRICS.items())


def _filled_part_of_epoch(value):
    if value is None:
        return None
    found = value["metrics"]
    return {**value, "metrics": {name: found.get(name, copy.deepcopy(default)) for name, default in METRICS.items()}}


def _is_known_pair(value):
    return value is None or is_pair_of_digests(value)


def _is_known_weights(value):
    return value is None or is_list_of_weights(value)


def _is_temperature(value):
    return value is None or is_temperature(value)


def _is_memory(value):
    return value is None or is_positive_or_zero(value)


def _is_loss_scaling(value):
    if value is None:
        return True
    return isinstance(value, dict) and _is_scale(value.get("scale")) and is_count(value.get("good_steps"))


def _is_scale(value):
    return is_number(value) and value > 0 and math.frexp(value)[0] == 0.5  # a power of two: it only ever halves and doubles


def _of_position(fits, expected, default=NEEDED, fill=None):
    return Key(fits, expected, default, of_position=True, fill=fill)


KEYS = {
    "config": Key(is_dict, "a dict of settings"),
    "classes": Key(is_class_list, f"a list of 2 to {MAX_CLASSES:,} distinct names without line breaks"),
    "epoch": Key(is_count, "a whole number, at least 0"),
    "best": Key(history.is_best, "nothing, or a dict of numbers with epoch, val_acc and val_loss", fill=history.known_columns),
    "list_sha256": Key(is_pair_of_digests, "a dict of the SHA-256 of train and val"),
    "photographs_sha256": Key(_is_known_pair, "nothing, or a dict of the SHA-256 of train and val", default=None),
    "temperature": Key(_is_temperature, f"nothing, or a number from {LOWEST:g} to {HIGHEST:g}", default=None),
    "class_weights": Key(_is_known_weights, "nothing, or a list of numbers above 0", default=None),
    "versions": Key(is_dict_of_texts, "a dict of texts", default={}),
    "history": _of_position(
        _is_history, f"a list of dicts of numbers, one per epoch: {', '.join(history.COLUMNS)}", fill=_filled_history
    ),
    "step": _of_position(is_count, "a whole number, at least 0"),
    "so_far": _of_position(_is_part_of_epoch, "nothing, or a dict of seconds and metrics", fill=_filled_part_of_epoch),
    "seconds": _of_position(is_positive_or_zero, "a number, at least 0"),
    "peak_memory_mb": _of_position(_is_memory, "nothing, or a number, at least 0"),
    "energy_joules": _of_position(_is_memory, "nothing, or a number, at least 0", default=None),
    "loss_scaling": _of_position(_is_loss_scaling, "nothing, or a dict of scale, a power of two, and good_steps", default=None),
}
"""The keys of a header. To add one, add one line here, with a default."""

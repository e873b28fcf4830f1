"""What the header of a checkpoint must hold: a file from a stranger may hold anything there, and be no worse than refused."""

import sys

from data.lists import MAX_CLASSES
from messages.quoting import quoted
from messages.user_error import UserError
from trained.run_folder import HISTORY_COLUMNS


class CheckpointError(UserError):
    """A checkpoint that cannot be read or does not fit; the message names the file and the difference."""


def check_header(header, path) -> None:
    """Raise CheckpointError unless ``header``, of the file ``path``, is a dict whose values are what KEYS says."""
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is {quoted(header)}; expected a dict. {_remedy()}")
    for key, (needed, fits, expected) in KEYS.items():
        if key not in header:
            if needed:
                raise CheckpointError(f"{path}: its header has no {key!r}, which is to be {expected}. {_remedy()}")
        elif not fits(header[key]):
            raise CheckpointError(f"{path}: its header has {key} = {quoted(header[key])}; expected {expected}. {_remedy()}")
    contradiction = _contradiction(header)
    if contradiction:
        raise CheckpointError(f"{path}: its header has {contradiction}. {_remedy()}")


def _contradiction(header):
    """What of a header, each part of which is as it should be, cannot be so together; None where all can."""
    missing = [key for key in POSITION if key not in header]
    if missing and len(missing) < len(POSITION):
        return f"{next(key for key in POSITION if key in header)}, but no {missing[0]}"
    best, history = header["best"], header.get("history")
    if best and best["epoch"] > header["epoch"]:
        return f"a best epoch {best['epoch']} and epoch {header['epoch']}"
    if not missing and bool(header["step"]) != bool(header["so_far"]):
        return f"step {header['step']} and so_far = {quoted(header['so_far'])}"
    if history is not None and len(history) != header["epoch"]:
        return f"a history of {len(history)} epochs and epoch {header['epoch']}"
    return None


def _remedy():
    return "It is damaged or not of this toolkit: take another copy, or train anew"


def _is_count(value):
    return type(value) is int and 0 <= value < 2**31


def _is_number(value):
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # neither NaN, nor infinite, nor 10**400


def _is_text(value):
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_class_list(value):
    return (
        isinstance(value, list)
        and 2 <= len(value) <= MAX_CLASSES
        and all(map(_is_text, value))
        and len(set(value)) == len(value)
        and not any("\n" in name or "\r" in name for name in value)
    )


def _is_preprocessing(value):
    return (
        isinstance(value, dict)
        and _is_count(value.get("image_size"))
        and _is_text(value.get("crop"))
        and all(isinstance(value.get(name), list) and len(value[name]) == 3 for name in ("mean", "std"))
        and all(map(_is_number, [*value["mean"], *value["std"]]))
        and min(value["std"]) > 0
    )


def _is_best(value):
    return value is None or (
        isinstance(value, dict)
        and {"epoch", "val_acc", "val_loss"} <= value.keys()
        and _is_count(value["epoch"])
        and all(map(_is_number, value.values()))
    )


def _is_row(value):
    return isinstance(value, dict) and value.keys() == set(HISTORY_COLUMNS) and all(map(_is_number, value.values()))


def _is_history(value):
    return (
        isinstance(value, list)
        and all(map(_is_row, value))
        and [row["epoch"] for row in value] == list(range(1, len(value) + 1))
    )


def _is_time(value):
    return _is_number(value) and value >= 0


def _is_sum(value):
    """Whether a metric's total and count are numbers; older files have those of the accuracy as lists of one number each."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(_is_number(part[0] if isinstance(part, list) and len(part) == 1 else part) for part in value)


def _is_part_of_epoch(value):
    return value is None or (
        isinstance(value, dict)
        and _is_time(value.get("seconds"))
        and isinstance(value.get("metrics"), dict)
        and value["metrics"].keys() == {"mean_loss", "acc"}
        and all(map(_is_sum, value["metrics"].values()))
    )


def _is_digest(value):
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _is_pair_of_digests(value):
    return isinstance(value, dict) and value.keys() == {"train", "val"} and all(map(_is_digest, value.values()))


def _is_dict(value):
    return isinstance(value, dict)


KEYS = {
    "config": (True, _is_dict, "a dict of settings"),
    "classes": (True, _is_class_list, f"a list of 2 to {MAX_CLASSES:,} distinct names, each of one line"),
    "preprocessing": (False, _is_preprocessing, "a dict of image_size, crop, and mean and std of three numbers each"),
    "epoch": (True, _is_count, "a whole number from 0 on"),
    "best": (True, _is_best, "nothing, or a dict of numbers with epoch, val_acc and val_loss"),
    "list_sha256": (True, _is_pair_of_digests, "a dict of the SHA-256 of train and val"),
    "versions": (False, _is_dict, "a dict"),
    "history": (False, _is_history, f"a list of dicts of numbers, one an epoch: {', '.join(HISTORY_COLUMNS)}"),
    "step": (False, _is_count, "a whole number from 0 on"),
    "so_far": (False, _is_part_of_epoch, "nothing, or a dict of seconds and metrics"),
    "seconds": (False, _is_time, "a number from 0 on"),
    "peak_memory_mb": (False, lambda value: value is None or _is_time(value), "nothing, or a number from 0 on"),
}
"""What a header must and may hold: {key: (must it be there, the rule, the rule in words)}. Other keys are let pass: a later
version may write more."""
POSITION = ("history", "step", "so_far", "seconds", "peak_memory_mb")  # of last.safetensors: all of them or none

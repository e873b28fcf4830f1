"""What a setting is: its declaration, its type, the rules for its values."""

import difflib
import math
import typing
from dataclasses import field

from messages.quoting import quoted
from messages.user_error import UserError

SCRIPTS = ("sample_animals", "train_val_split", "show_photographs", "train", "eval", "compare", "gradcam")
MOST = 2**31 - 1  # of whole numbers, where no setting says less: what follows from them is computed in floats


class ConfigError(UserError):
    """A setting that cannot be used. The message is one line: the name, the value, the rule, the remedy."""


def setting(
    default,
    help,
    *,
    group,
    scripts,
    choices=None,
    low=None,
    high=None,
    above=None,
    length=None,
    metavar=None,
    default_text=None,
    needs=None,
):
    """Declare one setting: a dataclass field whose metadata hold all that parsing, checking and --help need.

    ``low`` and ``high`` are inclusive bounds, ``above`` an exclusive lower one; ``length``: how many values a list must have.
    ``scripts`` names who reads the setting;
    ``needs``: (another setting, the value of it without which this one has no effect).
    """
    unknown = set(scripts.split()) - set(SCRIPTS)
    if unknown:
        raise ValueError(f"setting for unknown scripts {sorted(unknown)}; known: {SCRIPTS}")
    metadata = dict(
        help=help,
        group=group,
        scripts=tuple(scripts.split()),
        choices=choices,
        low=low,
        high=high,
        above=above,
        length=length,
        metavar=metavar,
        default_text=default_text,
        needs=needs,
    )
    return field(default=default, metadata=metadata)


def type_of(item):
    """(element type, is a tuple) of a setting, looking through Optional and tuple[...]."""
    kind = item.type
    if typing.get_origin(kind) is typing.Union:
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0], True
    return kind, False


def check_value(item, value) -> None:
    """Raise ConfigError when ``value`` breaks the rule of the setting ``item``."""
    rule = item.metadata
    _, is_tuple = type_of(item)
    if value is None and item.default is None:
        return
    if is_tuple and not (isinstance(value, tuple) and value):
        raise ConfigError(f"{item.name} = {quoted(value)}: expected a list of at least one")
    if rule["length"] is not None and len(value) != rule["length"]:
        raise ConfigError(f"{item.name} = {quoted(value)}: expected {rule['length']} values, there are {len(value)}")
    for part in value if is_tuple else (value,):
        complaint = _complaint(item, part)
        if complaint:
            raise ConfigError(f"{item.name} = {quoted(part)}: {complaint}")


def _complaint(item, part):
    """What rule of the setting ``item`` its value ``part``, or this part of its value, breaks; None for a good one."""
    rule, (kind, _) = item.metadata, type_of(item)
    if kind is float:
        part = as_float(item, part) if isinstance(part, int) else part
    if not isinstance(part, kind) or (kind is int and isinstance(part, bool)):
        return f"expected {_kind_name(kind)}"
    if kind is float and not math.isfinite(part):
        return "expected a finite number"
    if kind is str and not rule["choices"] and not part:
        return "expected text, and it is empty"
    if kind is str and not _is_plain_text(part):
        return "expected text without zero bytes or surrogates, as files and folders can be named"
    if rule["choices"] and part not in rule["choices"]:
        return f"unknown{nearest(part, rule['choices'])}; one of: {', '.join(rule['choices'])}"
    too_low = rule["low"] is not None and not part >= rule["low"]
    not_above = rule["above"] is not None and not part > rule["above"]
    too_high = rule["high"] is not None and not part <= rule["high"]
    if too_low or not_above or too_high:
        return f"out of range; {_range(rule)}"
    return f"out of range; at most {MOST:,}" if kind is int and part > MOST else None


def _is_plain_text(text):
    """Whether a file can be named so: bytes that are no UTF-8 included, as Python has them in text, but no zero byte."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _kind_name(kind):
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]


def _range(rule):
    bounds = []
    if rule["above"] is not None:
        bounds.append(f"more than {rule['above']:g}")
    if rule["low"] is not None:
        bounds.append(f"at least {rule['low']:g}")
    if rule["high"] is not None:
        bounds.append(f"at most {rule['high']:,}")
    return " and ".join(bounds)


def nearest(name, names) -> str:
    """What may have been meant, as the end of a complaint; empty where nothing is near."""
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5) if isinstance(name, str) else ()
    return f", did you mean {match[0]}?" if match else ""


def from_text(item, text):
    """A command-line word as the setting's type; what does not convert stays text, for check_value to name."""
    kind, _ = type_of(item)
    try:
        return kind(text)
    except ValueError:
        return text


def as_float(item, value):
    """A number of YAML, which reads 1e-3 as text and 1 as a whole number; what does not convert stays, for check_value."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return value
    try:
        return from_text(item, value)
    except OverflowError:
        return math.inf

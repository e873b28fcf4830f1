"""What a setting is: its declaration, its type, the rules for its values."""

import difflib
import math
import typing
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields
from typing import Any, Optional

from messages.quoting import quoted
from messages.user_error import UserError

AFFECTS = ("result", "speed", "place", "nothing")
"""What a training learns; its speed, time and memory; where files are read and written; nothing that a trained run shows."""
MAX_WHOLE_NUMBER = 2**31 - 1  # where a setting declares no ``high``: what follows from whole numbers is computed in floats
AS_DEFAULT = object()  # a value that no setting can have


class ConfigError(UserError):
    """A setting that cannot be used. The message is one line: the name, the value, the rule, the remedy."""


@dataclass(frozen=True)
class Rule:
    """All that parsing, checking, --help and the documents need to know of a setting besides its name, type and default."""

    help: str
    group: str  # heading in --help and in the documents
    part: str  # what the setting belongs to: mostly the function that takes all settings of this part as arguments
    affects: str  # one of AFFECTS
    scripts: tuple[str, ...]  # who reads the setting
    inherited_by: tuple[str, ...] = ()  # scripts that take the value of the run they work on, unless the user gives one
    may_grow: bool = False  # affects the result, and yet --resume may raise it
    before: Any = AS_DEFAULT  # the value of runs that were written before this setting existed
    choices: Optional[tuple[str, ...]] = None
    low: Optional[float] = None  # inclusive
    above: Optional[float] = None  # exclusive
    high: Optional[float] = None  # inclusive
    length: Optional[int] = None  # how many values a list has
    metavar: Optional[str] = None
    default_text: Optional[str] = None  # what --help shows in place of the default
    needs: Optional[tuple[str, Any]] = None  # (another setting, the value of it without which this one has no effect)

    def __post_init__(self):
        if self.affects not in AFFECTS:
            raise ValueError(f"affects = {self.affects!r}: one of: {', '.join(AFFECTS)}")


def setting(default, help: str, *, scripts: str, inherited_by: str = "", **rules) -> Any:
    """Declare one setting: a dataclass field whose metadata are the fields of its Rule.

    ``scripts`` and ``inherited_by`` are names with spaces between them; ``rules``: the other fields of Rule, by name. Raises
    ValueError where ``affects`` is none of AFFECTS.
    """
    rule = Rule(help=help, scripts=tuple(scripts.split()), inherited_by=tuple(inherited_by.split()), **rules)
    return field(default=default, metadata=vars(rule))


def settings_of(
    config_class: type,
    script: Optional[str] = None,
    affects: Optional[str] = None,
    part: Optional[str] = None,
    inherited_by: Optional[str] = None,
) -> list[Field]:
    """The fields of the dataclass that are settings, in order; every argument that is given leaves only some of them.

    ``script``: those that this script reads, or all of several scripts with spaces between them ("train compare").
    ``affects``: those that affect this, or one of several ("speed place"). ``part``: those of this part. ``inherited_by``:
    those that this script takes from a run. Raises ValueError for a name that no setting declares.
    """
    items = [item for item in fields(config_class) if item.metadata]
    for key, words in (("scripts", script), ("affects", affects), ("part", part), ("inherited_by", inherited_by)):
        unknown = set(words.split()) - {name for item in items for name in _names(item, key)} if words else ()
        if unknown:
            raise ValueError(f"{key} = {', '.join(sorted(unknown))!r}: no setting declares this")
    if script:
        items = [item for item in items if set(script.split()) <= set(item.metadata["scripts"])]
    if affects:
        items = [item for item in items if item.metadata["affects"] in affects.split()]
    if part:
        items = [item for item in items if item.metadata["part"] == part]
    if inherited_by:
        items = [item for item in items if inherited_by in item.metadata["inherited_by"]]
    return items


def _names(item, key):
    value = item.metadata[key]
    return value if isinstance(value, tuple) else (value,)


def has_effect(item: Field, config: object) -> bool:
    """False where another setting of ``config`` leaves the setting ``item`` without effect."""
    other, value = item.metadata["needs"] or (None, None)
    return other is None or getattr(config, other) == value


def known_values(config_class: type, values: dict) -> dict:
    """The values of all settings of a run that another version of the toolkit wrote, out of ``values`` by name.

    Names that are no setting here are left out. What is missing has the value that the setting declares for older runs.
    """
    return {item.name: values.get(item.name, value_before(item)) for item in settings_of(config_class)}


def value_before(item: Field) -> object:
    """The value of the setting ``item`` in a run that was written before there was such a setting."""
    before = item.metadata["before"]
    return item.default if before is AS_DEFAULT else before


def type_of(item: Field) -> tuple[type, bool]:
    """(element type, is a tuple) of a setting, looking through Optional and tuple[...]."""
    kind: Any = item.type
    if typing.get_origin(kind) is typing.Union:
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0], True
    return kind, False


def check_value(item: Field, value: Any) -> None:
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
    return f"out of range; at most {MAX_WHOLE_NUMBER:,}" if kind is int and part > MAX_WHOLE_NUMBER else None


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


def nearest(name: object, names: Iterable[str]) -> str:
    """``, did you mean NAME?`` for the end of an error message; empty where no name is near."""
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5) if isinstance(name, str) else ()
    return f", did you mean {match[0]}?" if match else ""


def from_text(item: Field, text: Any) -> Any:
    """A command-line word as the setting's type; what does not convert stays text, for check_value to name."""
    kind, _ = type_of(item)
    try:
        return kind(text)
    except ValueError:
        return text


def as_float(item: Field, value: Any) -> Any:
    """A number of YAML, which reads 1e-3 as text and 1 as a whole number; what does not convert stays, for check_value."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return value
    try:
        return from_text(item, value)
    except OverflowError:
        return math.inf

"""How settings are declared, what types they have, and which rules their values keep."""

import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Optional

from messages.quoting import quoted
from messages.user_error import UserError

AFFECTS = ("result", "speed", "place", "nothing")
"""result: what a training learns; speed: its time and memory; place: which files are read and written; nothing: none of
these."""
MAX_WHOLE_NUMBER = 2**31 - 1  # for settings without ``high``: larger numbers would lose digits where they become floats
AS_DEFAULT = object()  # no setting can have this value


class ConfigError(UserError):
    """A setting that cannot be used. The message is one line: the name, the value, the rule, the remedy."""


@dataclass(frozen=True)
class Rule:
    """What parsing, checking, --help and the documents need to know about a setting, besides its name, type and default."""

    help: str
    group: str  # heading in --help and in the documents
    part: str  # groups settings that belong together, mostly the arguments of one function
    affects: str  # one of AFFECTS
    scripts: tuple[str, ...]  # scripts that read the setting
    inherited_by: tuple[str, ...] = ()  # scripts that take the value of the run they work on, unless the user gives one
    belongs_to: Optional[str] = None  # a setting: where the user gives that one, the value of a run does not fit with it
    is_permission: bool = False  # it counts only where the user gives it now: a run may come from a stranger
    may_grow: bool = False  # --resume may raise it, although it affects the result
    no_limit: Any = None  # the value that counts as the highest
    before: Any = AS_DEFAULT  # the value in runs that were written before this setting existed
    choices: Optional[tuple[str, ...]] = None
    low: Optional[float] = None  # inclusive
    above: Optional[float] = None  # exclusive
    high: Optional[float] = None  # inclusive
    length: Optional[int] = None  # number of values in a list
    metavar: Optional[str] = None
    default_text: Optional[str] = None  # --help shows it instead of the default
    flag: Optional[str] = None  # on the command line, where the name cannot be used as it is
    needs: Optional[tuple[str, Any]] = None  # (other setting, value): this one has an effect only if the other has this value

    def __post_init__(self):
        if self.affects not in AFFECTS:
            raise ValueError(f"affects = {self.affects!r}: one of: {', '.join(AFFECTS)}")


def setting(default: Any, help: str, *, scripts: str, inherited_by: str = "", **rules: Any) -> Any:
    """Declare one setting: a dataclass field with the fields of its Rule as metadata.

    ``scripts`` and ``inherited_by`` are names separated by spaces; ``rules`` are the other fields of Rule, by name. What
    compare.py reads for its trainings, tune.py reads as well. Raises ValueError if ``affects`` is not in AFFECTS.
    """
    readers = scripts.split()
    if {"train", "compare"} <= set(readers):
        readers.insert(readers.index("train") + 1, "tune")
    rule = Rule(help=help, scripts=tuple(readers), inherited_by=tuple(inherited_by.split()), **rules)
    return field(default=default, metadata=vars(rule))


def settings_of(
    config_class: type,
    script: Optional[str] = None,
    affects: Optional[str] = None,
    part: Optional[str] = None,
    inherited_by: Optional[str] = None,
) -> list[Field]:
    """The fields of the dataclass that are settings, in order; each argument selects some of them.

    ``script``: those that this script reads, or that all of several scripts read ("train compare"). ``affects``: those that
    affect this, or one of several ("speed place"). ``part``: those of this part. ``inherited_by``: those that this script
    takes from a run. Raises ValueError for a name that no setting declares.
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


def flag_of(item: Field) -> str:
    """The name of the setting ``item`` on the command line, without the hyphens."""
    return item.metadata["flag"] or item.name


def has_effect(item: Field, config: object) -> bool:
    """False if another setting of ``config`` disables the setting ``item``."""
    other, value = item.metadata["needs"] or (None, None)
    return other is None or getattr(config, other) in (None, value)  # None: nothing is known of the other yet


def is_lower(item: Field, value: Any, than: Any) -> bool:
    """Whether ``value`` of the setting ``item`` is below ``than``; the value that means "no limit" is above all others."""
    low, high = (math.inf if number == item.metadata["no_limit"] else number for number in (value, than))
    return low < high


def known_values(config_class: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """{name: value} of all settings, taken from ``values``, those of a run that another version of the toolkit wrote.

    Ignores names that are not settings; a missing setting gets the value that it declares for older runs.
    """
    return {item.name: values.get(item.name, value_before(item)) for item in settings_of(config_class)}


def value_before(item: Field) -> Any:
    """The value of the setting ``item`` in runs that were written before this setting existed."""
    before = item.metadata["before"]
    return item.default if before is AS_DEFAULT else before


def type_of(item: Field) -> tuple[type, bool]:
    """(type of a value or of an element, whether it is a tuple) of a setting; Optional counts as the type within."""
    kind: Any = item.type
    if typing.get_origin(kind) is typing.Union:
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0], True
    return kind, False


def check_value(item: Field, value: Any) -> None:
    """Raise ConfigError if ``value`` breaks the rule of the setting ``item``."""
    rule = item.metadata
    _, is_tuple = type_of(item)
    if value is None and item.default is None:
        return
    if is_tuple and not (isinstance(value, tuple) and value):
        raise ConfigError(f"{item.name} = {quoted(value)}: expected a list of at least one")
    if rule["length"] is not None and len(value) != rule["length"]:
        raise ConfigError(f"{item.name} = {quoted(value)}: expected {rule['length']} values, found {len(value)}")
    for part in value if is_tuple else (value,):
        complaint = _complaint(item, part)
        if complaint:
            raise ConfigError(f"{item.name} = {quoted(part)}: {complaint}")


def _complaint(item, part):
    """Which rule of the setting ``item`` the value ``part`` (an element, for a tuple) breaks; None if it breaks none."""
    rule, (kind, _) = item.metadata, type_of(item)
    if kind is float:
        part = as_float(item, part) if isinstance(part, int) else part
    if not isinstance(part, kind) or (kind is int and isinstance(part, bool)):
        return f"expected {_kind_name(kind)}"
    if kind is float and not math.isfinite(part):
        return "expected a finite number"
    if kind is str and not rule["choices"] and not part:
        return "expected text, which must not be empty"
    if kind is str and not _is_plain_text(part):
        return "expected text without zero bytes or surrogates, which no file name can hold"
    if rule["choices"] and part not in rule["choices"]:
        return f"unknown{nearest(part, rule['choices'])}; one of: {', '.join(rule['choices'])}"
    too_low = rule["low"] is not None and not part >= rule["low"]
    not_above = rule["above"] is not None and not part > rule["above"]
    too_high = rule["high"] is not None and not part <= rule["high"]
    if too_low or not_above or too_high:
        return f"out of range; {_range(rule)}"
    return f"out of range; at most {MAX_WHOLE_NUMBER:,}" if kind is int and part > MAX_WHOLE_NUMBER else None


def _is_plain_text(text):
    """Whether ``text`` can be a file name. Python represents bytes that are not UTF-8 as low surrogates: these are allowed."""
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


def nearest(name: object, names: Iterable[str], prefix: str = "") -> str:
    """``, did you mean NAME?`` for an error message, with ``prefix`` before NAME; empty if no name is similar."""
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5) if isinstance(name, str) else ()
    return f", did you mean {prefix}{match[0]}?" if match else ""


def from_text(item: Field, text: Any) -> Any:
    """A command-line word as the setting's type; text that does not convert stays text, and check_value refuses it."""
    kind, _ = type_of(item)
    try:
        return kind(text)
    except ValueError:
        return text


def as_float(item: Field, value: Any) -> Any:
    """A value from YAML as a float: YAML reads 1e-3 as text and 1 as a whole number. Other values stay as they are, and
    check_value refuses them."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return value
    try:
        return from_text(item, value)
    except OverflowError:
        return math.inf

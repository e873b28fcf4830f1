"""Reads settings from YAML: a user's recipe, where every key must be known, or the config.yaml of a run.

A recipe may come from a stranger, so a short one must not take long to read. In YAML a few lines can stand for gigabytes
(aliases of aliases), the parser recurses at every bracket, and dates and numbers that cannot exist make it raise errors other
than YAMLError. So length and nesting are bounded, and aliases and tags are refused.
"""

from pathlib import Path
from typing import Any, Union

import yaml

from machine.regular_file import open_regular
from messages.quoting import named, quoted
from messages.reason import reason_of
from settings.declaration import ConfigError, as_float, check_value, known_values, nearest, settings_of, type_of
from settings.format_number import check_format

MAX_BYTES = 100_000  # which take the parser seconds
MAX_LEVELS = 8  # of nested lists; no setting needs more than one
FORMAT_KEY = "format"  # not a setting: the format number of a run's config.yaml


def read_recipe(config_class: type, path: Union[str, Path], newest_format: int) -> dict[str, Any]:
    """{name: value} of the settings in a recipe, each of its setting's type; a run's config.yaml is a recipe as well.

    Raises ConfigError for an unknown key or a bad value (the message names file, key and rule), and FormatError.
    """
    content = _read_content(config_class, path, newest_format)
    known = {item.name for item in settings_of(config_class)}
    for key in content:
        if key not in known:
            raise ConfigError(f"{path}: unknown key {quoted(key)}{nearest(key, known)}; --help lists the settings")
    return _checked(config_class, path, content)


def read_run_settings(config_class: type, path: Union[str, Path], newest_format: int) -> dict[str, Any]:
    """{name: value} of all settings, from a run's config.yaml, which this or another version of the toolkit wrote.

    Ignores unknown keys; a missing setting gets the value that it declares for older runs. Raises ConfigError (the message
    names file, key and rule) and FormatError.
    """
    return known_values(config_class, _checked(config_class, path, _read_content(config_class, path, newest_format)))


def _read_content(config_class, path, newest_format):
    """{key: value} of a YAML file, without the format number, which is checked here."""
    try:
        content, keys = read_yaml(path)
    except RecipeError as error:
        raise ConfigError(f"config = {str(path)!r}: {error}") from None
    for key in (FORMAT_KEY, *(item.name for item in settings_of(config_class))):
        if keys.count(key) > 1:  # YAML would silently use the last one
            raise ConfigError(f"{path}: key {key!r} appears twice")
    check_format(content.pop(FORMAT_KEY, None), newest_format, str(path))
    return content


def _checked(config_class, path, content):
    """{name: value} of the settings in ``content``, each of its setting's type; raises ConfigError."""
    values = {}
    for item in settings_of(config_class):
        if item.name in content:
            values[item.name] = _with_type(item, content[item.name])
            try:
                check_value(item, values[item.name])
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from None
    return values


def _with_type(item, value):
    kind, is_tuple = type_of(item)
    if kind is float:
        value = [as_float(item, part) for part in value] if isinstance(value, list) else as_float(item, value)
    return tuple(value) if is_tuple and isinstance(value, list) else value


class RecipeError(ValueError):
    """A file that is not usable YAML. The message is one line and gives only the reason: the caller names the file."""


def read_yaml(path: Union[str, Path]) -> tuple[dict[Any, Any], list[Any]]:
    """({key: value}, [key, ...] with repeated keys repeated) of a file of lines ``name: value``; raises RecipeError."""
    try:
        with open_regular(path, MAX_BYTES) as file:
            text = file.read().decode("utf-8")
    except FileNotFoundError:
        raise RecipeError("there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot be read: {reason_of(error, path)}") from None
    try:
        loader = _PlainLoader(text)
        document = loader.get_single_node()
        content = loader.construct_document(document) if isinstance(document, yaml.MappingNode) else None
    except RecipeError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError: 2001-99-99, or a number of 5,000 digits; OverflowError: 1:1:1:...:1.5, which YAML reads as a time of day
        raise RecipeError(f"not YAML: {_complaint(error)}") from None
    if content is None:
        raise RecipeError("expected lines of 'name: value'")
    return content, [key.value for key, _ in document.value]  # type: ignore[union-attr]


def _complaint(error):
    """What PyYAML says and the line that it is about; its own text has more lines and names the file "<unicode string>"."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if not (mark and problem):
        return reason_of(error)
    return f"{named(problem)} in line {mark.line + 1}, column {mark.column + 1}"


class _PlainLoader(yaml.SafeLoader):
    """Refuses the parts of YAML that recipes do not need and that can cost more time than their length."""

    level = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        line = f"line {event.start_mark.line + 1}"
        if event.anchor is not None:
            raise RecipeError(f"{line} has an anchor or alias ({named(event.anchor[:40])}): write the value out")
        if getattr(event, "tag", None) is not None:  # if a value does not suit its tag, the parser may raise any error
            raise RecipeError(f"{line} has a tag ({named(event.tag[:60])}): write the value without it")
        if self.level > MAX_LEVELS:
            raise RecipeError(f"{line} is nested deeper than any setting")
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

"""Settings out of YAML: of a user's recipe, where every key must be known, and of the config.yaml of a run.

A recipe may come from a stranger, and is read in about the time that its length takes. YAML lets a few lines stand for
gigabytes (aliases of aliases), calls itself for every bracket, and its parser raises errors that are not its own for dates
and numbers that cannot exist. So length and nesting are bounded, and aliases and tags are refused.
"""

from typing import Any

import yaml

from messages.quoting import named, quoted
from settings.declaration import ConfigError, as_float, check_value, known_values, nearest, settings_of, type_of
from settings.format_number import check_format

MAX_BYTES = 100_000  # the parser takes seconds for as many
MAX_LEVELS = 8  # of lists in lists; no setting has more than one
FORMAT_KEY = "format"  # not a setting: the number of the form in which a run's config.yaml is written


def read_recipe(config_class: type, path: object, newest_format: int) -> dict:
    """The settings that a recipe sets, by name, with their types; a run's config.yaml is a recipe as well.

    Raises ConfigError, whose message names file, key and rule, also for unknown keys, and FormatError.
    """
    content = _read_content(config_class, path, newest_format)
    known = {item.name for item in settings_of(config_class)}
    for key in content:
        if key not in known:
            raise ConfigError(f"{path}: unknown key {quoted(key)}{nearest(key, known)}; --help lists the settings")
    return _checked(config_class, path, content)


def read_run_settings(config_class: type, path: object, newest_format: int) -> dict:
    """All settings in the config.yaml of a run that this or another version of the toolkit wrote, by name.

    Keys that are no settings here are passed over; what is missing has the value that the setting declares for older runs.
    Raises ConfigError, whose message names file, key and rule, and FormatError.
    """
    return known_values(config_class, _checked(config_class, path, _read_content(config_class, path, newest_format)))


def _read_content(config_class, path, newest_format):
    """{key: value} of a file as YAML gives them, without the format number, which is checked."""
    try:
        content, keys = read_yaml(path)
    except RecipeError as error:
        raise ConfigError(f"config = {str(path)!r}: {error}") from None
    for key in (FORMAT_KEY, *(item.name for item in settings_of(config_class))):
        if keys.count(key) > 1:  # YAML itself would take the last one silently
            raise ConfigError(f"{path}: key {key!r} is there twice")
    check_format(content.pop(FORMAT_KEY, None), newest_format, str(path))
    return content


def _checked(config_class, path, content):
    """The values of ``content`` that belong to settings, with the types of these; raises ConfigError."""
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
    """No usable YAML. The message is one line and gives only the reason: the caller names the file."""


def read_yaml(path: Any) -> tuple[dict, list]:
    """({key: value}, [key, ...] as the file has them, repeated ones too) of lines of ``name: value``; raises RecipeError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RecipeError(f"more than {MAX_BYTES:,} bytes, which no recipe needs")
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise RecipeError("there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot be read: {error}") from None
    try:
        loader = _PlainLoader(text)
        document = loader.get_single_node()
        content = loader.construct_document(document) if isinstance(document, yaml.MappingNode) else None
    except RecipeError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError: 2001-99-99, or a number of 5,000 digits; OverflowError: 1:1:1:...:1.5, which YAML takes for a time of day
        raise RecipeError(f"not YAML: {named(' '.join(str(error).split()))}") from None
    if content is None:
        raise RecipeError("expected lines of 'name: value'")
    return content, [key.value for key, _ in document.value]  # type: ignore[union-attr]


class _PlainLoader(yaml.SafeLoader):
    """Refuses what YAML has, recipes do not need, and may cost more than its length."""

    level = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        line = f"line {event.start_mark.line + 1}"
        if event.anchor is not None:
            raise RecipeError(f"{line} has an anchor or alias ({named(event.anchor[:40])}): write the value out")
        if getattr(event, "tag", None) is not None:  # for what does not suit its tag YAML's parser raises any error
            raise RecipeError(f"{line} has a tag ({named(event.tag[:60])}): write the value without")
        if self.level > MAX_LEVELS:
            raise RecipeError(f"{line} is nested deeper than any setting")
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

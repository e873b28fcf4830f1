"""Reads settings from a command line: one flag for each setting that a script reads, and --config for a recipe."""

import argparse
import functools
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from messages.terminal import print_error
from messages.user_error import UserError
from settings.declaration import ConfigError, flag_of, from_text, has_effect, nearest, settings_of, type_of
from settings.recipe import read_recipe


def parse(
    config_class: type, scripts: Sequence[str], newest_format: int, argv: Optional[Sequence[str]], script: Optional[str]
) -> Any:
    """The settings of one invocation, an instance of the dataclass ``config_class``.

    ``scripts``: all scripts; ``script``: the one whose flags are allowed, by default the running one if it is in ``scripts``;
    ``argv``: by default the process's own arguments; ``newest_format``: the newest format of recipes that can be read. On a
    bad setting the process prints one line that names the setting and ends with exit code 2.
    """
    main = sys.modules["__main__"]
    running = Path(getattr(main, "__file__", None) or "").stem
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a class name may have letters that the terminal lacks
    script = script or (running if running in scripts else None)
    description = main.__doc__ if script == running else None
    try:
        return read_command_line(config_class, newest_format, argv, script, description)
    except UserError as error:
        print_error(script or "config", error)
        raise SystemExit(error.exit_code) from None


def read_command_line(
    config_class: type,
    newest_format: int,
    argv: Optional[Sequence[str]] = None,
    script: Optional[str] = None,
    description: Optional[str] = None,
) -> Any:
    """Like ``parse``, but raises ConfigError for a bad setting and FormatError for a recipe in a newer format."""
    parser = _build_parser(config_class, script, description)
    words = [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        raise ConfigError(_complaint(config_class, script, unknown))
    typed: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(parsed).items()}
    recipe: Optional[str] = typed.pop("config", None)
    values = {**(read_recipe(config_class, recipe, newest_format) if recipe else {}), **typed}
    config = config_class(**values, given=frozenset(values))
    for item in settings_of(config_class, script):
        if item.name in typed and not has_effect(item, config):
            other, value = item.metadata["needs"]
            raise ConfigError(f"--{flag_of(item)} has no effect with {other} = {getattr(config, other)!r}, only with {value!r}")
    return config


def _complaint(config_class, script, unknown):
    """The error message for the words ``unknown``, which the parser could not use."""
    flags = [word.split("=")[0] for word in unknown if word.startswith("--")]
    if not flags:
        return f"unexpected {unknown[0]!r}: settings are written --name value; --help lists them all"
    name = flags[0][2:].removeprefix("no-")
    names = [flag_of(item) for item in settings_of(config_class, script)] + ["config", "help"]
    elsewhere = [item for item in settings_of(config_class) if flag_of(item) == name and name not in names]
    if elsewhere:
        owners = ", ".join(f"{owner}.py" for item in elsewhere for owner in item.metadata["scripts"])
        return f"--{name} is no option of {script}.py, but of {owners}"
    return f"unknown option {flags[0]}{nearest(name, names, prefix='--')}; --help lists them all"


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(message)


def _build_parser(config_class, script, description):
    wide = 100
    parser = _OneLineParser(
        prog=f"{script}.py" if script else None,
        description=textwrap.fill(" ".join((description or "").split()), wide),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=wide),
        allow_abbrev=False,
        conflict_handler="error" if script else "resolve",  # settings of two scripts may have the same flag
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="recipe: settings in YAML; the command line wins")
    groups = {}
    for item in settings_of(config_class, script):
        rule = item.metadata
        if rule["group"] not in groups:
            groups[rule["group"]] = parser.add_argument_group(rule["group"])
        kind, is_tuple = type_of(item)
        options = {"help": _help_text(item)}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = rule["metavar"] or {int: "N", float: "X", str: "NAME"}[kind]
            options["type"] = functools.partial(from_text, item)
            if is_tuple:
                options["nargs"] = "+"
        groups[rule["group"]].add_argument(f"--{flag_of(item)}", dest=item.name, **options)
    return parser


def _with_underscores(word):
    """``--batch-size`` as ``--batch_size``: Paddle's tools use underscores, most others use hyphens."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word[2:].partition("=")
    flag = flag.replace("-", "_")
    if flag.startswith("no_"):
        flag = "no-" + flag[3:]  # argparse names the negative of a switch so
    return f"--{flag}{equals}{value}"


def _help_text(item):
    text = item.metadata["help"]
    if item.metadata["choices"]:
        text += f": {', '.join(item.metadata['choices'])}"
    shown = item.metadata["default_text"] or item.default
    if isinstance(shown, bool):
        shown = "on" if shown else "off"
    if shown is not None:
        text += f" (default: {' '.join(shown) if isinstance(shown, tuple) else shown})"
    return text.replace("%", "%%")

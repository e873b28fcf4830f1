"""Where predictions go: the checks of --output, --format, --page and --sort_into, before the first photograph is read."""

import os
from pathlib import Path
from typing import NamedTuple, Optional

from config import Config, ConfigError
from data.folder_walk import leads_out
from prediction.photograph_files import STANDARD_INPUT
from prediction.predictions import SUFFIXES

PAGE_SUFFIX = ".html"
FILES = "name a .csv, .json or .jsonl file"


class Places(NamedTuple):
    """``output``: the predictions' file, in the format ``form``; ``page``: the contact sheet; ``sorted_into``: a folder."""

    output: Path
    form: str
    page: Optional[Path]
    sorted_into: Optional[Path]


def chosen_places(config: Config) -> Places:
    """The places that ``config`` names; raises ConfigError where one of them cannot be used."""
    output, form = _output(config)
    page = output.with_suffix(PAGE_SUFFIX) if config.page else None
    if page is not None and os.path.isdir(page):
        raise ConfigError(f"page: {page} is a folder, and the page would take its name: give another --output")
    return Places(output, form, page, _sorted_into(config))


def _output(config):
    """(file, format): the format is what the user says, else what the file's suffix says."""
    given = config.output
    if given is None:
        return Path(f"predictions{SUFFIXES[config.table_format]}"), config.table_format
    output = Path(given)
    if os.path.isdir(given) or given.endswith(("/", os.sep)):
        raise ConfigError(f"output = {given} is a folder: name a file, as in --output {output / 'predictions.csv'}")
    if os.path.exists(given) and not os.path.isfile(given):
        raise ConfigError(f"output = {given} is no regular file, and predictions replace what is there: {FILES}")
    suffix = output.suffix.lower()
    if suffix in (PAGE_SUFFIX, ".htm"):
        raise ConfigError(f"output = {given}: predictions are no web page: {FILES}; --page writes a page beside it")
    of_suffix = next((form for form, own in SUFFIXES.items() if own == suffix), config.table_format)
    if "table_format" in config.given and config.table_format != of_suffix:
        raise ConfigError(
            f"format = {config.table_format} with output = {given}: they contradict each other; leave out --format, or name "
            f"{output.with_suffix(SUFFIXES[config.table_format])}"
        )
    return output, of_suffix


def _sorted_into(config):
    given = config.sort_into
    if not given:
        return None
    existing = Path(os.path.abspath(given))
    while not os.path.lexists(existing):
        existing = existing.parent
    if not os.path.isdir(existing):
        raise ConfigError(f"sort_into = {given}: {existing} is no folder: choose another place")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"sort_into = {given}: there is no permission to write into {existing}: choose another place")
    for folder in config.images or ():
        if folder != STANDARD_INPUT and os.path.isdir(folder) and not leads_out(given, folder):
            raise ConfigError(
                f"sort_into = {given} is inside {folder}, whose photographs are predicted: the next time the sorted ones would "
                f"be found there too; choose a folder outside of it"
            )
    return Path(given)

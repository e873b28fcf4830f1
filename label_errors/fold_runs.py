"""The runs that together predict every photograph once, each by a network that was not trained on it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from config import Config, ConfigError, load_config
from data.data_folder import DataFolder
from data.data_sets import Digests, digests
from data.data_source import DataSource
from data.fold_folders import count_folds
from data.lists import split_command
from messages.quoting import listed
from messages.terminal import print_line, printable
from trained.known_data import permitted_source
from trained.result import read_result
from trained.run_error import RunError
from trained.run_folder import check_plain, runs_of


class FoldRuns:
    """``runs``: {fold: its runs}, one or several of each fold of ``source``, the place of their photographs."""

    def __init__(self, runs: dict[int, list[Path]], source: DataSource):
        self.runs, self.source = runs, source


def chosen_runs(config: Config) -> FoldRuns:
    """The runs that --runs names, else the newest finished ones of --net, one of each fold, with the same settings and lists.

    Raises RunError where a fold has no run, or where the photographs' place has to be named, DataError where the lists cannot
    be used, ConfigError where --net and --runs are both given.
    """
    if config.runs and "net" in config.given:
        raise ConfigError("net and runs are both given: choose the networks with one of --net and --runs")
    if config.runs:
        return _named_runs([Path(run) for run in config.runs], config)
    found = list(_finished_runs(config.runs_dir, config.net))
    if not found:
        raise RunError(
            f"no finished run of {config.net} in {config.runs_dir} was trained on a fold: "
            f"{split_command(config.data, config.lists_dir)} --folds 5 divides the photographs, then python compare.py "
            f"--nets {config.net} --folds 5 --data {shlex.quote(config.data)} trains one on each"
        )
    newest = found[0][0]
    source, of_folds = _folds(newest, found[0][1], config)
    groups: dict[str, dict[int, list[Path]]] = {}
    for run, settings in found:  # the newest first
        if _has_lists(run, of_folds.get(settings.fold)):
            groups.setdefault(repr(settings.decisive("fold")), {}).setdefault(settings.fold, [run])
    whole = next((group for group in groups.values() if group.keys() == of_folds.keys()), None)
    if whole is None:
        first = next(iter(groups.values()), {})
        _refuse_missing(first, of_folds, next(iter(first.values()), [newest])[0])
    return FoldRuns(dict(sorted((whole or {}).items())), source)


def _named_runs(runs: list[Path], config: Config) -> FoldRuns:
    found: dict[int, list[Path]] = {}
    for run in runs:
        check_plain(run)
        settings = load_config(run / "config.yaml")
        if not settings.fold or read_result(run).get("status") != "finished":
            raise RunError(f"{run} is no finished run on a fold: name those of python train.py --fold 1, 2, ...")
        found.setdefault(settings.fold, []).append(run)
    source, of_folds = _folds(runs[0], load_config(runs[0] / "config.yaml"), config)
    for fold, own in found.items():
        for run in own:
            if not _has_lists(run, of_folds.get(fold)):
                raise RunError(f"{run} was trained on other lists than {source.options} has in fold {fold}: train again")
    _refuse_missing(found, of_folds, runs[0])
    return FoldRuns(dict(sorted(found.items())), source)


def _finished_runs(runs_dir: str, net: str) -> Iterable[tuple[Path, Config]]:
    """(run, its settings) of all finished runs on folds, the newest first; those that cannot be read are passed over."""
    for run in runs_of(runs_dir, net):
        try:
            check_plain(run)
            if read_result(run).get("status") == "finished":
                settings = load_config(run / "config.yaml")
                if settings.fold:
                    yield run, settings
        except (RunError, ConfigError) as error:
            print_line(f"note: {printable(run)} is passed over: {printable(error)}")


def _folds(run: Path, settings: Config, config: Config) -> tuple[DataSource, dict[int, Digests]]:
    """The place of the photographs of ``run``, without a fold, and the digests of each fold there."""
    source = permitted_source(settings, config, run)._replace(fold=0)
    folder = DataFolder.of(source)
    count = count_folds(folder.split_lists)
    if not count:
        raise RunError(
            f"{run} was trained on fold {settings.fold}, and {source.options} has no folds any more: name the place of the "
            f"lists with --data or --lists_dir, or divide the photographs anew and train again"
        )
    return source, {fold: digests(source._replace(fold=fold)) for fold in range(1, count + 1)}


def _has_lists(run: Path, own: Digests | None) -> bool:
    return own is not None and own.are_those_of(read_result(run))


def _refuse_missing(found: dict[int, list[Path]], of_folds: Iterable[int], like: Path) -> None:
    """Raise RunError, with the command that trains them, where a fold has no run; ``like``: a run with the settings."""
    missing = [fold for fold in of_folds if fold not in found]
    if missing:
        more = f", and so on with --fold {', '.join(map(str, missing[1:]))}" if len(missing) > 1 else ""
        raise RunError(
            f"there is no finished run on fold {listed(missing)} with the settings of {like} and the lists as they are: "
            f"python train.py --config {shlex.quote(str(like / 'config.yaml'))} --fold {missing[0]} trains it{more}"
        )

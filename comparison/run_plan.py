"""The trainings and evaluations that a comparison needs: finds the existing ones and runs the others."""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from comparison.compared_settings import has_settings, machine_settings, training_settings
from comparison.script_process import ProcessFailed, run_script
from config import Config, names_of
from data.data_sets import digests, find_data
from data.data_source import DataSource
from evaluation.report import is_evaluated
from messages.terminal import print_line, printable
from networks import check_layout
from trained.result import read_result
from trained.run_error import RunError
from trained.run_folder import check_plain, runs_of
from weights.weight_files import digest_of


def train_missing(config: Config) -> tuple[dict[str, list[Path]], dict[str, list[str]], DataSource]:
    """Train every network of ``nets`` with every seed, unless there is such a run; interrupted runs are continued.

    Returns ({network: finished runs}, {network: reasons why trainings failed}, the data that they were trained on). Raises
    DataError where the data cannot be used, FormatError where a newer version of the toolkit wrote a run, NetworkError where a
    network does not have the layout.
    """
    for net in config.nets:
        check_layout(net, config.layout)
    source = find_data(config.data_source(), may_download="data" not in config.given)
    config, lists = dataclasses.replace(config, data=source.data), digests(source)
    find = functools.partial(find_run, lists=lists, weights=digest_of(config.init_from))
    groups: dict[str, list[Path]] = {net: [] for net in config.nets}
    failures: dict[str, list[str]] = {}
    plan = []  # [(net, seed, settings), ...]
    for seed in range(config.seed, config.seed + config.seeds):
        for net in groups:
            chosen = training_settings(config, net, seed)
            run = find(config.runs_dir, net, chosen)
            if run:
                groups[net].append(run)
                print(f"{net}, seed {seed}: {run} is there already")
            else:
                plan.append((net, seed, chosen))
    started = time.monotonic()
    for number, (net, seed, chosen) in enumerate(plan):
        print(f"training {number + 1} of {len(plan)}: {net}, seed {seed}{_time_left(started, number, len(plan))}", flush=True)
        try:
            interrupted = find(config.runs_dir, net, chosen, statuses=("unfinished", "interrupted", "failed"))
            if not (interrupted and continue_run(interrupted, config)):
                run_training({**chosen, **machine_settings(config)})
        except ProcessFailed as error:
            failures.setdefault(net, []).append(f"seed {seed} failed: {error}")
            continue
        run = find(config.runs_dir, net, chosen)
        if run is None:
            failures.setdefault(net, []).append(f"seed {seed}: the lists changed while it was trained")
        else:
            groups[net].append(run)
    return {net: runs for net, runs in groups.items() if runs}, failures, source


def find_run(
    runs_dir: Union[str, Path],
    net: str,
    chosen: dict[str, Any],
    lists: dict[str, str],
    statuses: Sequence[str] = ("finished",),
    weights: Optional[str] = None,
) -> Optional[Path]:
    """The newest run of ``net`` with the settings ``chosen``, by name, and one of the ``statuses``, or None.

    ``lists``: digests of the training and validation lists; ``weights``: of the file that training starts from. Excluded are
    runs that were started with fewer epochs, because their learning rate followed another schedule, and runs that diverged.
    Raises FormatError.
    """
    for run in runs_of(runs_dir, net):
        try:
            check_plain(run)
        except RunError as error:
            _say_once(f"note: {printable(run)} is passed over: {printable(error)}")
            continue
        result = read_result(run)
        if result.get("status") not in statuses or result.get("list_sha256") != lists or result.get("diverged"):
            continue
        if result.get("epochs_before") or result.get("init_from_sha256") != weights:
            continue
        if has_settings(run, chosen):
            return run
    return None


@functools.cache
def _say_once(line):
    print_line(line)


def run_training(values: dict[str, Any], *arguments: object) -> None:
    """Run train.py with the settings ``values``, by name, and further ``arguments``; raises ProcessFailed."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "settings.yaml"
        recipe.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        run_script("train.py", ["--config", recipe, *arguments])


def continue_run(run: Path, config: Config) -> bool:
    """Train an interrupted run to its end; False where it cannot be continued, e.g. as another process is training it.

    Raises ProcessFailed where the continued training fails.
    """
    print(f"going on with {run}", flush=True)
    try:
        run_training(machine_settings(config), "--resume", run)
    except ProcessFailed:
        if read_result(run).get("status") == "failed":
            raise
        print(f"{run} cannot be continued; another training begins", flush=True)
        return False
    return True


def evaluate_missing(
    groups: dict[str, list[Path]],
    failures: dict[str, list[str]],
    source: Optional[DataSource],
    config: Config,
    list_sha256: Optional[str] = None,
) -> None:
    """Evaluate every run whose best epoch has not been evaluated on its own list of ``config.split``.

    A run that cannot be evaluated moves from ``groups`` to ``failures``. ``source``: the current place of the photographs;
    None: as in the training. ``list_sha256``: of the list; None: any that is the run's own counts.
    """
    machine = {name: value for name, value in machine_settings(config).items() if name in names_of("eval", affects="speed")}
    flags = [word for name, value in machine.items() for word in (f"--{name}", value)]
    flags += ["--split", config.split]
    if source is None:
        flags += ["--follow_links"] if config.follow_links and "follow_links" in config.given else []
        flags += ["--lists_dir", config.lists_dir] if "lists_dir" in config.given else []
    else:
        flags += ["--data", source.data, "--follow_links" if source.follow_links else "--no-follow_links"]
        flags += ["--lists_dir", source.lists_dir] if source.lists_dir is not None else []
    for name, runs in list(groups.items()):
        for run in list(runs):
            if is_evaluated(run, config.split, list_sha256):
                continue
            print(f"evaluating {run}", flush=True)
            try:
                run_script("eval.py", ["--run", run, *flags], quiet=True)
                own = is_evaluated(run, config.split, list_sha256)
                reason = None if own else "its evaluation is not of its own best epoch and list"
            except ProcessFailed as error:
                reason = str(error)
            if reason:
                failures.setdefault(name, []).append(f"{run} cannot be evaluated: {reason}")
                runs.remove(run)
        if not runs:
            del groups[name]


def _time_left(started, done, total):
    """Text about the time that the remaining trainings take, judged by the ``done`` ones since ``started``."""
    if not done:
        return ""
    minutes = (time.monotonic() - started) / done * (total - done) / 60
    return f", about {minutes:.0f} min left" if minutes >= 1 else ", about a minute left"

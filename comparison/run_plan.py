"""Trainings and evaluations that a comparison needs: which of them are there already, and running the others."""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

import yaml

from comparison.compared_settings import has_settings, machine_settings, training_settings
from comparison.script_process import ProcessFailed, run_script
from config import Config, names_of
from data.data_sets import digests, find_data
from evaluation.report import is_evaluated
from trained.result import read_result
from weights.weight_files import digest_of


def train_missing(config: Config) -> tuple[dict, dict, str]:
    """Train every network of ``nets`` with every seed, as far as no such run is there; one that was interrupted goes on.

    Returns ({network: finished runs by seed}, {network: [why a training failed]}, the data that they saw).
    """
    data = find_data(config.dataset, config.data, may_download="data" not in config.given)
    config, lists = dataclasses.replace(config, data=data), digests(config.dataset, data, config.follow_links)
    find = functools.partial(find_run, lists=lists, weights=digest_of(config.init_from))
    groups, failures, plan = {net: [] for net in config.nets}, {}, []
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
    return {net: runs for net, runs in groups.items() if runs}, failures, data


def find_run(
    runs_dir: Union[str, Path],
    net: str,
    chosen: dict,
    lists: dict,
    statuses: Sequence[str] = ("finished",),
    weights: Optional[str] = None,
) -> Optional[Path]:
    """The newest run of ``net`` that has all of the settings ``chosen``, a dict by name, and one of the ``statuses``, or None.

    ``lists``: digests of the training and validation lists; ``weights``: of the file that training starts from. Runs that began
    with fewer epochs do not count, for their learning rate followed another schedule first. Raises FormatError.
    """
    for run in sorted(Path(runs_dir, net).glob("[0-9]*"), key=lambda entry: entry.name.zfill(9), reverse=True):
        result = read_result(run)
        if result.get("status") not in statuses or result.get("list_sha256") != lists or result.get("diverged"):
            continue
        if result.get("epochs_before") or result.get("init_from_sha256") != weights:
            continue
        if has_settings(run, chosen):
            return run
    return None


def run_training(values: dict, *arguments: object) -> None:
    """Run train.py with settings by name; raises ProcessFailed."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "settings.yaml"
        recipe.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        run_script("train.py", ["--config", recipe, *arguments])


def continue_run(run: Path, config: Config) -> bool:
    """Train an interrupted run to its end; False where that fails, as with one that another process is training now."""
    print(f"going on with {run}", flush=True)
    try:
        run_training(machine_settings(config), "--resume", run)
    except ProcessFailed:
        if read_result(run).get("status") == "failed":  # it went on, and failed
            raise
        print(f"{run} cannot be continued; another training begins", flush=True)
        return False
    return True


def evaluate_missing(config: Config, groups: dict, failures: dict, data: Optional[str]) -> None:
    """Evaluate every run whose best epoch has no evaluation on its own validation list yet.

    A run that cannot be evaluated leaves ``groups`` for ``failures``. ``data``: where its photographs are now; None: where they
    were when it was trained.
    """
    machine = {name: value for name, value in machine_settings(config).items() if name in names_of("eval", affects="speed")}
    flags = [word for name, value in machine.items() for word in (f"--{name}", value)]
    if data:
        flags += ["--data", data, "--follow_links" if config.follow_links else "--no-follow_links"]
    for name, runs in list(groups.items()):
        for run in list(runs):
            if is_evaluated(run):
                continue
            print(f"evaluating {run}", flush=True)
            try:
                run_script("eval.py", ["--run", run, *flags], quiet=True)
                reason = None if is_evaluated(run) else "its evaluation is not of its own best epoch and list"
            except ProcessFailed as error:
                reason = str(error)
            if reason:
                failures.setdefault(name, []).append(f"{run} cannot be evaluated: {reason}")
                runs.remove(run)
        if not runs:
            del groups[name]


def _time_left(started, done, total):
    if not done:
        return ""
    minutes = (time.monotonic() - started) / done * (total - done) / 60
    return f", about {minutes:.0f} min left" if minutes >= 1 else ", about a minute left"

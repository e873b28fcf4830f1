"""One trial: train.py on the lists of the search, in a process of its own, with a schedule of the trial's own length."""

import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple, Optional

from comparison.compared_settings import as_options, has_settings, machine_settings, training_settings
from comparison.script_process import ProcessFailed, TookTooLong
from comparison.side_by_side import Place, PlaceLost
from config import Config, settings
from trained.history import read_history
from trained.result import read_result
from trained.run_folder import runs_of
from tuning.grid import Pair
from tuning.tune_error import TuneError

LISTS, TRIALS = "lists", "trials"
"""Folders in that of a search: the lists that trials train on, and their runs."""
OF_PHOTOGRAPHS = ("dataset", "data", "follow_links")  # of the part "data"; the others choose among lists


class Outcome(NamedTuple):
    """Of a trial: see record.Trial. ``epoch_seconds``: of its last epoch, validation included; None where it diverged."""

    accuracy: Optional[float]
    loss: Optional[float]
    seconds: float
    run: str
    epoch_seconds: Optional[float]


def trial_config(config: Config, folder: Path, pair: Pair, epochs: int) -> Config:
    """The settings of a trial of ``pair`` in the search of ``folder``: those of ``config``, which asks for longer trainings.

    What is given in epochs shrinks in proportion, and every trial trains to its end and keeps its best epoch.
    """
    share = epochs / config.epochs
    # Which of the user's lists to train on has been settled: a trial has lists of its own
    items = settings("train", part="data")
    of_lists: dict[str, Any] = {item.name: item.default for item in items if item.name not in OF_PHOTOGRAPHS}
    return dataclasses.replace(
        dataclasses.replace(config, **of_lists),
        learning_rate=pair.learning_rate,
        weight_decay=pair.weight_decay,
        epochs=epochs,
        warmup_epochs=None if config.warmup_epochs is None else config.warmup_epochs * share,
        step_epochs=max(1, round(config.step_epochs * share)),
        ema_epochs=(config.ema_epochs or 0.0) * share,
        early_stop=0,
        save_best_above=0.0,
        lists_dir=str(folder / LISTS),
        runs_dir=str(folder / TRIALS),
    ).resolved()


def run_trial(config: Config, place: Place, most: Optional[float] = None) -> Outcome:
    """Train in ``place`` as ``config``, of trial_config, says, or go on with such a training that was interrupted.

    Raises TuneError where the training fails for another reason than that it diverged: such a reason does not lie in the pair.
    Raises TookTooLong after ``most`` seconds, PlaceLost.
    """
    started = time.monotonic()
    chosen = training_settings(config, config.net, config.seed)
    machine = {**machine_settings(config), **place.settings}
    run = _begun(config, chosen)
    status = read_result(run).get("status") if run else None
    if run is None or status != "finished":
        error = _run(place, [*as_options(machine, "train"), "--resume", run], most) if run else None
        if run is None or (error and not read_result(run).get("diverged")):
            if run:
                shutil.rmtree(run)  # what was interrupted cannot be continued
            error = _run(place, as_options({**chosen, **machine}, "train"), most)
        run = _begun(config, chosen)
        if run is None or (error and not read_result(run).get("diverged")):
            raise TuneError(f"a trial failed: {error or 'its run has gone'}")
    return _outcome(run, time.monotonic() - started)


def forget_weights(config: Config, run: str) -> None:
    """Remove the weights of a trial, which nobody needs any more: those of thirty trials would fill gigabytes."""
    for file in (Path(config.runs_dir) / config.net / run).glob("*.safetensors"):
        file.unlink()


def _begun(config: Config, chosen: dict[str, Any]) -> Optional[Path]:
    """The newest run with the settings ``chosen``; no two trials have the same."""
    return next((run for run in runs_of(config.runs_dir, config.net) if has_settings(run, chosen)), None)


def _run(place, arguments, most) -> Optional[str]:
    """Run train.py without its output; returns why it failed, or None."""
    try:
        place.run("train.py", arguments, quiet=True, seconds=most)
    except (TookTooLong, PlaceLost):
        raise
    except ProcessFailed as error:
        return str(error)
    return None


def _outcome(run: Path, seconds: float) -> Outcome:
    result = read_result(run)
    best = result.get("best")
    seconds = max(seconds, result.get("seconds", 0.0))  # where it was interrupted, or measured an epoch before
    if result.get("diverged"):
        return Outcome(None, None, seconds, run.name, None)
    if not best:
        raise TuneError(f"{run} has no best epoch: {result.get('best_not_saved', 'its result.json is damaged')}")
    return Outcome(best["val_acc"], best["val_loss"], seconds, run.name, read_history(run)[-1]["seconds"])

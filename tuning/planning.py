"""The plan of a search: its lists, what an epoch costs on this machine, and the rungs that fit into the budget."""

import math
from pathlib import Path
from typing import Any, Callable

import paddle

from comparison.compared_settings import training_settings
from comparison.script_process import TookTooLong
from comparison.side_by_side import Places
from config import Config
from data.photograph_dataset import PhotographDataset
from messages.terminal import printable
from ops import fused
from training.session import open_data
from tuning.grid import Grid, Pair, grid_of
from tuning.inner_split import write_inner_lists
from tuning.record import Search, write_search
from tuning.rungs import RESERVE, USEFUL_STEPS, Costs, Rung, plan_rungs, smallest_search
from tuning.trials import LISTS, forget_weights, run_trial, trial_config
from tuning.tune_error import TuneError
from weights.weight_files import digest_of

Clock = Callable[[], float]
"""Returns seconds, as time.monotonic does."""


def what_is_sought(config: Config, train_set: PhotographDataset) -> dict[str, Any]:
    """What tells a search from others, as JSON gives it back: two with the same choose the same, as far as time allows."""
    settings = training_settings(config, config.net, config.seed)
    return {
        "settings": settings,
        "learning_rates": config.learning_rates and list(config.learning_rates),
        "weight_decays": config.weight_decays and list(config.weight_decays),
        "hold_out": config.hold_out,
        "budget": config.budget,
        "list_sha256": train_set.digest(),
        "photographs_sha256": train_set.photographs_digest(),
        "init_from_sha256": digest_of(config.init_from),
    }


def begin(
    config: Config, sought: dict[str, Any], train_set: PhotographDataset, folder: Path, clock: Clock, started: float,
    places: Places,
) -> Search:  # fmt: skip
    """Write the lists, measure an epoch, plan the rungs and write tune.json; raises TuneError where the budget is too small."""
    grid = grid_of(config)
    trained, held_out = write_inner_lists(train_set, config.data_source(), folder / LISTS, config.hold_out, config.seed)
    left_out = len({sample.name for sample in train_set.samples}) - trained - held_out
    without = f", {left_out} left out: see {printable(folder / LISTS / 'split_report.csv')}" if left_out else ""
    print(
        f"{trained} photographs for the trials to train on, {held_out} held out of the training list to rank them{without}; "
        f"the validation list stays unread; folder {printable(folder)}",
        flush=True,
    )
    build_operators(config)
    costs = measure(config, grid, folder, places)
    steps = max(1, trained // (config.batch_size * config.accumulate))
    shortest = min(config.epochs, math.ceil(USEFUL_STEPS / steps))
    grid, rungs = planned(config, grid, costs, shortest, clock() - started)
    search = Search(
        sought, {"train": trained, "val": held_out}, grid.learning_rates, grid.weight_decays, tuple(grid.pairs(config.seed)),
        grid.usual, costs, tuple(rungs), seconds=clock() - started,
    )  # fmt: skip
    write_search(folder, search)
    print(plan_text(config.budget, costs, rungs), flush=True)
    return search


def build_operators(config: Config) -> None:
    """Build the fused operators, if they are not: what happens once must not count as the start of every trial.

    Raises FusedError where they are required and cannot run.
    """
    fused.set_mode(config.fused)
    fused.usable(paddle.zeros([1, 64, 8, 8]))


def measure(config: Config, grid: Grid, folder: Path, places: Places) -> Costs:
    """What trials cost, by one of a single epoch. Raises TuneError where it diverges: then no pair is worth trying; and where
    the budget has no room for as many epochs as there are pairs."""
    pair = grid.usual or Pair(grid.learning_rates[0], grid.weight_decays[0])
    trial = trial_config(config, folder, pair, epochs=1)
    most = config.budget * 60 / _size(_grids(config, grid)[-1])
    if config.cache is not None:
        open_data(trial)  # decodes the photographs: what happens once must not count as the start of every trial
    try:
        outcome = places.attempt(lambda place: run_trial(trial, place, most))
    except TookTooLong:
        raise TuneError(
            f"budget = {config.budget:g}: an epoch takes more than {most / 60:.1f} min here, which leaves no time to compare "
            f"anything; give a larger --budget, or a smaller --image_size"
        ) from None
    forget_weights(trial, outcome.run)
    if outcome.epoch_seconds is None:
        option = "a lower --learning_rate" if grid.usual else "lower --learning_rates"
        raise TuneError(f"{pair}: the first epoch diverged already; give {option}")
    return Costs(max(outcome.seconds - outcome.epoch_seconds, 0.0), outcome.epoch_seconds, places.count)


def planned(config: Config, grid: Grid, costs: Costs, shortest: int, spent: float) -> tuple[Grid, list[Rung]]:
    """The grid, a coarser one where time is short, and the rungs; ``spent``: seconds so far.

    Raises TuneError where the budget is too small.
    """
    seconds = config.budget * 60 * (1 - RESERVE) - spent
    grids = _grids(config, grid)
    for tried in grids:
        rungs = plan_rungs(_size(tried), tried.usual is not None, config.epochs, shortest, costs, seconds)
        if rungs:
            return tried, rungs
    least = smallest_search(_size(grids[-1]), grids[-1].usual is not None, config.epochs, shortest, costs)
    minutes = math.ceil((least + spent) / (1 - RESERVE) / 6) / 10
    raise TuneError(
        f"budget = {config.budget:g}: an epoch takes {costs.epoch:.1f} s and a start {costs.start:.1f} s here, so the smallest "
        f"search that tells anything takes {minutes:g} min; give --budget {minutes:g}, or a smaller --image_size"
    )


def _grids(config, grid):
    """The grid, and those that may take its place; values that the user gave are all tried."""
    return [grid] if config.learning_rates or config.weight_decays else [grid, *grid.coarser()]


def _size(grid):
    return len(grid.learning_rates) * len(grid.weight_decays)


def plan_text(budget: float, costs: Costs, rungs: list[Rung]) -> str:
    """The line that says what the plan is."""
    parts = [f"{counted(rung.trials, 'trial')} of {counted(rung.epochs, 'epoch')}" for rung in rungs]
    minutes = costs.of_rungs(rungs) / 60
    at_once = f", {costs.at_once} at a time" if costs.at_once > 1 else ""
    return (
        f"an epoch takes {costs.epoch:.1f} s, a start {costs.start:.1f} s; "
        f"planned for {minutes:.1f} of {budget:g} min{at_once}: " + ", then the best in ".join(parts)
    )


def counted(number: int, noun: str) -> str:
    """``1 epoch``, ``2 epochs``."""
    return f"{number} {noun}{'s' * (number != 1)}"

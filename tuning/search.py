"""The work of tune.py: plan a search or find the one that was interrupted, run its trials, write what they found."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

from comparison.compared_settings import training_settings
from comparison.script_process import TookTooLong
from config import Config
from data import DATASETS
from data.data_sets import find_data, open_side
from data.photograph_dataset import PhotographDataset
from machine.locks import ClaimedError, claim
from machine.temporary_folder import share_what_cannot_be_cached
from messages.terminal import printable
from networks import check_layout
from trained.run_folder import new_folder, runs_of
from tuning.findings import best_trial, last_rung, report, write_findings
from tuning.grid import Grid, Pair, grid_of
from tuning.inner_split import write_inner_lists
from tuning.ranking import ranked
from tuning.record import Search, Trial, read_search, write_search
from tuning.rungs import RESERVE, USEFUL_STEPS, Costs, Rung, plan_rungs, smallest_search, survivors
from tuning.trials import LISTS, Outcome, forget_weights, run_trial, trial_config
from tuning.tune_error import TuneError
from weights.weight_files import digest_of

NAME = "tune"
Clock = Callable[[], float]


def tune(config: Config, clock: Clock = time.monotonic) -> int:
    """Search for the learning rate and weight decay of ``config.net``; returns the exit code.

    Raises a UserError where the data, the settings or the budget allow no search, OSError.
    """
    started = clock()
    if not DATASETS[config.dataset].in_folder:
        raise TuneError(
            f"dataset = {config.dataset!r}: a search holds out a part of the training list, which only a folder of photographs "
            f"has; unpack the photographs into class folders"
        )
    if config.recipe is not None and not Path(config.recipe).absolute().parent.is_dir():
        raise TuneError(f"output = {config.recipe!r}: there is no folder {Path(config.recipe).parent} to write the recipe into")
    check_layout(config.net, config.resolved().layout)
    share_what_cannot_be_cached()
    source = find_data(config.data_source(), may_download=False)
    train_set = open_side(source, "train", image_size=1)
    config = config.resolved_for(len(train_set))
    grid, sought = grid_of(config), what_is_sought(config, train_set)
    for folder in runs_of(config.runs_dir, NAME):
        search = read_search(folder)
        if search is None or search.sought != sought:
            continue
        with _claimed(folder):
            search = read_search(folder) or search  # another process may have gone on with it until now
            if search.finished:
                print(f"{printable(folder)} holds this search already; another --seed begins a new one")
            else:
                left = f"{len(search.trials)} trials are done" if search.trials else "no trial is done yet"
                print(f"going on with {printable(folder)}: {left}", flush=True)
                search = carry_out(search, config, folder, clock)
            return _end(search, config, folder)
    with new_folder(config.runs_dir, NAME) as folder:
        claimed = claim(folder / ".lock")
        search = begin(config, grid, sought, train_set, folder, clock, started)
    with claimed:
        return _end(carry_out(search, config, folder, clock), config, folder)


def what_is_sought(config: Config, train_set: PhotographDataset) -> dict[str, Any]:
    """What tells a search from others, as JSON gives it back: two with the same choose the same, as far as time allows."""
    settings = training_settings(config.resolved(), config.net, config.seed)
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
    config: Config, grid: Grid, sought: dict[str, Any], train_set: PhotographDataset, folder: Path, clock: Clock, started: float
) -> Search:
    """Write the lists, measure an epoch, plan the rungs and write tune.json; raises TuneError where the budget is too small."""
    source = config.data_source()
    trained, held_out = write_inner_lists(train_set, source, folder / LISTS, config.hold_out, config.seed)
    left_out = len({sample.name for sample in train_set.samples}) - trained - held_out
    without = f", {left_out} left out: see {printable(folder / LISTS / 'split_report.csv')}" if left_out else ""
    print(
        f"{trained} photographs for the trials to train on, {held_out} held out of the training list to rank them{without}; "
        f"the validation list stays unread; folder {printable(folder)}",
        flush=True,
    )
    costs = measure(config, grid, folder)
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


def measure(config: Config, grid: Grid, folder: Path) -> Costs:
    """What trials cost, by one of a single epoch. Raises TuneError where it diverges: then no pair is worth trying; and where
    the budget has no room for as many epochs as there are pairs."""
    trial = trial_config(config, folder, grid.pairs(config.seed)[0], epochs=1)
    most = config.budget * 60 / _size(_grids(config, grid)[-1])
    try:
        outcome = run_trial(trial, most)
    except TookTooLong:
        raise TuneError(
            f"budget = {config.budget:g}: an epoch takes more than {most / 60:.1f} min here, which leaves no time to compare "
            f"anything; give a larger --budget, or a smaller --image_size"
        ) from None
    forget_weights(trial, outcome.run)
    if outcome.epoch_seconds is None:
        raise TuneError(f"{grid.pairs(config.seed)[0]}: the first epoch diverged already; give a lower --learning_rate")
    return Costs(max(outcome.seconds - outcome.epoch_seconds, 0.0), outcome.epoch_seconds)


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
    parts = [f"{rung.trials} trials of {_count(rung.epochs, 'epoch')}" for rung in rungs]
    minutes = costs.of_rungs(rungs) / 60
    return (
        f"an epoch takes {costs.epoch:.1f} s, a start {costs.start:.1f} s; planned for {minutes:.1f} of {budget:g} min: "
        + ", then the best in ".join(parts)
    )


def carry_out(search: Search, config: Config, folder: Path, clock: Clock) -> Search:
    """Run the trials that are left of the plan, and write tune.json after each; returns the search with its end.

    Raises TuneError where a trial fails, or all diverge.
    """
    before, begun, pace = search.seconds, clock(), Pace(search.costs)

    def spent():
        return before + clock() - begun

    for number, rung in enumerate(search.rungs, start=1):
        for pair in pairs_of_rung(search, number):
            if any(trial.rung == number and trial.pair == pair for trial in search.trials):
                continue
            if spent() + pace.of(rung.epochs) > config.budget * 60:
                reason = f"the budget of {config.budget:g} min left no time for {trials_left(search)} more trials"
                search = search._replace(stopped=reason)
                write_search(folder, search)
                return search
            search = _try(search, config, folder, number, pair, pace, spent)
        if best_trial(search) is None:
            raise TuneError("every trial diverged: give lower --learning_rates")
    return search


def _try(search, config, folder, number, pair, pace, spent):
    """Run one trial; returns the search with it, which is written."""
    epochs = search.rungs[number - 1].epochs
    trial = trial_config(config, folder, pair, epochs)
    done = len(search.trials)
    mark = " (the usual pair)" if pair == search.usual else ""
    with _line(f"trial {done + 1} of {done + trials_left(search)}, {_count(epochs, 'epoch')}: {pair}{mark}: "):
        try:
            outcome: Outcome = run_trial(trial)
        except KeyboardInterrupt:
            write_search(folder, search._replace(seconds=spent()))
            raise
        pace.add(outcome.seconds, epochs)
        row = Trial(number, epochs, pair, outcome.accuracy, outcome.loss, outcome.seconds, outcome.run)
        search = search._replace(trials=(*search.trials, row), seconds=spent())
        write_search(folder, search)
        forget_weights(trial, outcome.run)
        result = "diverged" if row.accuracy is None else f"accuracy {row.accuracy:.4f}"
        print(f"{result}; {time_left(search, pace)}", flush=True)
    return search


@contextmanager
def _line(start: str) -> Iterator[None]:
    """Print ``start``; the block prints the rest of the line. If it raises, the line ends there."""
    print(start, end="", flush=True)
    try:
        yield
    except BaseException:
        print(flush=True)
        raise


class Pace:
    """How long trials take, by ``costs`` and by those since: a machine does not always work as fast as at the start."""

    def __init__(self, costs: Costs):
        self.costs, self.expected, self.taken = costs, 0.0, 0.0

    def add(self, seconds: float, epochs: int) -> None:
        self.expected += self.costs.of(epochs)
        self.taken += seconds

    def of(self, epochs: int) -> float:
        return self.costs.of(epochs) * (self.taken / self.expected if self.expected else 1.0)


def pairs_of_rung(search: Search, number: int) -> list[Pair]:
    """The pairs that the rung ``number``, from 1, tries: of the first all, of the others the best of the one before.

    The usual pair stays in to the end, so that the gain is known at equal length, unless it diverged.
    """
    if number == 1:
        return list(search.pairs)
    before = ranked(trial for trial in search.trials if trial.rung == number - 1)
    pairs = [trial.pair for trial in before if trial.accuracy is not None]
    kept = pairs[: survivors(_without_usual(search, number - 1))]
    usual = [pair for pair in pairs if pair == search.usual and pair not in kept]
    return kept + usual


def _without_usual(search, number):
    """The pairs of a rung, without the place that is kept for the usual pair in all but the first."""
    size = search.rungs[number - 1].trials
    return size - (number > 1 and search.usual is not None and size < len(search.pairs))


def trials_left(search: Search) -> int:
    """How many trials are left of the plan, at most."""
    return sum(rung.trials for rung in _rest(search))


def time_left(search: Search, pace: Pace) -> str:
    """Text about the time that the rest of the plan takes."""
    seconds = sum(rung.trials * pace.of(rung.epochs) for rung in _rest(search))
    if not seconds:
        return "that was the last"
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


def _rest(search) -> list[Rung]:
    """The rungs with the trials that they still need, at most."""
    at = last_rung(search) or 1
    now = len(pairs_of_rung(search, at)) - sum(trial.rung == at for trial in search.trials)
    return [Rung(now, search.rungs[at - 1].epochs), *search.rungs[at:]]


def _count(number, noun):
    return f"{number} {noun}{'s' * (number != 1)}"


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    try:
        held = claim(folder / ".lock")
    except ClaimedError:
        raise TuneError(
            f"{folder} is this very search, and another process is at work on it: wait until it ends, or give another --seed"
        ) from None
    with held:
        yield


def _end(search: Search, config: Config, folder: Path) -> int:
    """Write and print what was found; returns the exit code. Raises TuneError where nothing was."""
    if best_trial(search) is None:
        raise TuneError(f"{search.stopped or 'no trial has ended'}: give a larger --budget")
    write_findings(search, config, folder)
    if not search.finished:
        search = search._replace(finished=True)
        write_search(folder, search)
    print(report(search, config, folder), end="")
    return 0

"""The work of tune.py: begin a search or find the one that was interrupted, run its trials, write what they found."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config import Config
from data import DATASETS
from data.data_sets import find_data, open_side
from machine.locks import ClaimedError, claim
from machine.temporary_folder import share_what_cannot_be_cached
from messages.terminal import printable
from networks import check_layout
from processes.launcher import count_processes
from trained.run_folder import new_folder, runs_of
from tuning.findings import best_trial, last_rung, report, write_findings
from tuning.grid import Pair
from tuning.planning import Clock, begin, counted, what_is_sought
from tuning.ranking import ranked
from tuning.record import Search, Trial, read_search, write_search
from tuning.rungs import Costs, Rung, survivors
from tuning.trials import Outcome, forget_weights, run_trial, trial_config
from tuning.tune_error import TuneError

NAME = "tune"


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
    config = config.over(count_processes(config.processes, config.device)).resolved_for(len(train_set))
    sought = what_is_sought(config, train_set)
    for folder in runs_of(config.runs_dir, NAME):
        search = read_search(folder)
        if search is None or search.sought != sought:
            continue
        with _claimed(folder):
            search = read_search(folder) or search  # another process may have gone on with it until now
            if search.finished:
                print(f"{printable(folder)} holds this search already; another --seed begins a new one")
            else:
                print(f"going on with {printable(folder)} after {counted(len(search.trials), 'trial')}", flush=True)
                search = carry_out(search, config, folder, clock)
            return _end(search, config, folder)
    with new_folder(config.runs_dir, NAME) as folder:
        claimed = claim(folder / ".lock")
        search = begin(config, sought, train_set, folder, clock, started)
    with claimed:
        return _end(carry_out(search, config, folder, clock), config, folder)


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
                missing = counted(trials_left(search), "more trial")
                reason = f"the budget of {config.budget:g} min left no time for {missing}"
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
    with _line(f"trial {done + 1} of {done + trials_left(search)}, {counted(epochs, 'epoch')}: {pair}{mark}: "):
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

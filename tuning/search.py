"""The work of tune.py: begin a search or find the one that was interrupted, run its trials, write what they found."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

from comparison.shared_work import share
from comparison.side_by_side import Places, places_for
from config import Config
from data import DATASETS
from data.data_sets import find_data, open_side
from machine.device import select_device
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
                search = carry_out(search, config, folder, clock, _places(config))
            return _end(search, config, folder)
    places = _places(config)
    with new_folder(config.runs_dir, NAME) as folder:
        claimed = claim(folder / ".lock")
        search = begin(config, sought, train_set, folder, clock, started, places)
    with claimed:
        return _end(carry_out(search, config, folder, clock, places), config, folder)


def _places(config):
    return places_for(config, select_device(config.device))


def carry_out(search: Search, config: Config, folder: Path, clock: Clock, places: Places) -> Search:
    """Run the trials that are left of the plan, and write tune.json after each; returns the search with its end.

    Raises TuneError where a trial fails, or all diverge.
    """
    costs = search.costs._replace(at_once=places.count)
    return _Trials(search._replace(costs=costs), config, folder, clock, places).complete()


class _Trials:
    """The trials of a search, as many at the same time as there are ``places``."""

    def __init__(self, search, config, folder, clock, places):
        self.search, self.config, self.folder, self.clock, self.places = search, config, folder, clock, places
        self.before, self.begun, self.pace = search.seconds, clock(), Pace(search.costs)
        self.started = len(search.trials)
        self.record = threading.Lock()  # held while the search changes

    def spent(self):
        return self.before + self.clock() - self.begun

    def complete(self):
        for number in range(1, len(self.search.rungs) + 1):
            pairs = pairs_of_rung(self.search, number)
            tried = [trial.pair for trial in self.search.trials if trial.rung == number]
            left = [pair for pair in pairs if pair not in tried]
            try:
                share(left, *self._of_rung(number, pairs), lambda pair: None, self.places.count, self.places.end)
            except KeyboardInterrupt:
                self._write(seconds=self.spent())
                raise
            if self.search.stopped:
                break
            if best_trial(self.search) is None:
                raise TuneError("every trial diverged: give lower --learning_rates")
        return self.search

    def _of_rung(self, number, pairs):
        """What ``share`` is to know of the trials of a rung."""
        epochs = self.search.rungs[number - 1].epochs

        def claim_of(pair):
            return self.folder / f".trial-{number}-{pairs.index(pair)}"

        def work(pair, begun):
            begun()
            with self.record:
                running = self.started - len(self.search.trials)
                left = trials_left(self.search)  # those that run included
                if not self.search.stopped and self.spent() + self.pace.of(epochs) > self.config.budget * 60:
                    missing = counted(left - running, "more trial")
                    self._write(stopped=f"the budget of {self.config.budget:g} min left no time for {missing}")
                if self.search.stopped:
                    return True
                self.started += 1
                name = f"trial {self.started} of {len(self.search.trials) + left}, {counted(epochs, 'epoch')}: {pair}"
            self._try(name, number, pair, pairs)
            return True

        return claim_of, work

    def _try(self, name, number, pair, pairs):
        """Run one trial, and write the search with it."""
        epochs = self.search.rungs[number - 1].epochs
        trial = trial_config(self.config, self.folder, pair, epochs)
        mark = " (the usual pair)" if pair == self.search.usual else ""
        with _line(f"{name}{mark}: ", self.places.count == 1) as line:
            outcome: Outcome = self.places.attempt(lambda place: run_trial(trial, place))
            with self.record:
                self.pace.add(outcome.seconds, epochs)
                row = Trial(number, epochs, pair, outcome.accuracy, outcome.loss, outcome.seconds, outcome.run)
                rows = [trial for trial in self.search.trials if trial.rung == number] + [row]
                rows.sort(key=lambda trial: pairs.index(trial.pair))  # as one after the other would have ended
                before = [trial for trial in self.search.trials if trial.rung < number]
                self._write(trials=(*before, *rows), seconds=self.spent())
                left = time_left(self.search, self.pace)
            forget_weights(trial, outcome.run)
            result = "diverged" if row.accuracy is None else f"accuracy {row.accuracy:.4f}"
            line(f"{result}; {left}")

    def _write(self, **changes):
        self.search = self.search._replace(**changes)
        write_search(self.folder, self.search)


@contextmanager
def _line(start: str, at_once: bool) -> Iterator[Callable[[str], None]]:
    """Print ``start``, with ``at_once`` now, else with the rest of the line, which the block hands over.

    If the block raises, a line that was begun ends there.
    """
    if at_once:
        print(start, end="", flush=True)
    try:
        yield lambda rest: print(rest if at_once else f"{start}{rest}", flush=True)
    except BaseException:
        if at_once:
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
    seconds = sum(search.costs.turns(rung.trials) * pace.of(rung.epochs) for rung in _rest(search))
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

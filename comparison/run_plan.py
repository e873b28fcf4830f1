"""The trainings and evaluations that a comparison needs: finds the existing ones and runs the others."""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from comparison.compared_settings import as_options, has_settings, machine_settings, training_settings
from comparison.held_out import ListDigests
from comparison.run_groups import ComparisonError
from comparison.script_process import ProcessFailed
from comparison.shared_work import share
from comparison.side_by_side import Place, PlaceLost, Places
from comparison.waiting import EvaluationElsewhere, TrainingElsewhere, is_being_trained
from config import Config, names_of
from data.data_folder import DataFolder
from data.data_sets import Digests, count_photographs, digests, find_data
from data.data_source import DataSource
from data.fold_folders import count_folds
from data.lists import split_command
from evaluation.report import is_evaluated
from messages.live_lines import LiveLines
from messages.terminal import print_line, printable
from networks import check_layout
from trained.result import read_result
from trained.run_error import RunError
from trained.run_folder import check_plain, runs_of
from weights.weight_files import digest_of

LAST_LINES = ("finished", "failed", "interrupted", "train.py: ")  # of a training
FILE_DIGESTS = ("init_from_sha256", "class_weights_sha256")  # in result.json


class FileDigests(NamedTuple):
    """SHA-256 of the files that a training reads besides photographs and lists; None where it reads none, or cannot."""

    init_from: Optional[str] = None
    class_weights: Optional[str] = None


NO_FILES = FileDigests()


class Training(NamedTuple):
    """A training that a comparison needs: network, seed, fold (0: none), and the settings that decide what it learns."""

    net: str
    seed: int
    fold: int
    chosen: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.net}, seed {self.seed}" + (f", fold {self.fold}" if self.fold else "")


class Plan:
    """The trainings of every network of ``nets``: ``train`` sees to those of some seeds, ``found`` tells their runs.

    As many trainings run at the same time as there are ``places``. Comparisons at the same time share the trainings: each is
    done by one process and serves all. ``source``: the data that they are trained on. ``rates``: {network: {setting: value}}
    that a network has of its own. Raises DataError where the data cannot be
    used, ComparisonError where they have other folds, FormatError where a newer version of the toolkit wrote a run,
    NetworkError where a network does not have the layout.
    """

    def __init__(self, config: Config, places: Places, rates: Optional[dict[str, dict[str, Any]]] = None):
        for net in config.nets:
            check_layout(net, config.layout)
        self.source = find_data(config.data_source(), may_download="data" not in config.given)
        self.first_seed, self.nets = config.seed, list(dict.fromkeys(config.nets))
        self.folds = _folds_to_train_on(self.source, config.folds)
        photographs = count_photographs(self.source._replace(fold=self.folds[0]))  # other folds may have one more or less
        own = rates or {}
        of_nets = {net: dataclasses.replace(config, net=net, **own.get(net, {})) for net in self.nets}  # each has its options
        lines: dict[Optional[str], list[str]] = {}
        for net, of_net in of_nets.items():
            lines.setdefault(of_net.line_of_defaults(photographs), []).append(net)
        for line, whose in lines.items():
            if line:
                print(f"{', '.join(whose)}: {line}" if len(lines) > 1 else line, flush=True)
        self._of_nets = {net: of_net.resolved_for(photographs) for net, of_net in of_nets.items()}
        of_folds = {fold: digests(self.source._replace(fold=fold)) for fold in self.folds}
        self._trainings = Trainings(dataclasses.replace(config, data=self.source.data), of_folds, places)

    def train(self, nets: Iterable[str], seeds: Iterable[int]) -> None:
        """Train each of ``nets`` with the ``seeds``, counted from 0, on every fold, unless there is such a run; continue
        interrupted runs. Raises FormatError, OSError where ``runs_dir`` cannot be made."""
        nets = list(nets)
        self._trainings.complete(
            [
                Training(net, seed, fold, training_settings(dataclasses.replace(self._of_nets[net], fold=fold), net, seed))
                for seed in (self.first_seed + number for number in seeds)
                for fold in self.folds
                for net in nets
            ]
        )

    def found(self) -> tuple[dict[str, list[Path]], dict[str, list[str]]]:
        """({network: its finished runs}, {network: reasons why trainings failed}) of all that was to be trained."""
        groups: dict[str, list[Path]] = {}
        failures: dict[str, list[str]] = {}
        order = {net: place for place, net in enumerate(self.nets)}
        for net, seed, fold in sorted(self._trainings.outcomes, key=lambda one: (order[one[0]], *one[1:])):
            outcome = self._trainings.outcomes[net, seed, fold]
            if isinstance(outcome, Path):
                groups.setdefault(net, []).append(outcome)
            else:
                failures.setdefault(net, []).append(f"seed {seed}{f', fold {fold}' if fold else ''}{outcome}")
        return groups, failures


def train_missing(
    config: Config, places: Places, rates: Optional[dict[str, dict[str, Any]]] = None
) -> tuple[dict[str, list[Path]], dict[str, list[str]], DataSource]:
    """Train every network of ``nets`` with ``seeds`` seeds; what Plan.found tells, and the data. Raises what Plan raises."""
    plan = Plan(config, places, rates)
    plan.train(plan.nets, range(config.seeds))
    return (*plan.found(), plan.source)


def _folds_to_train_on(source, count):
    """The numbers of the ``count`` folds of ``source``, or 0, the plain lists; raises ComparisonError where it has others."""
    if not count:
        return [0]
    folder = DataFolder.of(source._replace(fold=1))
    found = count_folds(folder.split_lists)
    if found != count:
        split = split_command(folder.name, folder.lists_dir)
        other = f"; --folds {found} compares on those" if found else ""
        raise ComparisonError(
            f"folds = {count}: the split of {folder.name} has {found or 'no'} folds: {split} --folds {count} divides it{other}"
        )
    return list(range(1, count + 1))


class Trainings:
    """The trainings of a comparison. ``outcomes``: {(network, seed, fold): its finished run, or why there is none}.

    ``digests``: {fold: of the data of ``config``}; ``places``: for as many trainings at the same time.
    """

    def __init__(self, config: Config, digests: dict[int, Digests], places: Places):
        self.config, self.digests, self.places = config, digests, places
        self.files = FileDigests(digest_of(config.init_from), digest_of(config.class_weights_file()))
        self.outcomes: dict[tuple[str, int, int], Union[Path, str]] = {}
        self.missing = self.number = self.done = 0
        self.lines = LiveLines()
        self.started = time.monotonic()

    def complete(self, needed: Sequence[Training]) -> None:
        """Find the runs of ``needed`` and train those that are missing. Raises FormatError, OSError."""
        for training in needed:
            run = self._find(training)
            if run:
                print(f"{training}: {run} is there already", flush=True)
                self.outcomes[training[:3]] = run
        missing = [training for training in needed if training[:3] not in self.outcomes]
        if missing:
            Path(self.config.runs_dir).mkdir(parents=True, exist_ok=True)
            self.missing, self.number, self.done, self.started = len(missing), 0, 0, time.monotonic()
            wait = TrainingElsewhere(self._find_begun).tell
            share(missing, self._claim, self._train, wait, self.places.count, self.places.end)

    def _find(self, training, statuses=("finished",)):
        lists = self.digests[training.fold]
        return find_run(self.config.runs_dir, training.net, training.chosen, lists, statuses, self.files)

    def _find_begun(self, training):
        return self._find(training, ("unfinished", "interrupted", "failed"))

    def _claim(self, training):
        """A file in runs_dir that stands for this training, with these settings and on these lists, in all processes."""
        content = repr((training.net, sorted(training.chosen.items()), self.digests[training.fold], *self.files))
        digest = hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()
        return Path(self.config.runs_dir) / f".{training.net}-{digest[:16]}"

    def _train(self, training, begun):
        """See to the outcome of the training; False where another process is at work on its run."""
        run = self._find(training)
        if run:
            self._say(training, f"{training}: {run} is there, another process has trained it")
        else:
            unfinished = self._find_begun(training)
            if unfinished and is_being_trained(unfinished):
                return False
            self.number += 1
            number, told = self.number, self._told(training, begun)

            def train(place):
                left = _time_left(self.started, self.done, self.missing)
                self._say(training, f"training {number} of {self.missing}: {training}{left}")
                self._train_at(place, training, told)

            try:
                self.places.attempt(train)
                run = self._find(training)
                reason = ": the lists or photographs changed while it was trained"
            except ProcessFailed as error:
                reason = f" failed: {error}"
        self.done += 1
        self.outcomes[training[:3]] = run or reason
        return True

    def _train_at(self, place, training, told):
        """Raises ProcessFailed."""
        settings = {**machine_settings(self.config), **place.settings}
        unfinished = self._find_begun(training)  # here: it may have begun elsewhere, and lost its place
        try:
            if not (unfinished and continue_run(place, unfinished, settings, **told)):
                run_training(place, {**training.chosen, **settings}, **told)
        except PlaceLost as error:
            self._say(training, str(error))
            raise

    def _say(self, training, line):
        if self.places.count == 1:
            print(line, flush=True)
        else:
            self.lines.say(str(training), line)

    def _told(self, training, begun) -> dict[str, Any]:
        """How a training is to run that is not the only one at its time: what becomes of what it says."""
        if self.places.count == 1:
            return {}

        def tell(line):
            if "; run folder " in line:  # the next one has the next number
                begun()
            if line:
                self.lines.say(str(training), line, is_last=line.startswith(LAST_LINES))

        return {"tell": tell}


def find_run(
    runs_dir: Union[str, Path],
    net: str,
    chosen: dict[str, Any],
    digests: Digests,
    statuses: Sequence[str] = ("finished",),
    files: FileDigests = NO_FILES,
) -> Optional[Path]:
    """The newest run of ``net`` with the settings ``chosen``, by name, and one of the ``statuses``, or None.

    ``digests``: of the data; ``files``: of what training reads besides. Excluded are
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
        if result.get("status") not in statuses or result.get("diverged") or not digests.are_those_of(result):
            continue
        if result.get("epochs_before") or FileDigests(*map(result.get, FILE_DIGESTS)) != files:
            continue
        if has_settings(run, chosen):
            return run
    return None


print_at_once = functools.partial(print, flush=True)


@functools.cache
def _say_once(line):
    print_line(line)


def run_training(place: Place, values: dict[str, Any], *arguments: object, **told: Any) -> None:
    """Run train.py with the settings ``values``, by name, and further ``arguments``; raises ProcessFailed.

    ``told``: arguments of ``place.run``.
    """
    place.run("train.py", [*as_options(values, "train"), *arguments], **told)


def continue_run(place: Place, run: Path, values: dict[str, Any], **told: Any) -> bool:
    """Train an interrupted run to its end; False where it cannot be continued, e.g. as another process is training it.

    ``values``: settings of the machine, by name; ``told``: arguments of ``place.run``. Raises ProcessFailed where the continued
    training fails.
    """
    say = told.get("tell", print_at_once)
    say(f"going on with {run}")
    try:
        run_training(place, values, "--resume", run, **told)
    except PlaceLost:
        raise
    except ProcessFailed:
        if read_result(run).get("status") == "failed":
            raise
        say(f"{run} cannot be continued; another training begins")
        return False
    return True


def evaluate_missing(
    groups: dict[str, list[Path]],
    failures: dict[str, list[str]],
    source: Optional[DataSource],
    config: Config,
    places: Places,
    test_list: Optional[ListDigests] = None,
) -> None:
    """Evaluate every run whose best epoch has not been evaluated on its own list of ``config.split``.

    A run that cannot be evaluated moves from ``groups`` to ``failures``. ``source``: the current place of the photographs;
    None: as in the training. ``test_list``: of the list; None: any that is the run's own counts.
    """
    speed = names_of("eval", affects="speed")
    values = {name: value for name, value in machine_settings(config).items() if name in speed}
    values["split"] = config.split
    if source is None:
        values |= {name: getattr(config, name) for name in ("follow_links", "lists_dir") if name in config.given}
    else:
        values |= {"data": source.data, "follow_links": source.follow_links, "lists_dir": source.lists_dir}

    def reason(run):
        """Why it cannot be evaluated; None where it is, perhaps by another process."""
        if is_evaluated(run, config.split, *(test_list or ())):
            return None
        print(f"evaluating {run}", flush=True)

        def evaluate_at(place):
            place.run("eval.py", [*as_options({**values, **place.settings}, "eval"), "--run", run], quiet=True)

        try:
            places.attempt(evaluate_at)
        except ProcessFailed as error:
            return str(error)
        own = is_evaluated(run, config.split, *(test_list or ()))
        return None if own else "its evaluation is not of its own best epoch and list"

    reasons: dict[Path, Optional[str]] = {}

    def evaluate(run, begun):
        begun()
        reasons[run] = reason(run)
        return True

    runs = [run for group in groups.values() for run in group]
    missing = [run for run in runs if not is_evaluated(run, config.split, *(test_list or ()))]
    claim = f".evaluating-{config.split}"
    share(missing, lambda run: run / claim, evaluate, EvaluationElsewhere().tell, places.count, places.end)
    for name, group in list(groups.items()):
        failed = [run for run in group if reasons.get(run)]
        if failed:
            failures.setdefault(name, []).extend(f"{run} cannot be evaluated: {reasons[run]}" for run in failed)
            groups[name] = [run for run in group if run not in failed]
        if not groups[name]:
            del groups[name]


def _time_left(started, done, total):
    """Text about the time that the remaining trainings take, judged by the ``done`` ones since ``started``."""
    if not done:
        return ""
    minutes = (time.monotonic() - started) / done * (total - done) / 60
    return f", about {minutes:.0f} min left" if minutes >= 1 else ", about a minute left"

"""The work of compare.py: train and evaluate missing runs, measure the cost of each network, write the comparison."""

import contextlib
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Callable, Optional

from PIL import Image

from comparison.bilingual import Bilingual
from comparison.compared_settings import check_useful, differing_settings
from comparison.costs import measure_costs
from comparison.findings import Compared
from comparison.held_out import digests_of_test_list, has_test_list, list_to_judge_by
from comparison.run_groups import (
    ComparisonError,
    check_comparable,
    folds_of,
    group_runs,
    grown_runs,
    leave_out_incomplete_seeds,
)
from comparison.run_plan import Plan, evaluate_missing, train_missing
from comparison.side_by_side import places_for
from comparison.tables import write_comparison
from comparison.tuned_rates import SOUGHT, check_tune, note_of_rates, tuned_rates
from comparison.until_decided import check_until, train_until_decided
from comparison.verdict import NAMES
from config import Config, load_config
from data.data_sets import find_data, open_side
from data.data_source import DataSource
from data.lists import DataError
from machine.device import select_device
from machine.temporary_folder import share_what_cannot_be_cached
from messages.terminal import print_line, printable
from ops import fused
from processes.launcher import count_processes
from trained.known_data import permitted_source
from trained.run_error import RunError
from trained.run_folder import new_folder


def compare_networks(config: Config) -> int:
    """Write the comparison to the next free ``runs_dir/compare/NNN``; returns the exit code, 1 if a training failed.

    Raises a UserError where nothing can be compared.
    """
    if config.runs:
        check_useful(config)
    check_until(config)
    check_tune(config)
    config = config.resolved()
    share_what_cannot_be_cached()
    device = select_device(config.device)
    config = config.over(count_processes(config.processes, config.device))
    places = places_for(config, device)
    named, decision, rates = config.runs or config.nets, None, {}
    if len(set(named)) < 2 and not (config.nets and config.folds):  # of one network the out-of-fold predictions are wanted
        raise ComparisonError(f"{' '.join(named)}: a comparison needs at least two")
    if config.runs:
        groups, failures = group_runs([Path(run) for run in config.runs]), {}
        _check_baseline(config, groups)
        source = None  # the data of each run, where the user may have them read: see trained.known_data
        if "data" in config.given:
            source = permitted_source(load_config(Path(config.runs[0]) / "config.yaml"), config, Path(config.runs[0]))
            source = find_data(source)
    else:
        _check_baseline(config, config.nets)
        source = find_data(config.data_source(), may_download="data" not in config.given)
        if config.split == "val" and "split" not in config.given and not config.folds:
            config = dataclasses.replace(config, split=list_to_judge_by(source))
        elif config.split == "test":  # now: training takes time
            digests_of_test_list([], source)
        rates = tuned_rates(config)
        if config.until:
            decision, groups, failures, source = _until_decided(config, places, rates)
        else:
            groups, failures, source = train_missing(config, places, rates)
    runs = [run for group in groups.values() for run in group]
    check_comparable(runs)  # now: evaluating takes time
    folds = set(range(1, config.folds + 1)) if config.folds else folds_of(runs)
    test_list = digests_of_test_list(runs, source, config) if config.split == "test" else None
    evaluate_missing(groups, failures, source, config, places, test_list)
    leave_out_incomplete_seeds(groups, failures, folds)
    runs = [run for group in groups.values() for run in group]
    if not runs:
        raise ComparisonError("no training can be compared: " + "; ".join(f"{n}: {'; '.join(w)}" for n, w in failures.items()))
    fused.set_mode(config.fused)
    costs = measure_costs({name: group[0] for name, group in groups.items()})
    notes = differing_settings([load_config(run / "config.yaml") for run in runs], SOUGHT if rates else ())
    if config.tune and rates:
        notes.append(note_of_rates(rates, config.tune))
    notes += grown_runs(runs)
    if places.count > 1 and not config.runs:
        notes.append(
            Bilingual(
                f"{places.count} trainings ran at a time: their times compare with each other's, not with those of one alone.",
                f"{places.count} 个训练同时进行：训练时间只能彼此相比，不能与单独训练时相比。",
            )
        )
    notes.append(
        Bilingual(
            f"Parameters, multiply-adds and evaluation time were measured now, on this machine's {device}.",
            f"参数量、乘加次数和评估时间是刚才在本机的 {device} 上测量的。",
        )
    )
    source = source or _source_to_show(runs[0], config)
    photograph = photograph_reader(load_config(runs[0] / "config.yaml"), source, config.split, folds)
    could_test = bool(source) and config.split == "val" and has_test_list(source)
    with new_folder(config.runs_dir, "compare") as folder:
        compared = Compared(groups, costs, failures, config.split, could_test, decision, source, config.baseline, bool(rates))
        text = write_comparison(folder, compared, notes, photograph)
    print(text, end="")
    print(f"comparison: {printable(folder)}")
    return 1 if failures else 0


def _check_baseline(config, names):
    if config.baseline is not None and config.baseline not in names:
        raise ComparisonError(f"baseline = {config.baseline!r}: compared are {', '.join(names)}; name one of them")


def _until_decided(config, places, rates):
    plan = Plan(config, places, rates)
    photograph = photograph_reader(config, plan.source, config.split)
    test_list = digests_of_test_list([], plan.source, config) if config.split == "test" else None
    return (*train_until_decided(plan, config, places, photograph, test_list), plan.source)


def _source_to_show(run, config):
    """Where the photographs of ``run`` may be read for the page; None, and one line says why, where they may not."""
    try:
        return permitted_source(load_config(run / "config.yaml"), config, run)
    except RunError as error:
        print_line(f"note: the page shows no photographs: {printable(error)}")
        return None


def photograph_reader(
    trained: Config, source: Optional[DataSource], split: str = "val", folds: Iterable[int] = (0,)
) -> Callable[[str], Image.Image]:
    """A function that reads a photograph of the list of ``split``, in one of the ``folds``, by its name; it raises DataError.

    ``trained``: settings of one of the runs; ``source``: the place of the photographs; None: none can be read.
    """
    places = {}
    with contextlib.suppress(DataError):  # deleted since the training; a comparison of finished runs does not need the data
        for of_fold in [source._replace(fold=fold) for fold in folds] if source else ():
            listed = open_side(of_fold, split, trained.image_size)
            places.update((sample.name, (listed, place)) for place, sample in enumerate(listed.samples))

    def photograph(name):
        if name not in places:
            raise DataError(f"{name} is not in the {NAMES[split]} list")
        listed, place = places[name]
        return listed.photograph(place)

    return photograph

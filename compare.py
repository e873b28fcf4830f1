"""Compare networks on your photographs: train what is missing, evaluate, and say what the data carry."""

import dataclasses
import functools
import tempfile
import time
from pathlib import Path

import yaml

from machine import ending
from config import NETWORK_OPTIONS, NOT_LEARNED, ConfigError, load_config, parse_config, settings
from messages.terminal import printable
from messages.user_error import UserError

PATIENCE = 10.0  # seconds; the training under way takes up to 6 to end

HEEDED_WITH_RUNS = {"runs", "runs_dir", "device", "threads", "num_workers", "fused"}
"""The settings that mean something for runs that are trained already."""


class ComparisonError(UserError):
    """Runs that cannot be compared; the message names the difference."""


def main(config) -> int:
    return ending.run("compare", compare, config, PATIENCE, hint="the same command continues with what is missing")


def compare(config) -> int:
    """Write the comparison into the next free ``runs_dir/compare/NNN``; returns the exit code, 1 where a training failed."""
    from comparison.tables import write_comparison
    from machine.device import select_device
    from trained.run_folder import create_run

    useless = sorted(config.given & {item.name for item in settings("compare")} - HEEDED_WITH_RUNS) if config.runs else ()
    if useless:
        raise ConfigError(f"runs: finished runs are compared as they were trained; without effect: {', '.join(useless)}")
    config = config.resolved()
    device = select_device(config.device)
    named = config.runs or config.nets
    if len(set(named)) < 2:
        raise ComparisonError(f"{' '.join(named)}: a comparison needs at least two")
    if config.runs:
        groups, failures = group_runs([Path(run) for run in config.runs]), {}
        data = None  # each run's own
    else:
        groups, failures, data = train_missing(config)
    check_comparable([run for group in groups.values() for run in group])
    evaluate_missing(config, groups, failures, data)
    runs = [run for group in groups.values() for run in group]
    if not runs:
        raise ComparisonError("no training can be compared: " + "; ".join(f"{n}: {'; '.join(w)}" for n, w in failures.items()))
    configs = {name: load_config(group[0] / "config.yaml") for name, group in groups.items()}
    costs = measure_costs(configs, runs[0], config)
    notes = differing_settings([load_config(run / "config.yaml") for run in runs])
    notes += grown_runs(runs)
    notes.append(f"Parameters, multiply-adds and evaluation time were measured now, on this machine's {device}.")
    folder = create_run(config.runs_dir, "compare")
    photograph = validation_photographs(next(iter(configs.values())), data, config.follow_links)
    print(write_comparison(folder, groups, costs, failures, notes, photograph), end="")
    print(f"comparison: {printable(folder)}")
    return 1 if failures else 0


def train_missing(config):
    """Train every network of ``nets`` with every seed, as far as no such run is there; one that was interrupted goes on.

    Returns ({network: finished runs by seed}, {network: [why a training failed]}, the data that they saw).
    """
    from comparison.run_plan import ProcessFailed, find_run
    from data.data_sets import digests, find_data
    from weights.weight_files import digest_of

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


def run_training(values, *arguments) -> None:
    """Run train.py with settings by name; raises ProcessFailed."""
    from comparison.run_plan import run_script

    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "settings.yaml"
        recipe.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        run_script("train.py", ["--config", recipe, *arguments])


def continue_run(run, config) -> bool:
    """Train an interrupted run to its end; False where that fails, as with one that another process is training now."""
    from comparison.run_plan import ProcessFailed
    from trained.run_folder import read_result

    print(f"going on with {run}", flush=True)
    try:
        run_training(machine_settings(config), "--resume", run)
    except ProcessFailed:
        if read_result(run).get("status") == "failed":  # it went on, and failed
            raise
        print(f"{run} cannot be continued; another training begins", flush=True)
        return False
    return True


def training_settings(config, net, seed) -> dict:
    """What decides what a training of ``net`` learns, by name, as plain values; what does not apply to it is left out."""
    from networks import options_of

    values = {**config.as_dict(), "net": net, "seed": seed}
    chosen = {}
    for item in settings("train"):
        needs = item.metadata["needs"]
        applies = item.name not in NETWORK_OPTIONS or item.name in options_of(net)
        if item.name in NOT_LEARNED or not applies or (needs and values[needs[0]] != needs[1]):
            continue
        # None too: the network's own, which a run with an option of another kind must not pass for
        chosen[item.name] = values[item.name]
    return chosen


def machine_settings(config) -> dict:
    """The rest of a training's settings: where it reads and writes, and how fast it is."""
    return {
        name: value
        for name, value in config.as_dict().items()
        if name in NOT_LEARNED - {"summary", "resume"} and value is not None
    }


def group_runs(runs) -> dict:
    """{name: runs}: runs that differ in the seed alone are one network's; others stand for themselves, by their number."""
    if len({run.resolve() for run in runs}) < len(runs):
        raise ComparisonError(f"a run is there twice: {', '.join(map(str, runs))}")
    groups = {}
    for run in runs:
        values = load_config(run / "config.yaml").as_dict()
        learned = {name: value for name, value in values.items() if name not in NOT_LEARNED | {"seed"}}
        groups.setdefault(repr(learned), []).append((run, values))
    split = []  # [(net, runs), ...]
    for members in groups.values():
        net, seeds = members[0][1]["net"], {values["seed"] for _, values in members}
        own = [run for run, _ in members]
        split += [(net, [run]) for run in own] if len(seeds) < len(members) else [(net, own)]
    if len(split) < 2:
        raise ComparisonError(f"{len(runs)} runs of one network, {split[0][0]}: a comparison needs at least two")
    nets = [net for net, _ in split]
    short = [net if nets.count(net) == 1 else f"{net} {own[0].resolve().name}" for net, own in split]
    # the same number in two runs_dirs: then the folder tells them apart
    return {name if short.count(name) == 1 else str(own[0]): own for name, (_, own) in zip(short, split)}


def check_comparable(runs) -> None:
    """Raise ComparisonError unless all runs finished, on the same lists, classes and image size."""
    from trained.run_folder import read_result

    results = {run: read_result(run) for run in runs}
    for run, result in results.items():
        if result.get("status") != "finished":
            raise ComparisonError(f"{run} is {result.get('status', 'no finished run')}: only finished runs are compared")
        if not {"list_sha256", "images_per_second", "best"} <= result.keys():
            raise ComparisonError(f"{run / 'result.json'} does not say all that a comparison needs: train it anew")
    for run, result in results.items():
        first = runs[0]
        for side in ("train", "val"):
            if result["list_sha256"][side] != results[first]["list_sha256"][side]:
                raise ComparisonError(f"{run} and {first} saw different photographs: their {side} lists differ")
        if read_classes_of(run) != read_classes_of(first):
            raise ComparisonError(f"{run} and {first} were trained on different classes")
        sizes = [load_config(one / "config.yaml").image_size for one in (first, run)]
        if sizes[0] != sizes[1]:
            raise ComparisonError(f"{first} and {run} saw images of different sizes: image_size {sizes[0]} and {sizes[1]}")


def read_classes_of(run) -> list:
    """The class names of a run, in order."""
    return (run / "classes.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")


def evaluate_missing(config, groups, failures, data) -> None:
    """Evaluate every run whose best epoch has no evaluation on its own validation list yet.

    A run that cannot be evaluated leaves ``groups`` for ``failures``. ``data``: where its photographs are now; None: where they
    were when it was trained.
    """
    from comparison.run_plan import ProcessFailed, run_script
    from comparison.verdict import is_evaluated

    of_eval = {item.name for item in settings("eval")} - {"data", "follow_links", "runs_dir"}
    machine = {name: value for name, value in machine_settings(config).items() if name in of_eval}
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


def validation_photographs(trained, data, follow_links=False):
    """A function from a name in the validation list to that photograph, a ``PIL.Image``; it raises DataError.

    ``trained``: settings of one of the runs; ``data``: where the photographs are now; None: where they were then.
    """
    from data.data_sets import open_dataset
    from data.lists import DataError

    links = follow_links or trained.follow_links
    try:
        listed = open_dataset(trained.dataset, data or trained.data, trained.image_size, train=False, follow_links=links)
        places = {sample.name: place for place, sample in enumerate(listed.samples)}
    except DataError:  # gone since the training, which a comparison of finished runs can do without
        places = {}

    def photograph(name):
        if name not in places:
            raise DataError(f"{name} is not in the validation list")
        return listed.photograph(places[name])

    return photograph


def measure_costs(configs, run, config) -> dict:
    """{name: {"parameters", "multiply_adds", "latency_ms"}} of freshly built networks; ``run``: whose classes they have."""
    from networks import Classifier, build_network
    from networks.summary import latencies, multiply_adds, parameter_counts
    from ops import fused

    fused.set_mode(config.fused)
    num_classes = len(read_classes_of(run))
    networks = {name: build_network(c.net, num_classes, **c.network_options()) for name, c in configs.items()}
    size = next(iter(configs.values())).image_size
    milliseconds = latencies({name: Classifier(network) for name, network in networks.items()}, size)
    return {
        name: {
            "parameters": parameter_counts(network)[0],
            "multiply_adds": multiply_adds(network, size),
            "latency_ms": milliseconds[name],
        }
        for name, network in networks.items()
    }


def differing_settings(configs) -> list:
    """A line for each setting in which the runs differ, but for those that belong to the networks, the seed and the folders."""
    speed = {"device", "threads", "num_workers", "fused"}
    nets = {config.net for config in configs}
    lines = []
    for item in settings("train"):
        if item.name in (
            {"net", "seed", "data", "follow_links", "runs_dir", "summary"} | (set(NETWORK_OPTIONS) if len(nets) > 1 else set())
        ):
            continue
        values = list(dict.fromkeys(getattr(config, item.name) for config in configs))
        if len(values) > 1:
            effect = ": their training speed, time and memory do not compare" if item.name in speed else ""
            lines.append(f"The runs differ in {item.name} ({', '.join(map(str, values))}){effect}.")
    return lines


def grown_runs(runs) -> list:
    """A line for each run whose epochs grew while it was trained."""
    from trained.run_folder import read_result

    before = {run: read_result(run).get("epochs_before") for run in runs}
    return [
        f"{run} was to have {' and then '.join(map(str, epochs))} epochs first: its learning rate followed another schedule."
        for run, epochs in before.items()
        if epochs
    ]


def _time_left(started, done, total):
    if not done:
        return ""
    minutes = (time.monotonic() - started) / done * (total - done) / 60
    return f", about {minutes:.0f} min left" if minutes >= 1 else ", about a minute left"


if __name__ == "__main__":
    ending.leave(main(parse_config()))

"""Compare networks on your photographs: train what is missing, evaluate, and say what the data carry."""

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import yaml

from config import NETWORK_OPTIONS, ConfigError, load_config, parse_config, settings
from training import runtime

NOT_LEARNED = {"data", "runs_dir", "device", "threads", "num_workers", "fused", "summary"}
"""Settings of a training that decide where it reads and writes and how fast it is, not what it learns."""


class ComparisonError(ValueError):
    """Runs that cannot be compared; the message names the difference."""


def main(config) -> int:
    try:
        runtime.configure(config.threads)
        runtime.handle_termination()
        # Only now may Paddle be imported, which the following modules do
        from networks import NetworkError
        from photo_lists import DataError
        from training.run_folder import RunError

        try:
            compare(config.resolved())
        except (ComparisonError, ConfigError, DataError, NetworkError, RunError, runtime.DeviceError, OSError) as error:
            print(f"compare.py: error: {error}", file=sys.stderr)
            return 2
    except runtime.Terminated:
        return runtime.TERMINATED
    except KeyboardInterrupt:
        print("interrupted; the same command continues with what is missing", file=sys.stderr)
        return runtime.INTERRUPTED
    return 0


def compare(config) -> Path:
    """Write the comparison into the next free ``runs_dir/compare/NNN`` and return that folder."""
    from reporting.comparison_report import write_comparison
    from training.run_folder import create_run

    device = runtime.select_device(config.device)
    named = config.runs or config.nets
    if len(set(named)) < 2:
        raise ComparisonError(f"{' '.join(named)}: a comparison needs at least two")
    if config.runs:
        groups, failures = group_runs([Path(run) for run in config.runs]), {}
    else:
        groups, failures = train_missing(config)
    runs = [run for group in groups.values() for run in group]
    if not runs:
        raise ComparisonError("no training has finished: " + "; ".join(f"{net}, {why}" for net, why in failures.items()))
    check_comparable(runs)
    evaluate_missing(config, runs)
    costs = measure_costs({name: load_config(group[0] / "config.yaml") for name, group in groups.items()}, runs[0], config)
    notes = differing_settings([load_config(run / "config.yaml") for run in runs])
    folder = create_run(config.runs_dir, "compare")
    text = write_comparison(folder, groups, costs, failures, [*notes, f"Costs were measured on: {device}."])
    print(text, end="")
    print(f"comparison: {folder}")
    return folder


def train_missing(config):
    """Train every network of ``nets`` with every seed, as far as no such run is there.

    Returns ({network: finished runs by seed}, {network: why a training failed}).
    """
    from data_sets import digests, find_data
    from training.run_plan import ProcessFailed, find_finished_run, run_script

    data = find_data(config.dataset, config.data, may_download="data" not in config.given)
    config, lists = dataclasses.replace(config, data=data), digests(config.dataset, data)
    groups, failures, plan = {net: [] for net in config.nets}, {}, []
    for seed in range(config.seed, config.seed + config.seeds):
        for net in groups:
            chosen = training_settings(config, net, seed)
            run = find_finished_run(config.runs_dir, net, chosen, lists)
            if run:
                groups[net].append(run)
                print(f"{net}, seed {seed}: {run} is there already")
            else:
                plan.append((net, seed, chosen))
    started = time.monotonic()
    for number, (net, seed, chosen) in enumerate(plan):
        print(f"training {number + 1} of {len(plan)}: {net}, seed {seed}{_time_left(started, number, len(plan))}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            recipe = Path(folder) / "settings.yaml"
            recipe.write_text(yaml.safe_dump({**chosen, **machine_settings(config)}, allow_unicode=True), encoding="utf-8")
            try:
                run_script("train.py", ["--config", recipe])
            except ProcessFailed as error:
                failures[net] = f"seed {seed} failed: {error}"
                continue
        groups[net].append(find_finished_run(config.runs_dir, net, chosen, lists))
    return {net: runs for net, runs in groups.items() if runs}, failures


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
        if values[item.name] is not None:
            chosen[item.name] = values[item.name]
    return chosen


def machine_settings(config) -> dict:
    """The rest of a training's settings: where it reads and writes, and how fast it is."""
    return {name: value for name, value in config.as_dict().items() if name in NOT_LEARNED - {"summary"} and value is not None}


def group_runs(runs) -> dict:
    """{name: runs}: runs that differ in the seed alone are one network's; others stand for themselves, by their number."""
    if len({run.resolve() for run in runs}) < len(runs):
        raise ComparisonError(f"a run is there twice: {', '.join(map(str, runs))}")
    groups = {}
    for run in runs:
        values = load_config(run / "config.yaml").as_dict()
        learned = {name: value for name, value in values.items() if name not in NOT_LEARNED | {"seed"}}
        groups.setdefault(repr(learned), []).append((run, values))
    named = {}
    nets = [members[0][1]["net"] for members in groups.values()]
    for members in groups.values():
        net = members[0][1]["net"]
        if len({values["seed"] for _, values in members}) < len(members):
            named.update({f"{net} {run.resolve().name}": [run] for run, _ in members})
        else:
            name = net if nets.count(net) == 1 else f"{net} {members[0][0].resolve().name}"
            named[name] = [run for run, _ in members]
    return named


def check_comparable(runs) -> None:
    """Raise ComparisonError unless all runs finished, on the same lists, classes and image size."""
    from training.run_folder import read_result

    first = runs[0]
    results = {run: read_result(run) for run in runs}
    for run, result in results.items():
        if result.get("status") != "finished":
            raise ComparisonError(f"{run} is {result.get('status', 'no finished run')}: only finished runs are compared")
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
    return (run / "classes.txt").read_text(encoding="utf-8").splitlines()


def evaluate_missing(config, runs) -> None:
    """Evaluate every run that has no evaluation on its own validation list yet; raises ComparisonError."""
    from training.run_plan import ProcessFailed, run_script

    for run in runs:
        metrics = run / "eval" / "metrics.json"
        if metrics.is_file() and json.loads(metrics.read_text(encoding="utf-8"))["same_list_as_in_training"]:
            continue
        print(f"evaluating {run}", flush=True)
        machine = {name: value for name, value in machine_settings(config).items() if name not in ("data", "runs_dir")}
        flags = [word for name, value in machine.items() for word in (f"--{name}", value)]
        try:
            run_script("eval.py", ["--run", run, *flags], quiet=True)
        except ProcessFailed as error:
            raise ComparisonError(f"{run} cannot be evaluated: {error}") from None


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
    """A line for each setting in which the runs differ, but for those of the network itself, the machine and the folders."""
    own = {"net", "seed", *NETWORK_OPTIONS, *NOT_LEARNED}
    lines = []
    for item in settings("train"):
        values = [getattr(config, item.name) for config in configs]
        if item.name not in own and any(value != values[0] for value in values):
            lines.append(f"The runs differ in {item.name}: {', '.join(map(str, dict.fromkeys(values)))}.")
    return lines


def _time_left(started, done, total):
    if not done:
        return ""
    minutes = (time.monotonic() - started) / done * (total - done) / 60
    return f", about {minutes:.0f} min left" if minutes >= 1 else ", about a minute left"


if __name__ == "__main__":
    runtime.leave(main(parse_config()))

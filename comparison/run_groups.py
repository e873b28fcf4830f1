"""Finished runs as a comparison takes them: grouped by network, and only where they can be compared."""

from pathlib import Path

from comparison.compared_settings import learned
from config import load_config
from machine.regular_file import open_regular
from messages.user_error import UserError
from trained.result import read_result

MAX_BYTES = 2**26  # of classes.txt


class ComparisonError(UserError):
    """Runs that cannot be compared; the message names the difference."""


def group_runs(runs: list[Path]) -> dict[str, list[Path]]:
    """{name: runs}: runs that differ in the seed alone are one network's; others stand for themselves, by their number.

    Raises ComparisonError where that is one network, or a run is there twice, ConfigError where settings cannot be read.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise ComparisonError(f"a run is there twice: {', '.join(map(str, runs))}")
    groups = {}
    for run in runs:
        config = load_config(run / "config.yaml")
        groups.setdefault(repr(learned(config)), []).append((run, config))
    split = []  # [(net, runs), ...]
    for members in groups.values():
        net, seeds = members[0][1].net, {config.seed for _, config in members}
        own = [run for run, _ in members]
        split += [(net, [run]) for run in own] if len(seeds) < len(members) else [(net, own)]
    if len(split) < 2:
        raise ComparisonError(f"{len(runs)} runs of one network, {split[0][0]}: a comparison needs at least two")
    nets = [net for net, _ in split]
    short = [net if nets.count(net) == 1 else f"{net} {own[0].resolve().name}" for net, own in split]
    # the same number in two runs_dirs: then the folder tells them apart
    return {name if short.count(name) == 1 else str(own[0]): own for name, (_, own) in zip(short, split)}


def check_comparable(runs: list[Path]) -> None:
    """Raise ComparisonError unless all runs finished, on the same lists, classes and image size."""
    results = {run: read_result(run) for run in runs}
    for run, result in results.items():
        if result.get("status") != "finished":
            raise ComparisonError(f"{run} is {result.get('status', 'no finished run')}: only finished runs are compared")
        if not {"list_sha256", "best"} <= result.keys() or result.get("images_per_second") is None:
            raise ComparisonError(f"{run / 'result.json'} does not say all that a comparison needs: train it anew")
    first = runs[0] if runs else None
    for run, result in results.items():
        for side in ("train", "val"):
            if result["list_sha256"][side] != results[first]["list_sha256"][side]:
                raise ComparisonError(f"{run} and {first} saw different photographs: their {side} lists differ")
        if read_classes_of(run) != read_classes_of(first):
            raise ComparisonError(f"{run} and {first} were trained on different classes")
        sizes = [load_config(one / "config.yaml").image_size for one in (first, run)]
        if sizes[0] != sizes[1]:
            raise ComparisonError(f"{first} and {run} saw images of different sizes: image_size {sizes[0]} and {sizes[1]}")


def read_classes_of(run: Path) -> list[str]:
    """The class names of a run, in order; raises OSError."""
    with open_regular(run / "classes.txt", MAX_BYTES) as file:
        return file.read().decode("utf-8").removesuffix("\n").split("\n")


def grown_runs(runs: list[Path]) -> list[str]:
    """A line for each run whose epochs grew while it was trained."""
    before = {run: read_result(run).get("epochs_before") for run in runs}
    return [
        f"{run} was to have {' and then '.join(map(str, epochs))} epochs first: its learning rate followed another schedule."
        for run, epochs in before.items()
        if epochs
    ]

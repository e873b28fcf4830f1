"""The runs of a comparison: grouped by network, and checked to be comparable."""

from collections.abc import Iterable, Set
from pathlib import Path

from comparison.bilingual import Bilingual
from config import Config, config_of_checkpoint, load_config, names_of
from data.photograph_record import same_as_far_as_known
from messages.user_error import UserError
from trained.checkpoint import read_header
from trained.class_list import as_written, read_classes
from trained.result import read_result, read_whole_result
from trained.run_folder import check_plain


class ComparisonError(UserError):
    """Runs that cannot be compared; the message names the difference."""


def group_runs(runs: list[Path]) -> dict[str, list[Path]]:
    """{name: runs}: runs that differ only in seed and fold form one group; all others are a group each, named by their number.

    Raises ComparisonError where there is only one group, a run occurs twice or a fold is missing, ConfigError where settings
    cannot be read, RunError where a folder holds links.
    """
    for run in runs:
        check_plain(run)
    if len({run.resolve() for run in runs}) < len(runs):
        raise ComparisonError(f"a run is given twice: {', '.join(map(str, runs))}")
    groups: dict[str, list[tuple[Path, Config]]] = {}
    for run in runs:
        config = load_config(run / "config.yaml")
        groups.setdefault(repr(config.decisive("seed", "fold")), []).append((run, config))
    split: list[tuple[str, list[Path]]] = []  # [(net, runs), ...]
    for members in groups.values():
        net, kinds = members[0][1].net, {(config.seed, config.fold) for _, config in members}
        own = [run for run, _ in members]
        # Two runs with the same seed are no repetition with another one: then each run is a group
        split += [(net, [run]) for run in own] if len(kinds) < len(members) else [(net, own)]
    if len(split) < 2:
        raise ComparisonError(f"{len(runs)} runs of one network, {split[0][0]}: a comparison needs at least two")
    nets = [net for net, _ in split]
    short = [net if nets.count(net) == 1 else f"{net} {own[0].resolve().name}" for net, own in split]
    # Runs in two runs_dirs can have the same number: then the name is the folder
    found = {name if short.count(name) == 1 else str(own[0]): own for name, (_, own) in zip(short, split)}
    for name, lacking in incomplete_seeds(found, folds_of(runs)).items():
        raise ComparisonError(f"{name}, {lacking[0]}: runs on folds are compared where each network has one on each fold")
    return found


def repetitions(runs: list[Path]) -> list[dict[int, Path]]:
    """The runs of one network as {fold: run}, one dict a seed: together they answer for all photographs once. 0: no fold.

    Raises ConfigError, FormatError.
    """
    found: dict[int, dict[int, Path]] = {}
    for run in runs:
        config = load_config(run / "config.yaml")
        found.setdefault(config.seed, {})[config.fold] = run
    return [dict(sorted(of_seed.items())) for of_seed in found.values()]


def folds_of(runs: Iterable[Path]) -> set[int]:
    """The folds that ``runs`` were trained on; 0 stands for the plain lists. Raises ConfigError, FormatError."""
    return {load_config(run / "config.yaml").fold for run in runs}


def incomplete_seeds(groups: dict[str, list[Path]], folds: Set[int]) -> dict[str, list[str]]:
    """{network: what its runs lack, such as "seed 0 has no run on fold 2"}; each seed needs all ``folds``.

    Raises ConfigError, FormatError.
    """
    found: dict[str, list[str]] = {}
    for name, group in groups.items():
        for of_seed in repetitions(group):
            missing = sorted(folds - of_seed.keys())
            if missing:
                where = f"fold {missing[0]}" if missing[0] else "the plain lists"
                seed = load_config(next(iter(of_seed.values())) / "config.yaml").seed
                found.setdefault(name, []).append(f"seed {seed} has no run on {where}")
    return found


def leave_out_incomplete_seeds(groups: dict[str, list[Path]], failures: dict[str, list[str]], folds: Set[int]) -> None:
    """Take the runs of seeds that lack one of the ``folds`` out of ``groups``, and say so in ``failures``."""
    for name, reasons in incomplete_seeds(groups, folds).items():
        failures.setdefault(name, []).extend(f"{reason} and is left out" for reason in reasons)
        whole = [of_seed for of_seed in repetitions(groups[name]) if of_seed.keys() == folds]
        groups[name] = [run for of_seed in whole for run in of_seed.values()]
        if not groups[name]:
            del groups[name]


def check_comparable(runs: list[Path]) -> None:
    """Raise ComparisonError unless all runs have finished and had the same lists, of their fold, classes and image size.

    Raises RunError, CheckpointError or ConfigError where a file of a run is damaged or contradicts another.
    """
    results = {run: read_whole_result(run) for run in runs}
    for run, result in results.items():
        if result.get("status") != "finished":
            raise ComparisonError(f"{run} is {result.get('status', 'no finished run')}: only finished runs are compared")
        if not {"list_sha256", "best"} <= result.keys() or result.get("images_per_second") is None:
            raise ComparisonError(f"{run / 'result.json'} lacks entries that a comparison needs: train the run again")
    if not runs:
        return
    first_of_fold: dict[int, Path] = {}
    for run, result in results.items():
        first = first_of_fold.setdefault(load_config(run / "config.yaml").fold, run)
        for side in ("train", "val"):
            if result["list_sha256"][side] != results[first]["list_sha256"][side]:
                raise ComparisonError(f"{run} and {first} saw different photographs: their {side} lists differ")
            own, other = ((results[one].get("photographs_sha256") or {}).get(side) for one in (run, first))
            if not same_as_far_as_known(own, other):
                raise ComparisonError(f"{run} and {first} saw different photographs: those of their {side} lists had changed")
        first = runs[0]
        if read_classes_of(run) != read_classes_of(first):
            raise ComparisonError(f"{run} and {first} were trained on different classes")
        sizes = [load_config(one / "config.yaml").image_size for one in (first, run)]
        if sizes[0] != sizes[1]:
            raise ComparisonError(f"{first} and {run} saw images of different sizes: image_size {sizes[0]} and {sizes[1]}")


def read_classes_of(run: Path) -> list[str]:
    """The class names of a run, in order; raises RunError, CheckpointError, ConfigError, and ComparisonError where the run's
    files disagree on them or on its network."""
    names, checkpoint = read_classes(run), run / "best.safetensors"
    if not checkpoint.exists():
        return names
    header = read_header(checkpoint)
    if names != [as_written(name) for name in header["classes"]]:
        raise ComparisonError(f"{run / 'classes.txt'} names other classes than {checkpoint}: restore a copy, or train again")
    written, trained = load_config(run / "config.yaml"), config_of_checkpoint(header, checkpoint)
    for name in ("net", *names_of(part="network")):
        if getattr(written, name) != getattr(trained, name):
            raise ComparisonError(
                f"{run / 'config.yaml'} has {name} = {getattr(written, name)!r}, {checkpoint} {getattr(trained, name)!r}: "
                f"restore a copy, or train again"
            )
    return names


def grown_runs(runs: list[Path]) -> list[Bilingual]:
    """A line for each run whose number of epochs was raised while it was trained."""
    before = {run: read_result(run).get("epochs_before") for run in runs}
    return [
        Bilingual(
            f"{run} was started with {' and then '.join(map(str, epochs))} epochs: its learning rate followed another "
            "schedule.",
            f"{run} 开始时定为 {' 轮、后来 '.join(map(str, epochs))} 轮：学习率走的是另一条曲线。",
        )
        for run, epochs in before.items()
        if epochs
    ]

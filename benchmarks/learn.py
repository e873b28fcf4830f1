"""What the defaults learn against the recipe that the toolkit grew from, in equal training time, on a folder of photographs.

    python benchmarks/learn.py --data FOLDER [--nets sa_resnet resnet] [--image_size 96] [--epochs 24 | --minutes M]
                               [--seeds N] [--split auto|val|test] [--changes optimizer=momentum no-flip ...]
                               [-- options of train.py for all]

For each network and seed, recipes/original.yaml trains for --epochs, or for as many as fit into --minutes, and the defaults for
as many as take the same time. With --changes it is the defaults that train first, and then the defaults with each of the
changes, one at a time. What an epoch of each takes is measured before, in trainings of two epochs: the faster of the two;
a difference of less than a tenth counts as none.

The table has the accuracy of each training's best epoch on the test list, which chose nothing (without one, on the validation
list, which chose the epoch), its 95% interval (Wilson), and the seconds of training and validation; below it the cost of an
epoch and the differences with their 95% intervals, as compare.py computes them (docs/verdict.md).

A folder without lists is split first, three tenths for the test. The runs stay in --runs_dir; what is trained there is not
trained again.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from comparison.compared_settings import training_settings  # noqa: E402
from comparison.run_plan import Training, Trainings  # noqa: E402
from comparison.script_process import ProcessFailed, run_script  # noqa: E402
from comparison.side_by_side import one_at_a_time  # noqa: E402
from comparison.significance import paired_difference  # noqa: E402
from config import parse_config  # noqa: E402
from data.data_folder import DataFolder  # noqa: E402
from data.data_sets import count_photographs, digests  # noqa: E402
from data.lists import LABELS, TEST_LIST  # noqa: E402
from evaluation.report import is_evaluated, read_correct, read_metrics  # noqa: E402
from messages.user_error import UserError  # noqa: E402
from trained.history import read_history  # noqa: E402
from trained.result import read_result  # noqa: E402

ORIGINAL = ROOT / "recipes" / "original.yaml"
AGAINST_ORIGINAL = {"original": ("--config", ORIGINAL), "defaults": ()}
NOISE = 0.1
"""Recipes whose measured costs differ by less than this part train for as many epochs: two epochs do not tell them apart."""
PROBE_EPOCHS = 2


class Outcome(NamedTuple):
    """One training: its run, epochs, seconds, best epoch, accuracy with its interval."""

    run: Path
    epochs: int
    seconds: float
    best: int
    accuracy: float
    interval: tuple


def main():
    options = parse()
    split = prepare(options)
    changed = {change: (f"--{change}",) for change in options.changes}
    recipes = {"defaults": (), **changed} if changed else AGAINST_ORIGINAL
    print(f"{options.data}: {' and '.join(options.nets)}, {options.image_size} pixels; accuracy on the {split} list")
    for net in options.nets:
        for recipe, words in recipes.items():
            config_of(options, net, recipe, words, PROBE_EPOCHS, 0)  # a mistyped change is refused before hours of training
    costs = {
        (net, recipe): seconds_of_epoch(options, net, recipe, words)
        for net in options.nets
        for recipe, words in recipes.items()
    }
    outcomes = {}
    for net in options.nets:
        first = costs[net, next(iter(recipes))]
        base = max(round(options.minutes * 60 / first), 1) if options.minutes else options.epochs
        for seed in range(options.seeds):
            for recipe, words in recipes.items():
                epochs = epochs_in_time(base, costs[net, recipe] / first)
                outcome = train(options, net, recipe, words, epochs, seed, split)
                outcomes.setdefault((net, recipe), []).append(outcome)
    report(outcomes, costs, options.nets, list(recipes), split)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--nets", nargs="+", default=["sa_resnet", "resnet"])
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=24, help="of the original recipe")
    parser.add_argument("--minutes", type=float, help="of each training, instead of --epochs")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--split", choices=("auto", "val", "test"), default="auto")
    parser.add_argument("--runs_dir", default="runs/learn")
    parser.add_argument("--changes", nargs="+", default=[], metavar="NAME=VALUE", help="options of train.py, without dashes")
    parser.add_argument("further", nargs="*", help="options of train.py for all, after --")
    return parser.parse_args()


def prepare(options):
    """Split the folder if it has no lists; returns the side to evaluate on."""
    folder = DataFolder.open(options.data)
    if not (folder.lists / LABELS).is_file():
        run_script("train_val_split.py", ["--data", options.data, "--test_fraction", 0.3])
    if options.split != "auto":
        return options.split
    return "test" if (folder.lists / TEST_LIST).is_file() else "val"


def seconds_of_epoch(options, net, recipe, words):
    """Seconds of training and validation."""
    history = read_history(trained_run(options, net, recipe, words, PROBE_EPOCHS, 0))
    return min(row["seconds"] for row in history)


def epochs_in_time(base, cost):
    """As many epochs as take the time of ``base`` ones, where an epoch takes ``cost`` times as long."""
    return base if abs(cost - 1) < NOISE else max(round(base / cost), 1)


def train(options, net, recipe, words, epochs, seed, split):
    run = trained_run(options, net, recipe, words, epochs, seed)
    if not is_evaluated(run, split):
        run_script("eval.py", ["--run", run, "--split", split], quiet=True)
    result, metrics = read_result(run), read_metrics(run, split)
    return Outcome(run, epochs, result["seconds"], result["best"]["epoch"], metrics["acc"], tuple(metrics["acc_interval"]))


def trained_run(options, net, recipe, words, epochs, seed):
    """The run of this training: one that is there, or a new one."""
    config = config_of(options, net, recipe, words, epochs, seed).resolved()
    source = config.data_source()
    chosen = training_settings(config.resolved_for(count_photographs(source)), net, seed)
    trainings = Trainings(config, {0: digests(source)}, one_at_a_time())
    trainings.complete([Training(net, seed, 0, chosen)])
    outcome = trainings.outcomes[net, seed, 0]
    if not isinstance(outcome, Path):
        raise ProcessFailed(f"the training of {net} with {recipe}, seed {seed},{outcome}")
    return outcome


def config_of(options, net, recipe, words, epochs, seed):
    values = {"data": options.data, "net": net, "image_size": options.image_size, "epochs": epochs, "seed": seed}
    values["runs_dir"] = Path(options.runs_dir) / recipe
    given = [*words, *(f"--{name}={value}" for name, value in values.items()), *options.further]
    return parse_config([str(word) for word in given], script="train")


def report(outcomes, costs, nets, recipes, split):
    width = max(map(len, recipes))
    print(f"\n{'network':16} {'recipe':{width}} {'seed':>4} {'epochs':>6} {'best':>5} {'seconds':>8}  accuracy  95% interval")
    for (net, recipe), trained in outcomes.items():
        for seed, outcome in enumerate(trained):
            low, high = outcome.interval
            print(
                f"{net:16} {recipe:{width}} {seed:4d} {outcome.epochs:6d} {outcome.best:5d} {outcome.seconds:8.0f}"
                f"    {outcome.accuracy:.4f}  {low:.4f} to {high:.4f}"
            )
    print()
    first, *others = recipes
    for net in nets:
        answers = {recipe: read_correct([outcome.run for outcome in outcomes[net, recipe]], split)[2] for recipe in recipes}
        for recipe in others:
            found = paired_difference(answers[recipe], answers[first])
            of = "photographs and seeds" if found.seeds else "photographs"
            print(
                f"{net}: {recipe} against {first}: {100 * found.mean:+.1f} points "
                f"({100 * found.low:+.1f} to {100 * found.high:+.1f} over other {of}); "
                f"an epoch takes {costs[net, recipe] / costs[net, first]:.2f} times as long"
            )


if __name__ == "__main__":
    try:
        main()
    except (UserError, ProcessFailed) as error:
        sys.exit(f"learn.py: error: {error}")

"""What the defaults learn against the recipe that the toolkit grew from, in equal training time, on a folder of photographs.

    python benchmarks/learn.py --data FOLDER [--nets sa_resnet resnet] [--image_size 96] [--epochs 24 | --minutes M]
                               [--seeds N] [--split auto|val|test] [--changes optimizer=momentum no-flip ...]
                               [-- options of train.py for all]

For each network and seed, recipes/original.yaml trains for --epochs, and the defaults for as many epochs as fit into the
seconds that it took; with --minutes both train for as many as fit into these. What an epoch takes is measured in two epochs
before. With --changes it is the defaults that train first, and then the defaults with each of the changes, one at a time.

The table has the accuracy of each training's best epoch on the test list, which chose nothing (without one, on the validation
list, which chose the epoch), its 95% interval (Wilson), and the seconds of training and validation; below it the differences
with their 95% intervals, from the paired bootstrap that compare.py uses.

A folder without lists is split first, three tenths for the test. The runs stay in --runs_dir.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from comparison.script_process import ProcessFailed, run_script  # noqa: E402
from comparison.significance import paired_difference  # noqa: E402
from data.data_folder import DataFolder  # noqa: E402
from data.lists import LABELS, TEST_LIST  # noqa: E402
from evaluation.report import read_correct, read_metrics  # noqa: E402
from messages.user_error import UserError  # noqa: E402
from trained.history import read_history  # noqa: E402
from trained.result import read_result  # noqa: E402
from trained.run_folder import newest_run  # noqa: E402

ORIGINAL = ROOT / "recipes" / "original.yaml"
AGAINST_ORIGINAL = {"original": ("--config", ORIGINAL), "defaults": ()}
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
    outcomes, costs = {}, {}
    for net in options.nets:
        for seed in range(options.seeds):
            budget = options.minutes and options.minutes * 60
            for recipe, words in recipes.items():
                epochs = options.epochs
                if budget:
                    if (net, recipe) not in costs:
                        costs[net, recipe] = seconds_of_epoch(options, net, recipe, words)
                    epochs = max(int(budget / costs[net, recipe]), 1)
                outcome = train(options, net, recipe, words, epochs, seed, split)
                budget = budget or outcome.seconds
                outcomes.setdefault((net, recipe), []).append(outcome)
    report(outcomes, options.nets, list(recipes), split)


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
    own = runs_dir(options, recipe) / "probes"
    train_once(options, net, words, PROBE_EPOCHS, 0, own)
    return read_history(newest_run(own, net))[-1]["seconds"]  # the first epoch builds the operators and warms up


def train(options, net, recipe, words, epochs, seed, split):
    own = runs_dir(options, recipe)
    train_once(options, net, words, epochs, seed, own)
    run = newest_run(own, net)
    run_script("eval.py", ["--run", run, "--split", split], quiet=True)
    result, metrics = read_result(run), read_metrics(run, split)
    return Outcome(run, epochs, result["seconds"], result["best"]["epoch"], metrics["acc"], tuple(metrics["acc_interval"]))


def train_once(options, net, words, epochs, seed, own):
    settings = {"data": options.data, "net": net, "image_size": options.image_size, "epochs": epochs, "seed": seed}
    settings["runs_dir"] = own
    run_script("train.py", [*words, *(f"--{name}={value}" for name, value in settings.items()), *options.further])


def runs_dir(options, recipe):
    return Path(options.runs_dir) / recipe


def report(outcomes, nets, recipes, split):
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
                f"({100 * found.low:+.1f} to {100 * found.high:+.1f} over other {of})"
            )


if __name__ == "__main__":
    try:
        main()
    except (UserError, ProcessFailed) as error:
        sys.exit(f"learn.py: error: {error}")

"""How often the verdicts of compare.py are wrong, on simulated comparisons of which the truth is known.

    python benchmarks/verdict_errors.py [--repeats 1000] [--jobs 2]
    python benchmarks/verdict_errors.py --until_decided [--repeats 10000] [--networks 2 3 4 5] [--worth 1]
                                        [--photographs 100 300 1000 3000] [--spreads 0.5 1 2 3] [--differences 0 1 3]
    python benchmarks/verdict_errors.py --slices [--repeats 1000] [--networks 2 3 4 5] [--photographs 100 300 1000 3000]

A network is right on a photograph where the sum of these is above zero: a level, how easy the photograph is for all networks,
how easy for this one, the luck of the seed, and the luck of this seed with this photograph, all normal (a probit model). The
accuracy is 80%; of the variance beside the seed's, 0.6 belongs to the photograph, 0.1 to photograph and network, 0.3 to
photograph and seed: two trainings of one network then disagree on 15% of the photographs. --spreads: standard deviation of the
accuracies of seeds, in points.

The first command prints, for two equal networks, how often the 95% interval of their difference holds the truth, and how
often three points are found. The second one compares until decided, as compare.py does: the first network is better than all
others by --differences points. Wrong is a comparison with at least one wrong statement: better or worse where it is not so,
or closer than --worth where the truth is not. Seeds: trainings of a network on average, of ten.

The third one compares equal networks with three seeds each on ten classes and the thirds of three traits: it prints in how many
comparisons a difference is claimed on any of them.
"""

import argparse
import concurrent.futures
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from comparison.decision import BETTER, CLOSE, FUTILE, MOST_SEEDS, OPEN, WORSE, look_at
from comparison.significance import LEAST_SEEDS, paired_difference
from comparison.slices import THIRDS, differing_slices, parts_of

ACCURACY = 0.8
EASY, EASY_FOR_ONE, LUCK = 0.6, 0.1, 0.3
NORMAL = NormalDist()


def simulated(rng, accuracies, seeds, photographs, spread):
    """bool [seeds, photographs] for each of the networks with these expected accuracies; ``spread`` of seeds as a share."""
    luck_of_seed = spread / NORMAL.pdf(NORMAL.inv_cdf(ACCURACY))
    easy = np.sqrt(EASY) * rng.standard_normal(photographs, np.float32)
    found = []
    for accuracy in accuracies:
        level = NORMAL.inv_cdf(accuracy) * np.sqrt(1 + luck_of_seed**2)
        own = level + easy + np.sqrt(EASY_FOR_ONE) * rng.standard_normal(photographs, np.float32)
        seed = luck_of_seed * rng.standard_normal((seeds, 1), np.float32)
        found.append(own + seed + np.sqrt(LUCK) * rng.standard_normal((seeds, photographs), np.float32) > 0)
    return found


def single(seeds, photographs, spread, repeats):
    """(how often the interval of equal networks holds zero, how often three points are found, mean length in points)."""
    rng = np.random.default_rng(0)
    held = detected = length = 0.0
    for _ in range(repeats):
        equal = paired_difference(*simulated(rng, (ACCURACY, ACCURACY), seeds, photographs, spread))
        held += equal.low <= 0 <= equal.high
        length += equal.high - equal.low
        detected += paired_difference(*simulated(rng, (ACCURACY + 0.03, ACCURACY), seeds, photographs, spread)).low > 0
    return held / repeats, detected / repeats, 100 * length / repeats


def until_decided(networks, photographs, spread, difference, worth, repeats):
    """{"wrong", "best", "close", "futile", "open": shares of comparisons; "seeds": of a network}."""
    rng = np.random.default_rng(0)
    accuracies = dict(zip(map(str, range(networks)), [ACCURACY + difference, *[ACCURACY] * (networks - 1)]))
    counts = dict.fromkeys(("wrong", "best", "close", "futile", "open", "seeds"), 0.0)
    for _ in range(repeats):
        answers = dict(zip(accuracies, simulated(rng, accuracies.values(), MOST_SEEDS, photographs, spread)))
        live, last, trained = list(accuracies), {}, dict.fromkeys(accuracies, 0)
        for seeds in range(LEAST_SEEDS, MOST_SEEDS + 1):
            trained.update(dict.fromkeys(live, seeds))
            look = look_at({name: answers[name][:seeds] for name in live}, live, networks, worth)
            last.update({(pair.first, pair.second): pair.status for pair in look.pairs})
            live = [name for name in live if name not in look.out]
            if len(live) < 2 or look.is_last:
                break
        statuses = set(last.values())
        counts["wrong"] += any(is_wrong(s, accuracies[a] - accuracies[b], worth) for (a, b), s in last.items())
        counts["best"] += live == ["0"]
        counts["close"] += CLOSE in statuses
        counts["futile"] += FUTILE in statuses
        counts["open"] += OPEN in statuses and len(live) > 1
        counts["seeds"] += sum(trained.values()) / networks
    return {name: count / repeats for name, count in counts.items()}


def sliced(networks, photographs, spread, repeats):
    """In which share of comparisons of equal networks anything is said of a slice."""
    rng = np.random.default_rng(0)
    labels = [str(number % 10) for number in range(photographs)]
    said = 0
    for _ in range(repeats):
        answers = simulated(rng, [ACCURACY] * networks, LEAST_SEEDS, photographs, spread)
        traits = {key: rng.random(photographs) for key, _, _ in THIRDS}
        said += bool(differing_slices(dict(zip(map(str, range(networks)), answers)), parts_of(labels, traits)))
    return said / repeats


def is_wrong(status, truth, worth):
    if status == CLOSE:
        return abs(truth) >= worth - 1e-12
    return (status == BETTER and truth <= 0) or (status == WORSE and truth >= 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--until_decided", action="store_true")
    parser.add_argument("--slices", action="store_true")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--networks", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--photographs", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--spreads", type=float, nargs="+", default=[0.5, 1, 2, 3])
    parser.add_argument("--differences", type=float, nargs="+", default=[0, 1, 3])
    parser.add_argument("--worth", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs) as pool:
        if arguments.until_decided:
            print_decisions(arguments, pool)
        elif arguments.slices:
            print_slices(arguments, pool)
        else:
            print_single(arguments, pool)


def print_single(arguments, pool):
    cells = [(seeds, n, s) for seeds in (2, 3, 5, 10) for n in arguments.photographs for s in arguments.spreads]
    tasks = [pool.submit(single, seeds, n, s / 100, arguments.repeats or 1000) for seeds, n, s in cells]
    print("| seeds | photographs | spread | holds the truth | finds three points | length |\n|---|---|---|---|---|---|")
    for (seeds, n, s), task in zip(cells, tasks):
        held, detected, length = task.result()
        print(f"| {seeds} | {n} | {s:g} | {held:.1%} | {detected:.0%} | {length:.1f} |", flush=True)


def print_slices(arguments, pool):
    cells = [(k, n, s) for k in arguments.networks for n in arguments.photographs for s in arguments.spreads]
    tasks = [pool.submit(sliced, k, n, s / 100, arguments.repeats or 1000) for k, n, s in cells]
    print("| networks | photographs | spread | says something of a slice |\n|---|---|---|---|")
    for (k, n, s), task in zip(cells, tasks):
        print(f"| {k} | {n} | {s:g} | {task.result():.1%} |", flush=True)


def print_decisions(arguments, pool):
    cells = [
        (k, n, s, d)
        for k in arguments.networks
        for d in arguments.differences
        for n in arguments.photographs
        for s in arguments.spreads
    ]
    repeats, worth = arguments.repeats or 10_000, arguments.worth / 100
    tasks = [pool.submit(until_decided, k, n, s / 100, d / 100, worth, repeats) for k, n, s, d in cells]
    print("| networks | better by | photographs | spread | wrong | best found | close | futile | open | seeds of 10 |")
    print("|---" * 10 + "|")
    for (k, n, s, d), task in zip(cells, tasks):
        found = task.result()
        shares = " | ".join(f"{found[name]:.0%}" for name in ("best", "close", "futile", "open"))
        print(f"| {k} | {d:g} | {n} | {s:g} | {found['wrong']:.2%} | {shares} | {found['seeds']:.1f} |", flush=True)


if __name__ == "__main__":
    main()

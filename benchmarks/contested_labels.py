"""Which labels the networks of a comparison contest, on simulated comparisons of which the true labels are known.

    python benchmarks/contested_labels.py [--repeats 150]

Three networks with three trainings each see 600 photographs of ten classes. A logit is the sum of what all networks see in the
photograph, of what this network sees, and of the luck of the training, all normal; the true class has more, and the first
network gives it more than the others. 5% of the labels are spoilt, or none. It prints, for confident learning alone and for the
rule of comparison/contested.py, how many labels are contested, how many of these are spoilt, and by how many points the
difference of the first two networks then is off that with the true labels on all photographs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from comparison.contested import other_classes
from evaluation.confident_learning import find_label_errors

PHOTOGRAPHS, CLASSES, NETWORKS, TRAININGS = 600, 10, 3, 3
SEEN_BY_ALL, SEEN_BY_ONE, LUCK = 0.8, 0.6, 0.6  # standard deviations
GAIN = 0.3
"""By which the first network sees the true class better."""
SPOILT = 0.05


def answers_of(rng, true, seen, strength):
    """(classes int [trainings, N], votes [N, C]) of one network that sees the true class with ``strength``."""
    seen = seen + rng.normal(0, SEEN_BY_ONE, (PHOTOGRAPHS, CLASSES))
    rows, said, votes = np.arange(PHOTOGRAPHS), [], np.zeros((PHOTOGRAPHS, CLASSES))
    for _ in range(TRAININGS):
        logits = seen + rng.normal(0, LUCK, (PHOTOGRAPHS, CLASSES))
        logits[rows, true] += strength
        logits *= strength / (SEEN_BY_ALL**2 + SEEN_BY_ONE**2 + LUCK**2)  # so that confidences are right
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        said.append(probabilities.argmax(axis=1))
        votes[rows, said[-1]] += probabilities.max(axis=1) / TRAININGS
    return np.array(said), votes


def simulated(rng, strength, share):
    """{rule: (contested, spoilt among them, points off)}, the accuracy of the second network, the true difference in points."""
    true = rng.integers(0, CLASSES, PHOTOGRAPHS)
    seen = rng.normal(0, SEEN_BY_ALL, (PHOTOGRAPHS, CLASSES))
    said, votes = zip(*(answers_of(rng, true, seen, strength + GAIN * (place == 0)) for place in range(NETWORKS)))
    spoilt = np.isin(np.arange(PHOTOGRAPHS), rng.choice(PHOTOGRAPHS, round(share * PHOTOGRAPHS), replace=False))
    labels = np.where(spoilt, (true + rng.integers(1, CLASSES, PHOTOGRAPHS)) % CLASSES, true)

    def difference(of, kept):
        return 100 * ((said[0] == of)[:, kept].mean() - (said[1] == of)[:, kept].mean())

    truth = difference(true, np.ones(PHOTOGRAPHS, bool))
    rules = {
        "all photographs": np.zeros(PHOTOGRAPHS, bool),
        "confident learning": find_label_errors(labels, np.mean(votes, axis=0)).contested,
        "the comparison's": other_classes(labels, votes) >= 0,
    }
    found = {name: (own.sum(), (own & spoilt).sum(), difference(labels, ~own) - truth) for name, own in rules.items()}
    return found, (said[1] == true).mean(), truth


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=150)
    repeats = parser.parse_args().repeats
    print(
        "| accuracy | better by | spoilt | without | contested | of these spoilt | points off |\n|---|---|---|---|---|---|---|"
    )
    for strength in (0.3, 1.0, 2.0, 3.0):
        for share in (0.0, SPOILT):
            rng = np.random.default_rng(0)
            runs = [simulated(rng, strength, share) for _ in range(repeats)]
            accuracy, truth = (np.mean([run[place] for run in runs]) for place in (1, 2))
            for rule in runs[0][0]:
                contested, right, off = np.mean([run[0][rule] for run in runs], axis=0)
                start = f"| {accuracy:.0%} | {truth:.1f} | {round(share * PHOTOGRAPHS)}"
                print(f"{start} | {rule} | {contested:.1f} | {right:.1f} | {off:+.2f} |", flush=True)


if __name__ == "__main__":
    main()

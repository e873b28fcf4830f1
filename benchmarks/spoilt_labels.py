"""How many wrong labels suspects.py finds: labels of real photographs are moved at random, networks are trained on folds.

    python benchmarks/spoilt_labels.py --data photographs.zip [--share 0.05] [--folds 3] [--epochs 14] [--net resnet18]

``--data``: class folders, or an archive of them. They stay as they are: the spoilt labels, lists and runs go into a temporary
folder, or into --keep FOLDER. ``--net small``, the default, is a residual network of three blocks that trains on a CPU in
minutes. The last lines say which share of the spoilt labels stands among the first 5, 10 and 20% of suspects.csv.
"""

import argparse
import contextlib
import csv
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import suspects  # noqa: E402
import train  # noqa: E402
from config import Config  # noqa: E402
from data.class_folders import find_in_folders  # noqa: E402
from data.data_folder import DataFolder  # noqa: E402
from data.splitting import split_folder  # noqa: E402
from networks import NETWORKS, Lazy  # noqa: E402

SHARES = (0.05, 0.1, 0.2)  # of the list
SMALL = "small"
STANDS_FOR = "resnet18"  # whose name the small network takes: settings know only the networks of the toolkit


def small_network(num_classes, zero_init_residual=False):
    """[N, 3, H, W] -> [N, num_classes]: a stem and three residual blocks of 24, 48 and 96 channels."""
    import paddle
    from paddle import nn

    from ops.batch_norm import BatchNorm2D, apply_norm
    from sa_resnet import BasicBlock, conv

    class Small(nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = conv(3, 24, 3, stride=2), BatchNorm2D(24)
            self.stages = nn.Sequential(*(BasicBlock(i, o, 2, None) for i, o in ((24, 24), (24, 48), (48, 96))))
            self.fc = nn.Linear(96, num_classes)
            for block in self.stages if zero_init_residual else ():
                block.last_norm.weight.set_value(paddle.zeros_like(block.last_norm.weight))

        def forward(self, x):
            x = apply_norm(self.bn1, self.conv1(x), relu=True)
            return self.fc(paddle.mean(self.stages(x), axis=[2, 3]))

    return Small()


def spoil(data, share, seed, table):
    """Write the file ``table`` of path and label, with a ``share`` of the labels moved; returns the paths of these."""
    found = find_in_folders(DataFolder.open(data)).classes
    rows = sorted((path, name) for name, paths in found.items() for path in paths)
    rng = np.random.default_rng(seed)
    moved = set(rng.choice(len(rows), round(share * len(rows)), replace=False).tolist())
    spoilt = []
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for place, (path, name) in enumerate(rows):
            if place in moved:
                name = rng.choice([other for other in sorted(found) if other != name])
                spoilt.append(path)
            writer.writerow([path, name])
    return spoilt


def measure(options, place):
    """Train on all folds and look for suspects; prints how many of the spoilt labels stand where in the list."""
    spoilt = set(spoil(options.data, options.share, options.seed, place / "labels.csv"))
    if options.net == SMALL:
        NETWORKS[STANDS_FOR] = Lazy("spoilt_labels", "small_network")
    lists, net = str(place / "lists"), STANDS_FOR if options.net == SMALL else options.net
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        split_folder(
            options.data, labels=place / "labels.csv", file_column="path", label_column="label", lists_dir=lists,
            folds=options.folds,
        )  # fmt: skip
    given = frozenset({"data", "lists_dir"})
    places = {"data": str(options.data), "lists_dir": lists, "runs_dir": str(place / "runs"), "net": net, "given": given}
    for fold in range(1, options.folds + 1):
        settings = Config(
            **places, fold=fold, image_size=options.image_size, epochs=options.epochs, optimizer="adamw", learning_rate=0.004,
            zero_init_residual=True, crop_min_area=0.6, num_workers=0, threads=options.threads,
        )  # fmt: skip
        if train.main(settings):
            raise SystemExit("a training failed")
    if suspects.main(Config(**places, num_workers=0, threads=options.threads)):
        raise SystemExit("suspects.py failed")
    with open(place / "runs" / "suspects" / "001" / "suspects.csv", encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    hits = np.array([row["path"] in spoilt for row in listed])
    contested = np.array([row["suspect"] == "yes" for row in listed])
    print(f"{len(listed)} photographs, {hits.sum()} with a spoilt label; {hits[contested].sum()} of these among the suspects")
    for share in SHARES:
        first = round(share * len(listed))
        caught = int(hits[:first].sum())
        print(f"among the first {share:.0%} ({first}): {caught} of {hits.sum()}, {caught / hits.sum():.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--image_size", type=int, default=48)
    parser.add_argument("--net", default=SMALL)
    parser.add_argument("--seed", type=int, default=0, help="of the labels that move")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--keep", type=Path, help="folder to leave labels, lists, runs and the page in")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        measure(options, place)


if __name__ == "__main__":
    main()

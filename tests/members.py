"""A process of those that tests/test_processes.py starts together: trains small networks and tells what it has found."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import paddle  # noqa: E402
import paddle.nn.functional as F  # noqa: E402
from paddle import nn  # noqa: E402
from tiny_network import TinyResNet  # noqa: E402

from data.loader import PhotographLoader  # noqa: E402
from ops.synchronised_norm import synchronise  # noqa: E402
from processes import group  # noqa: E402
from processes.environment import here  # noqa: E402
from sa_resnet import BlockAttention  # noqa: E402
from training.averaging import WeightAverage  # noqa: E402
from training.batch_statistics import share_statistics  # noqa: E402
from training.epoch_metrics import EPOCH_METRICS, LogitRecorder  # noqa: E402
from training.mixing import Mixing  # noqa: E402
from training.model import TrainingModel  # noqa: E402
from training.optimization import build_optimizer  # noqa: E402

CLASSES = 4
WAYS = {
    "float32": {"kind": "float32"},
    "float64": {"kind": "float64"},
    "adamw": {"kind": "float64", "optimizer": "adamw", "learning_rate": 0.001},
    "mixed": {"kind": "float64", "mixup": 0.4, "cutmix": 1.0, "accumulate": 3},
}


class Photographs(paddle.io.Dataset):
    def __init__(self, length):
        super().__init__()
        rng = np.random.default_rng(5)
        self.labels = rng.integers(0, CLASSES, length)
        self.images = rng.integers(0, 256, (length, 3, 16, 16), dtype=np.uint8)
        self.images[:, :, :8] //= 1 + self.labels.astype(np.uint8)[:, None, None, None]  # so that there is something to learn

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], np.int64(self.labels[index])


class Pixels(nn.Layer):
    """As networks.classifier.Classifier, in any type of numbers."""

    def __init__(self, network, kind):
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, images):
        return self.network(images.astype(self.kind) / 127.5 - 1)


class CrossEntropy(nn.Layer):
    """In the type of the logits [N, C], for labels [N] or soft ones [N, C]: training.losses computes in float32."""

    def forward(self, logits, labels):
        shares = labels if labels.ndim == 2 else F.one_hot(labels, CLASSES)
        return -(shares.astype(logits.dtype) * F.log_softmax(logits, axis=1)).sum(axis=1).mean()


class Recording(TrainingModel):
    losses: list

    def train_batch(self, *arguments):
        self.losses.append(super().train_batch(*arguments))


def classifier_of(kind):
    """A network with Shuffle Attention and random, not initial, parameters."""
    paddle.seed(3)
    before = paddle.get_default_dtype()
    paddle.set_default_dtype(kind)
    try:
        classifier = Pixels(TinyResNet(CLASSES, BlockAttention("shuffle", groups=4)), kind)
    finally:
        paddle.set_default_dtype(before)
    rng = np.random.default_rng(7)
    for parameter in classifier.parameters():
        parameter.set_value((parameter.numpy() + rng.normal(0, 0.1, parameter.shape)).astype(kind))
    return classifier


def train(kind, accumulate=1, optimizer="momentum", learning_rate=0.02, **mixing):
    """Two epochs with batch norm over all: {"losses", "sums" of the metrics, "weights", "logits" in evaluation}."""
    classifier = classifier_of(kind)
    if here().count > 1:
        synchronise(classifier)
    model = Recording(classifier)
    model.losses, model.mixing = [], Mixing(CLASSES, 1, **mixing)
    photographs = Photographs(103)
    loader = PhotographLoader(photographs, 10, shuffle=True, accumulate=accumulate, part=here())
    updates = build_optimizer(classifier, len(loader), 2, optimizer=optimizer, learning_rate=learning_rate)
    metrics = [metric() for metric in EPOCH_METRICS]
    model.prepare(updates, CrossEntropy(), metrics)
    average = WeightAverage(classifier, 1.0, len(loader))
    for epoch in range(2):
        loader.batches.set_epoch(epoch)
        for step, batches in enumerate(loader.steps()):
            model._train_step(batches, 1, epoch, step)
            average.update(epoch, step)
    share_statistics(classifier, average)
    shown = PhotographLoader(photographs, 10, part=here())
    seen = LogitRecorder(200, shown.starts())
    values = model.evaluate(shown, seen=seen)
    logits, labels = seen.results()
    return {
        "losses": model.losses,
        "values": list(values.values()),
        "weights": np.concatenate([value.numpy().ravel() for value in classifier.state_dict().values()]),
        "averages": np.concatenate([value.numpy().ravel() for value in average.averages.values()]),
        "logits": logits,
        "labels": labels,
    }


def statistics():
    """The running statistics of one batch norm that each process has trained by itself, then shared; and the average's."""
    norm = nn.BatchNorm2D(2)
    average = WeightAverage(norm, 1.0, 10)
    norm(paddle.full([2, 2, 3, 3], 1.0 + here().rank))
    average.averages["_mean"].set_value(paddle.full([2], 10.0 * here().rank))
    share_statistics(norm, average)
    return {"mean": norm._mean.numpy(), "average": average.averages["_mean"].numpy()}


def exchanged():
    rank = here().rank
    parts = group.gathered_arrays(np.full((rank, 2), rank, np.uint8))  # the first has none
    return {
        "gathered": np.concatenate(parts),
        "lengths": [len(part) for part in parts],
        "totals": group.totals([rank, 0.5]),
        "text": np.array([group.from_first("von der ersten: 第一" if rank == 0 else "")]),
    }


def main(folder):
    paddle.set_device("cpu")
    with group.joined():
        found = {"statistics": statistics(), "exchanged": exchanged()}
        found.update({name: train(**way) for name, way in WAYS.items()})
        arrays = {f"{name}.{key}": np.asarray(value) for name, values in found.items() for key, value in values.items()}
        np.savez(Path(folder) / f"{here().rank}.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])

"""Batch norm's running statistics at the size of evaluation, where a network is trained at another one.

The mean and variance of a feature map depend on the size of the images: a convolution sees finer or coarser detail, and more
or less of a padded border. So running statistics that a training at one size has recorded are wrong at another one. They are
estimated anew from training photographs: Y. Wu, J. Johnson, "Rethinking 'Batch' in BatchNorm", 2021 (arXiv 2105.07576), section
3.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy as np
import paddle
from paddle import Tensor, nn

from config import Config
from data.loader import PhotographLoader
from data.photograph_dataset import PhotographDataset
from processes import group
from processes.environment import here
from training.averaging import WeightAverage

NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)
MAX_PHOTOGRAPHS = 256  # as good as all of a training list, see docs/training.md
SALT = 0x5A1E  # tells these random numbers from others that follow from seed and epoch


def estimate_statistics(classifier: nn.Layer, batches: Iterable[Sequence[Tensor]]) -> None:
    """Replace the running statistics of each batch norm that learns by those of ``batches``; nothing else changes.

    ``classifier``: a Layer with whatever weights it has, such as averaged ones. ``batches``: of images [N, 3, H, W], each with
    whatever else, as evaluation shows them. Batch norms normalise by the batch meanwhile, all other layers compute as in
    evaluation, so nothing is random. Over all photographs, mean = E[mean of a batch] and variance = E[variance of a batch +
    (mean of a batch)^2] - mean^2. Leaves the network in evaluation mode. Batch norms that are frozen keep their statistics.
    """
    classifier.train()
    norms = [layer for layer in classifier.sublayers(include_self=True) if isinstance(layer, NORMS) and _learns(layer)]
    classifier.eval()
    if not norms:
        return
    momenta = [norm._momentum for norm in norms]
    means: list[Any] = [0.0] * len(norms)
    squares: list[Any] = [0.0] * len(norms)
    count = 0
    try:
        for norm in norms:
            norm.training, norm._momentum = True, 0.0  # running statistics become those of the batch
        with paddle.no_grad():
            for images, *_ in batches:
                classifier(images)
                count += images.shape[0]
                for place, norm in enumerate(norms):
                    means[place] += images.shape[0] * norm._mean
                    squares[place] += images.shape[0] * (norm._variance + norm._mean.square())
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.training, norm._momentum = False, momentum
    for norm, total, total_of_squares in zip(norms, means, squares):
        mean = total / count
        norm._mean.set_value(mean)
        norm._variance.set_value((total_of_squares / count - mean.square()).clip(min=0.0))


@paddle.no_grad()
def share_statistics(classifier: nn.Layer, average: Optional[WeightAverage] = None) -> None:
    """Give each process the mean of all processes' running statistics, where each has its own; and of their ``average``.

    They do not act on the training; validation, and what is saved, then has the photographs of all. The network is in training
    mode. Frozen batch norms, and those over all processes, stay as they are.
    """
    count = here().count
    if count == 1:
        return
    norms = [layer for layer in classifier.sublayers(include_self=True) if isinstance(layer, NORMS) and _learns(layer)]
    norms = [norm for norm in norms if not getattr(norm, "over_processes", None)]  # these have the same everywhere
    own = [statistic for norm in norms for statistic in (norm._mean, norm._variance)]
    if average:
        names = {statistic.name for statistic in own}
        own += [average.averages[name] for name, weight in average.weights.items() if weight.name in names]
    if own:
        shared = group.total(paddle.concat([statistic.reshape([-1]) for statistic in own])) / count  # each [C]
        for statistic, values in zip(own, shared.split([statistic.size for statistic in own])):
            paddle.assign(values, output=statistic)


def _learns(norm):
    return norm.training and not norm._use_global_stats


def photographs_for_statistics(train_set: PhotographDataset, config: Config, epoch: int) -> PhotographLoader:
    """Batches of at most MAX_PHOTOGRAPHS of ``train_set``, as evaluation shows them.

    ``config``: its seed decides, together with ``epoch``, which ones.
    """
    order = np.random.default_rng((config.seed, SALT, epoch)).permutation(len(train_set))
    chosen = paddle.io.Subset(train_set.in_evaluation(config.image_size), order[:MAX_PHOTOGRAPHS].tolist())
    return PhotographLoader(chosen, config.batch_size, config.num_workers or 0)

"""What the frozen part of a network before a stage gives for photographs, computed once where it fits into memory."""

import numpy as np
import paddle
from paddle import Tensor

from data.loader import PhotographLoader
from data.photograph_dataset import PhotographDataset
from messages.progress import ProgressBar
from networks.classifier import Classifier

MEMORY = 2**30
"""Bytes that the images of a list may take, and what a stage sees of them."""
MAX_VIEWS = 4


class Photographs:
    """``images`` uint8 [views * N, 3, S, S] of N photographs, one view of all after the other; ``labels`` int64 [N]; ``rows``:
    [N], their places in the list, in its order."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray):
        self.images, self.labels, self.rows = images, labels, rows
        self.views = len(images) // len(labels)

    def __len__(self) -> int:
        return len(self.labels)


class StageInputs:
    """What ``stage`` of the ``classifier``'s network, which is a ResNet, sees of the ``photographs``.

    It is kept in main memory if it takes at most ``memory`` bytes; else each batch is computed from the images when it is asked
    for.
    """

    def __init__(self, classifier: Classifier, stage: int, photographs: Photographs, batch_size: int, memory: int = MEMORY):
        self.classifier, self.stage, self.photographs = classifier, stage, photographs
        images = photographs.images
        first = self._compute(images[:1])
        self.kept = None
        if first[0].nbytes * len(images) <= memory:
            self.kept = np.empty((len(images), *first.shape[1:]), first.dtype)
            for start in range(0, len(images), batch_size):
                self.kept[start : start + batch_size] = self._compute(images[start : start + batch_size])

    def batch(self, rows: np.ndarray, view: int = 0) -> tuple[Tensor, Tensor]:
        """(what the stage sees of the photographs ``rows`` [B] in their ``view``: [B, C, H, W]; their labels [B])."""
        places = rows + len(self.photographs) * (view % self.photographs.views)
        seen = self._compute(self.photographs.images[places]) if self.kept is None else self.kept[places]
        return paddle.to_tensor(seen), paddle.to_tensor(self.photographs.labels[rows])

    def _compute(self, images):
        with paddle.no_grad():
            normalised = self.classifier.normalised(paddle.to_tensor(images))
            return self.classifier.network.input_of_stage(self.stage, normalised).numpy()


def read_photographs(
    dataset: PhotographDataset, batch_size: int, num_workers: int, views: int = 1, seed: int = 0, memory: int = MEMORY
) -> Photographs:
    """The photographs of ``dataset`` as it shows them, each in so many ``views``: those of its first epochs.

    Where they would take more than ``memory`` bytes, fewer views, and where one is too much, a random part of the photographs
    by ``seed``. Raises DataError where a photograph cannot be read.
    """
    of_one = 3 * dataset.image_size**2
    count = max(1, min(len(dataset), memory // of_one))
    views = max(1, min(views, memory // (of_one * count)))
    rows = np.arange(len(dataset))
    if count < len(rows):
        rows = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:count])
        dataset = _Part(dataset, rows)  # type: ignore[assignment]
    images = np.empty((views * count, 3, dataset.image_size, dataset.image_size), np.uint8)
    labels = np.empty(count, np.int64)
    loader = PhotographLoader(dataset, batch_size, num_workers)
    bar = ProgressBar(views * len(loader), "reading")
    for view in range(views):
        loader.set_epoch(view)
        place = 0
        for step, (pixels, own) in enumerate(loader, start=1):
            end = place + own.shape[0]
            images[view * count + place : view * count + end], labels[place:end] = pixels.numpy(), own.numpy()
            place = end
            bar.update(view * len(loader) + step)
    bar.close()
    return Photographs(images, labels, rows)


class _Part(paddle.io.Dataset):
    """The photographs ``rows`` of a ``dataset``, of any kind."""

    def __init__(self, dataset, rows):
        super().__init__()
        self.dataset, self.rows, self.image_size = dataset, rows, dataset.image_size

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.dataset[int(self.rows[index])]

    def set_epoch(self, epoch, image_size=None):
        self.dataset.set_epoch(epoch, image_size)

"""A trained network as the server uses it; only the thread that owns Paddle calls what computes."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image

from config import Config
from data.photograph_dataset import PhotographDataset
from data.photographs import PhotographBytes, read_crop
from explanation.pictures import HEAT
from inference.predictor import open_predictor
from networks.class_activation import grad_cam
from trained.trained_run import TrainedRun

HEAT_BATCH = 4  # photographs: a backward pass keeps all their feature maps in memory, and strangers choose how many wait


class Explained(NamedTuple):
    """A heat map as a picture [S, S]; ``empty``: nothing speaks for the class."""

    heat: Image.Image
    empty: bool


class ServedNetwork:
    """The network of ``run`` under the name that users see.

    ``view``: what tells apart how networks see photographs, for use as a key.
    """

    def __init__(self, run: TrainedRun, name: str, config: Config):
        self.run, self.name, self.classes = run, name, list(run.classes)
        self.view = tuple(sorted(run.view.items()))
        self._predictor = open_predictor(run, config, apart=True)
        self._dataset = PhotographDataset(train=False, **run.view)

    def pixels(self, photograph: PhotographBytes) -> np.ndarray:
        """uint8 [3, S, S] of a photograph, as evaluation shows it to this network; from any thread. Raises PhotographError."""

        def cut(choose_box, image_size, flip):
            return read_crop(photograph, choose_box, image_size, flip)

        return self._dataset.show(cut, 0)

    def predict(self, pixels: list[np.ndarray]) -> np.ndarray:
        """Class probabilities float32 [N, C] of N photographs uint8 [3, S, S]; CheckpointError if they are no numbers."""
        answers = self._predictor.predict(np.stack(pixels))
        self.run.check_answers(answers)
        return answers

    def explain(self, items: list[tuple[np.ndarray, int]]) -> list[Explained]:
        """The heat maps of N photographs uint8 [3, S, S] for one class each, given by its label."""
        explained = []
        for start in range(0, len(items), HEAT_BATCH):
            pixels, labels = zip(*items[start : start + HEAT_BATCH])
            maps, _ = grad_cam(self.run.classifier(), np.stack(pixels), list(labels))
            explained += [Explained(_coloured(heat), not heat.any()) for heat in maps]
        return explained

    def warm_up(self) -> None:
        """Load the network and let it compute once, so that the first visitor does not wait for it.

        On noise: it is by this batch that open_predictor checks the network's program.
        """
        size = self.run.settings.image_size
        self.predict([np.random.default_rng(0).integers(0, 256, (3, size, size), np.uint8)])


def _coloured(heat):
    """The RGB picture of a map [S, S] of 0..1, in the colours of gradcam.py."""
    return Image.fromarray(matplotlib.colormaps[HEAT](heat, bytes=True)[:, :, :3].copy())

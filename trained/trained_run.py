"""A trained network with all that its run tells of it: what eval.py, gradcam.py and compare.py open, and scripts to come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F

from config import Config, config_of_checkpoint
from data.data_sets import find_data, open_dataset
from data.lists import DataError
from data.photograph_dataset import PhotographDataset
from networks import build_network
from networks.classifier import Classifier
from trained.checkpoint import CheckpointError, load_network_state, read_header
from trained.run_folder import best_checkpoint, newest_finished_run


class TrainedRun:
    """The network of a run's best epoch: open it with ``open``, ``newest`` or ``chosen``.

    ``folder``: of the run. ``checkpoint``: the file of the best epoch; ``header``: what is in it, see trained.header.
    ``settings``: the Config that it was trained with. ``net``: its name as in networks.NETWORKS. ``classes``: names in label
    order. ``epoch``: whose weights these are, from 1. ``view``: how photographs are shown to it, the arguments of
    data.photograph_dataset.PhotographDataset. Weights are read when they are first asked for, onto Paddle's current device.
    """

    def __init__(self, folder: Path, checkpoint: Path, header: dict, settings: Config):
        self.folder, self.checkpoint, self.header, self.settings = folder, checkpoint, header, settings
        self.net, self.classes, self.epoch = settings.net, header["classes"], header["epoch"]
        self.view = settings.part("view")
        self._classifier: Classifier | None = None

    @classmethod
    def open(cls, folder: str | Path) -> TrainedRun:
        """The trained network of the run in ``folder``, whether or not its training finished.

        Raises RunError where no epoch was good enough to be saved, CheckpointError, ConfigError and FormatError where its best
        checkpoint is missing or cannot be used.
        """
        folder = Path(folder)
        checkpoint = best_checkpoint(folder)
        header = read_header(checkpoint)
        return cls(folder, checkpoint, header, config_of_checkpoint(header, checkpoint))

    @classmethod
    def newest(cls, runs_dir: str | Path, net: str) -> TrainedRun:
        """That of the newest finished run of ``net``; raises RunError naming what is there instead, and as ``open`` does."""
        return cls.open(newest_finished_run(runs_dir, net))

    @classmethod
    def chosen(cls, config: Config) -> TrainedRun:
        """That of the run that ``config.run`` names, else of the newest finished run of ``config.net`` in ``config.runs_dir``.

        Raises CheckpointError where the user gave both and they contradict each other, and as ``open`` and ``newest`` do.
        """
        if not config.run:
            return cls.newest(config.runs_dir, config.net)
        run = cls.open(config.run)
        if "net" in config.given and config.net != run.net:
            raise CheckpointError(f"{run.folder} holds {run.net}, not {config.net}")
        return run

    @property
    def name(self) -> str:
        """The network and the number of the run, such as "sa_resnet 003"."""
        return f"{self.net} {self.folder.resolve().name}"

    def classifier(self) -> Classifier:
        """uint8 [N, 3, H, W] -> logits [N, C], in evaluation mode, with its own weights, mean and std; always the same object.

        Raises CheckpointError where the checkpoint holds another network than its settings say, NetworkError where these
        cannot be built.
        """
        if self._classifier is None:
            classifier = Classifier(build_network(self.net, len(self.classes), **self.settings.network_options()))
            load_network_state(self.checkpoint, classifier)
            classifier.eval()
            self._classifier = classifier
        return self._classifier

    def predict(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Class probabilities float32 [N, C] of images uint8 [N, 3, H, W], as ``view`` shows them; N may be 0.

        The network sees ``batch_size`` images at once. Raises as ``classifier`` does.
        """
        classifier, found = self.classifier(), [np.empty((0, len(self.classes)), np.float32)]
        with paddle.no_grad():
            for start in range(0, len(images), batch_size):
                logits = classifier(paddle.to_tensor(images[start : start + batch_size]))
                found.append(F.softmax(logits.astype("float32"), axis=1).numpy())
        return np.concatenate(found)

    def open_validation_set(
        self, data: str | None = None, follow_links: bool | None = None, dataset: str | None = None
    ) -> PhotographDataset:
        """The validation side of a data set, shown as evaluation shows it to this network.

        ``data``, ``follow_links``, ``dataset``: see data.data_sets.open_dataset; None: as in the training. Raises DataError.
        """
        dataset = self.settings.dataset if dataset is None else dataset
        return open_dataset(
            dataset,
            find_data(dataset, self.settings.data if data is None else data),
            train=False,
            follow_links=self.settings.follow_links if follow_links is None else follow_links,
            **self.view,
        )

    def check_classes(self, dataset: PhotographDataset) -> None:
        """Raise DataError, naming the difference, unless ``dataset`` has the very classes that the run was trained on."""
        own, found = list(self.classes), list(dataset.classes)
        if own == found:
            return
        only_run, only_data = [name for name in own if name not in found], [name for name in found if name not in own]
        difference = f"only in the run: {', '.join(only_run) or 'none'}; only in the data: {', '.join(only_data) or 'none'}"
        if not only_run and not only_data:
            difference = "the same names in another order"
        raise DataError(f"{self.folder} was trained on {len(own)} classes, {dataset.data} has {len(found)} ({difference})")

    def check_val_list(self, dataset: PhotographDataset, asked_for: bool) -> bool:
        """Whether ``dataset`` has the list that the run was validated on.

        Raises CheckpointError where it has another one that the user has not ``asked_for``.
        """
        same = dataset.digest() == self.header["list_sha256"]["val"]
        if not same and not asked_for:
            raise CheckpointError(
                f"{dataset.source} is not the list that {self.folder} was validated on: it may hold photographs that the run "
                f"was trained on. Train anew, or say --data {dataset.data} to use it all the same"
            )
        return same

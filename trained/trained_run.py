"""A trained network with the data of its run, for eval.py, gradcam.py, compare.py and users' own scripts."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from config import Config, ConfigError, config_of_checkpoint, load_config, names_of
from data.data_sets import digests, find_data, open_side, open_test_set
from data.data_source import DataSource
from data.lists import DataError
from data.photograph_dataset import PhotographDataset
from data.photograph_record import same_as_far_as_known
from data.photographs import PhotographError, read_crop
from messages.quoting import listed
from messages.terminal import printable
from networks import build_network
from networks.classifier import Classifier
from settings.format_number import FormatError
from trained.checkpoint import CheckpointError, load_network_state, read_header
from trained.known_data import is_permitted, permitted_source, same_place
from trained.run_folder import best_checkpoint, check_plain, newest_finished_run


class TrainedRun:
    """The network of a run's best epoch: open it with ``open``, ``newest`` or ``chosen``.

    ``folder``: of the run. ``checkpoint``: the file of the best epoch; ``header``: its header, see trained.header.
    ``settings``: the Config of its training, with the newest place of its data. ``net``: its name in networks.NETWORKS.
    ``classes``: names in label order. ``epoch``: the best epoch, from 1. ``view``: how the network sees photographs, as
    arguments of data.photograph_dataset.PhotographDataset. ``classifier`` reads the weights at its first call, onto Paddle's
    current device. ``temperature``: what logits are divided by before softmax, so that confidence means something: see
    trained.calibration; 1 where the run, of an older version, has none. ``is_calibrated``: whether it has one. ``layout``: of
    the feature maps of ``classifier``, "nchw" unless set to "nhwc"; weights know nothing of it.
    """

    def __init__(self, folder: Path, checkpoint: Path, header: dict[str, Any], settings: Config):
        self.folder, self.checkpoint, self.header, self.settings = folder, checkpoint, header, settings
        self.net, self.classes, self.epoch = settings.net, header["classes"], header["epoch"]
        self.view = settings.part("view")
        self.is_calibrated = header["temperature"] is not None
        self.temperature: float = header["temperature"] if self.is_calibrated else 1.0
        self.layout = "nchw"
        self._classifier: Classifier | None = None

    @classmethod
    def open(cls, folder: str | Path) -> TrainedRun:
        """The trained network of the run in ``folder``, whether or not its training finished.

        Raises RunError if no epoch was good enough to be saved or the folder holds links, CheckpointError, ConfigError or
        FormatError if its best checkpoint is missing or unusable.
        """
        folder = Path(folder)
        check_plain(folder)
        checkpoint = best_checkpoint(folder)
        header = read_header(checkpoint)
        return cls(folder, checkpoint, header, _with_place(folder, config_of_checkpoint(header, checkpoint)))

    @classmethod
    def newest(cls, runs_dir: str | Path, net: str) -> TrainedRun:
        """The network of the newest finished run of ``net``; raises RunError if there is none, and as ``open`` does."""
        return cls.open(newest_finished_run(runs_dir, net))

    @classmethod
    def chosen(cls, config: Config) -> TrainedRun:
        """The network of the run ``config.run``, else of the newest finished run of ``config.net`` in ``config.runs_dir``.

        Raises CheckpointError if the user gave both and they contradict each other, and as ``open`` and ``newest`` do.
        """
        if not config.run:
            return cls.newest(config.runs_dir, config.net)
        run = cls.open(config.run)
        if "net" in config.given and config.net != run.net:
            raise CheckpointError(f"{run.folder} holds {run.net}, not {config.net}: leave out one of --run and --net")
        return run

    @property
    def name(self) -> str:
        """The names of network and run folder, such as "sa_resnet 003"."""
        return f"{self.net} {self.folder.resolve().name}"

    @property
    def calibration_note(self) -> str:
        """A line for users where the run has no temperature; empty where it has one."""
        if self.is_calibrated:
            return ""
        return (
            f"note: {printable(self.folder)} has no temperature, as an older version trained it: its confidences are not "
            f"calibrated; a training from now on has one"
        )

    def classifier(self) -> Classifier:
        """The network with its weights, mean and std, in evaluation mode: uint8 [N, 3, H, W] -> logits [N, C].

        Every call returns the same object. Raises CheckpointError if the checkpoint does not fit the network of its settings,
        NetworkError if that cannot be built.
        """
        if self._classifier is None:
            self._classifier = self.load_classifier()
        return self._classifier

    def load_classifier(self) -> Classifier:
        """As ``classifier``, but a new object at every call, which the caller may change."""
        network = build_network(self.net, len(self.classes), self.layout, **self.settings.network_options())
        classifier = Classifier(network)
        load_network_state(self.checkpoint, classifier)
        classifier.eval()
        return classifier

    def read_photograph(self, path: str | Path) -> np.ndarray:
        """uint8 [3, image_size, image_size] of a photograph's file, as evaluation shows it to this network.

        Raises DataError where it cannot be read.
        """
        try:
            return PhotographDataset(train=False, **self.view).show(functools.partial(read_crop, path), 0)
        except PhotographError as error:
            raise DataError(f"{path}: {error}") from None

    def predict(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Class probabilities float32 [N, C] of images uint8 [N, 3, H, W], as read_photograph gives them; N may be 0.

        The network sees ``batch_size`` images at once. Raises as ``classifier`` does.
        """
        classifier, found = self.classifier(), [np.empty((0, len(self.classes)), np.float32)]
        with paddle.no_grad():
            for start in range(0, len(images), batch_size):
                logits = classifier(paddle.to_tensor(images[start : start + batch_size]))
                found.append(F.softmax(logits.astype("float32") / self.temperature, axis=1).numpy())
        return np.concatenate(found)

    def check_answers(self, answers: np.ndarray) -> None:
        """Raise CheckpointError unless all of the network's ``answers``, [N] or [N, C], are numbers."""
        wrong = int((~np.isfinite(answers)).any(axis=tuple(range(1, answers.ndim))).sum())
        if wrong:
            raise CheckpointError(
                f"{self.checkpoint}: the network's answers to {wrong} of {len(answers)} photographs are no numbers: its "
                f"weights are too large; train again with a lower --lr"
            )

    def source(self, config: Config) -> DataSource:
        """The data that ``config`` names, else the run's own; raises RunError where these may not be read: see known_data."""
        return permitted_source(self.settings, config, self.folder)

    def are_lists_named(self, config: Config) -> bool:
        """Whether the user named the lists: then those that the run has not had are used as well.

        --data with the run's own place may only be the permission to read there, which says nothing of the lists.
        """
        return "lists_dir" in config.given or ("data" in config.given and not self._is_permission(config.data))

    def _options_for(self, source):
        """The options that make are_lists_named true of ``source``."""
        unnamed = source.lists_dir is None and self._is_permission(source.data)
        return (source._replace(lists_dir=source.data) if unnamed else source).options

    def _is_permission(self, data):
        own = self.settings.data
        return not is_permitted(own) and same_place(data, own) and os.path.isdir(own)  # lists of an archive have one place

    def open_validation_set(self, source: DataSource | None = None) -> PhotographDataset:
        """The validation side of ``source``, by default of the run's own data, prepared as in this network's evaluation.

        Raises DataError, without ``source`` as ``source`` does.
        """
        return open_side(find_data(source or self.source(Config())), "val", **self.view)

    def open_test_set(self, source: DataSource | None = None) -> PhotographDataset:
        """The test side likewise. Raises DataError, also where it shares a photograph with the training or validation side."""
        return open_test_set(find_data(source or self.source(Config())), **self.view)

    def check_classes(self, dataset: PhotographDataset) -> None:
        """Raise DataError, which names the difference, unless ``dataset`` has the run's classes in the same order."""
        own, found = list(self.classes), list(dataset.classes)
        if own == found:
            return
        of_run, of_data = set(own), set(found)
        only_run, only_data = [name for name in own if name not in of_data], [name for name in found if name not in of_run]
        difference = f"only in the run: {listed(only_run)}; only in the data: {listed(only_data)}"
        if not only_run and not only_data:
            difference = "the same names in another order"
        raise DataError(f"{self.folder} was trained on {len(own)} classes, {dataset.data} has {len(found)} ({difference})")

    def check_val_list(self, dataset: PhotographDataset, source: DataSource, asked_for: bool) -> bool:
        """Whether ``dataset``, of ``source``, has the list and the photographs that the run was validated on.

        Raises DataError where a photograph is not the one that its split saw, CheckpointError if the run had others and the
        user has not ``asked_for`` these.
        """
        own = (self.header["photographs_sha256"] or {}).get("val")
        same_list = dataset.digest() == self.header["list_sha256"]["val"]
        same = same_list and same_as_far_as_known(own, dataset.photographs_digest())
        if same_list and not same and not asked_for:
            raise CheckpointError(
                f"photographs of {dataset.source} have changed since {self.folder} was trained: restore them, train again, or "
                f"use them anyway with {self._options_for(source)}"
            )
        if not same and not asked_for:
            raise CheckpointError(
                f"{dataset.source} is not the list that {self.folder} was validated on: it may hold photographs that the run "
                f"was trained on. Train again, or use it anyway with {self._options_for(source)}"
            )
        return same

    def check_lists_beside(self, test_set: PhotographDataset, source: DataSource, asked_for: bool) -> bool:
        """Whether the run was trained and validated on the lists, and the photographs, beside ``test_set``, of ``source``.

        If not, photographs of the test list may be among those that the run was trained on. Then raises CheckpointError, unless
        the user has ``asked_for`` the list; raises DataError where the lists cannot be used.
        """
        found = digests(find_data(source))
        same = found.are_those_of(self.header)
        if not same and not asked_for:
            same_lists = found.lists == self.header["list_sha256"]
            what = "other lists" if not same_lists else "lists of the same names, but of other photographs,"
            raise CheckpointError(
                f"{test_set.source} lies beside {what} than {self.folder} was trained and validated on: it may hold "
                f"photographs that the run was trained on. Train again, or use it anyway with {self._options_for(source)}"
            )
        return same


def _with_place(folder, trained):
    """``trained``, the settings in a checkpoint, with the place of the data in config.yaml: --resume may have given a new one,
    after the best epoch."""
    with contextlib.suppress(ConfigError, FormatError):
        return trained.inherit(load_config(folder / "config.yaml"), names_of(part="data", affects="place"))
    return trained

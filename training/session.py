"""The work of train.py: a new training, a resumed one, or the summary of a network."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, Optional

import paddle

from machine import processor
from config import Config, load_config, names_of
from data.class_balance import class_sizes, is_unbalanced
from data.data_sets import Digests, check_apart, count_classes, open_side
from data.loader import PhotographLoader
from data.sampling import Sampler
from machine.device import make_deterministic, select_device
from machine.whole_file import remove_unfinished
from messages.terminal import printable
from networks import NETWORKS, build_network
from networks.classifier import Classifier
from networks.stages import first_stages
from networks.summary import summarize
from ops import fused
from ops.synchronised_norm import synchronise
from processes import group
from processes.environment import here
from trained.known_data import check_start, note_places, permitted_source
from trained.result import read_result
from trained.run_error import RunError
from trained.run_folder import check_plain, create_run, lock_run, newest_run
from training.averaging import WeightAverage
from training.class_weights import balance_line, class_weights
from training.epoch_metrics import EPOCH_METRICS
from training.losses import TrainingLoss
from training.mixing import Mixing
from training.model import TrainingModel
from training.optimization import build_optimizer
from training.precision import FLOAT32, precision_of
from training.recorder import Follower, RunRecorder
from training.resuming import check_classes, finished_because, restore
from training.state import TrainingState
from training.training_set import open_training_set
from weights.kernel_sizes import with_kernel_sizes
from weights.pretrained import pretrained_file
from weights.warm_start import start_from
from weights.weight_files import digest_of


def run(config: Config) -> int:
    """Train, resume or summarise, as the settings say; returns the exit code."""
    if config.summary:
        print(summary(config))
        return 0
    return continue_training(config) if config.resume else train(config.resolved())


def summary(config: Config) -> str:
    """Parameters and multiply-adds of the network, for the number of classes of the data, or 1000 without data."""
    classes = count_classes(config.data_source()) or 1000
    network = build_network(config.net, classes, **config.network_options())
    return summarize(network, config.net, classes, config.image_size)


def continue_training(config: Config) -> int:
    """Train the run that ``config.resume`` names to its end; returns the exit code. Raises RunError where there is none."""
    if config.resume == "latest":
        folder = newest_run(config.runs_dir, config.net if "net" in config.given else None)
    else:
        folder = Path(config.resume or "")
    check_plain(folder)
    if not (folder / "config.yaml").is_file():
        raise RunError(
            f"resume = {config.resume!r}: give the folder of a run, which has a config.yaml; --resume latest finds the newest"
        )
    trained = load_config(folder / "config.yaml")
    permitted_source(trained, config, folder)
    if not (folder / "last.safetensors").exists():
        check_start(trained, config, folder)
    config = _on_this_group(config, config.continuing(trained, folder), trained).resolved()
    if read_result(folder).get("status") == "finished" and (reason := finished_because(folder, config, trained)):
        print(f"{printable(folder)} is finished; {reason}")
        return 0
    for name in names_of("train", part="arithmetic"):
        if getattr(config, name) != getattr(trained, name):
            print(f"note: {name} was {getattr(trained, name)} and is {getattr(config, name)}: results may round differently")
    processor.configure(config.threads)  # with the number that the run was started with
    return train(config, folder)


def _on_this_group(given, config, trained):
    """``config`` of a resumed training with the number of processes that there are now.

    With another number than before nothing is exactly as before, so threads and readers are those that suit, too.
    """
    config = dataclasses.replace(config, processes=here().count)
    if config.processes == trained.processes:
        return config
    suited = {name: getattr(given, name) for name in ("threads", "num_workers")}
    return dataclasses.replace(config, **suited)


def train(config: Config, resume: Optional[Path] = None) -> int:
    """Train as ``config`` (resolved) says; ``resume``: a run folder to continue. Returns the exit code.

    Where several processes train together, each calls this, and the first alone writes and prints.
    """
    device = select_device(config.device)
    config = config.over(here().count, keep=resume is not None)
    with group.joined():
        group.agree(resume, "the run to go on with")
        return _train(config, resume, device)


def _train(config, resume, device):
    fused.set_mode(config.fused)
    if config.deterministic:
        make_deterministic()
    paddle.seed(config.seed)
    may_download = resume is None and "data" not in config.given
    given = config
    with group.first_before_others():  # who may download
        config, train_loader, val_loader = open_data(given, may_download)
    train_set, val_set = train_loader.dataset, val_loader.dataset
    note_places((config.data, config.lists_dir, config.init_from, config.class_weights_file()))
    digests = Digests.of(train_set, val_set)
    if resume:
        check_classes(resume, train_set.classes)
    has_weights = resume is not None and (resume / "last.safetensors").exists()
    config = config if has_weights else with_kernel_sizes(config)
    sizes = class_sizes(train_set.samples, len(train_set.classes))
    weights = class_weights(config, train_set.classes, sizes, resume if has_weights else None)
    model, state = _model_and_state(config, train_loader, weights.values, device, has_weights)
    facts: dict[str, Any] = {
        "photographs": {"train": len(train_set), "val": len(val_set)},
        "list_sha256": digests.lists,
        "photographs_sha256": digests.photographs,
        "class_weights": weights.values,
        "class_weights_sha256": weights.sha256,
    }
    writes = group.is_first()
    folder = resume or (create_run(config.runs_dir, config.net) if writes else Path())
    with lock_run(folder) if writes else contextlib.nullcontext():
        if resume:
            with group.first_before_others():
                facts.update(restore(folder, state, digests, len(train_loader), config.epochs))
                if writes:
                    remove_unfinished(folder)  # what a killed process left behind
        if not (state.position.history or state.position.step):  # else the file may have changed since the start
            facts["init_from_sha256"] = digest_of(config.init_from)
        unbalanced = is_unbalanced(class_sizes(val_set.samples, len(val_set.classes)))
        recorder = (
            RunRecorder(folder, config.as_dict(), train_set.classes, state, facts, unbalanced) if writes else Follower(state)
        )
        with recorder:
            print(
                f"{len(train_set)} photographs to train on, {len(val_set)} to validate, {len(train_set.classes)} classes; "
                f"{_device_of(device, model.precision)}, {_shape_of_group(config)}; "
                f"run folder {printable(folder)}"
            )
            if line := balance_line(config, weights, train_set.classes, sizes, is_new=not resume):
                print(line)
            if line := given.line_of_defaults(len(train_set)):
                print(line)
            if resume:
                print(f"going on after epoch {state.position.epoch}, step {state.position.step}")
            with group.losses_named():
                model.fit(train_loader, val_loader, state, recorder, config)
    return 0


def _model_and_state(config, train_loader, weights, device, resumed) -> tuple[TrainingModel, TrainingState]:
    """The network with everything that trains it, at its start, and what of all this a run saves."""
    classes = len(train_loader.dataset.classes)
    classifier = build_classifier(config, classes, resumed)
    optimizer = build_optimizer(
        classifier, len(train_loader), config.epochs, schedule=config.part("schedule"), **config.part("optimizer")
    )
    metrics = [metric() for metric in EPOCH_METRICS]
    if config.sync_bn and config.processes > 1:
        synchronise(classifier)
    model = TrainingModel(classifier, precision_of(config.precision, device, config.layout), config.clip_norm)
    model.mixing = Mixing(classes, config.seed, **config.part("mixing"))
    model.prepare(optimizer, TrainingLoss(**config.part("loss"), class_weights=weights), metrics)
    average = WeightAverage(classifier, config.ema_epochs, len(train_loader)) if config.ema_epochs else None
    return model, TrainingState(classifier, optimizer, metrics, average, model.loss_scaling)


def _device_of(device, precision):
    return device if device == "cpu" and precision == FLOAT32 else f"{device} in {precision}"


def _shape_of_group(config):
    threads = f"{config.threads} threads"
    if config.processes == 1:
        return threads
    norm = "batch norm over all" if config.sync_bn else "batch norm in each by itself"
    return f"{config.processes} processes with {threads} each, {norm}"


def open_data(config: Config, may_download: bool = False) -> tuple[Config, PhotographLoader, PhotographLoader]:
    """The loaders of the training and of the validation list that ``config`` (resolved) names; raises DataError.

    Returns before them ``config`` with the defaults that follow from the number of photographs.
    """
    config, train_set = open_training_set(config, may_download)
    val_set = open_side(config.data_source(), "val", **config.part("view"))
    check_apart(train_set, val_set)
    if config.cache is not None:
        for dataset in [val_set] if config.crops_from == "files" else [train_set, val_set]:
            dataset.use_cache(config.cache, config.image_size, show_progress=group.is_first())
    return (
        config,
        PhotographLoader(
            train_set,
            config.batch_size,
            config.num_workers or 0,
            shuffle=True,
            seed=config.seed,
            sampler=Sampler(len(train_set), config.sampler, [sample.label for sample in train_set.samples]),
            accumulate=config.accumulate,
            part=here(),
        ),
        PhotographLoader(val_set, config.batch_size, config.num_workers or 0, part=here()),
    )


def build_classifier(config: Config, num_classes: int, resumed: bool = False) -> Classifier:
    """The network that ``config`` names, from raw pixels to logits, with the weights that training starts from.

    With ``resumed`` the weights stay random, because the caller loads those of the run.
    """
    print(f"Constructing {NETWORKS[config.net].__name__}......")
    network = build_network(config.net, num_classes, config.layout, **config.network_options())
    frozen = first_stages(network, config.freeze, config.net) if config.freeze else []
    if (config.init_from or config.pretrained) and not resumed:
        file = config.init_from or pretrained_file(config.net)
        print(*start_from(file, network, config.allow_partial, frozen), sep="\n")
    classifier = Classifier(network, config.mean, config.std)
    classifier.freeze(frozen)
    return classifier

"""Train a network on the photographs of a data folder and leave everything about the run in runs/NET/NNN."""

import dataclasses
from pathlib import Path

from config import load_config, parse_config
from machine import runtime
from messages.terminal import printable


def main(config) -> int:
    work = print_summary if config.summary else continue_training if config.resume else begin_training
    return runtime.run("train", work, config)


def begin_training(config) -> int:
    return train(config.resolved())


def print_summary(config) -> int:
    from data.data_sets import count_classes
    from networks import build_network
    from networks.summary import summarize

    classes = count_classes(config.dataset, config.data, config.follow_links) or 1000
    network = build_network(config.net, classes, **config.network_options())
    print(summarize(network, config.net, classes, config.image_size))
    return 0


def continue_training(config) -> int:
    """Train the run that ``config.resume`` names to its end; returns the exit code."""
    from trained.run_folder import RunError, newest_run, read_result

    if config.resume == "latest":
        run = newest_run(config.runs_dir, config.net if "net" in config.given else None)
    else:
        run = Path(config.resume)
    if not (run / "config.yaml").is_file():
        raise RunError(
            f"resume = {config.resume!r}: give the folder of a run, which has a config.yaml; --resume latest finds the newest"
        )
    trained = load_config(run / "config.yaml")
    config = config.continuing(trained, run).resolved()
    result = read_result(run)
    if result.get("status") == "finished" and (result.get("stopped_early") or config.epochs == trained.epochs):
        further = "it stopped early" if result.get("stopped_early") else "with more --epochs it is trained further"
        print(f"{printable(run)} is finished; {further}")
        return 0
    for name in ("device", "fused", "threads", "deterministic"):
        if getattr(config, name) != getattr(trained, name):
            print(f"note: {name} was {getattr(trained, name)} and is {getattr(config, name)}: results may round differently")
    runtime.configure(config.threads)  # the run's own number: until now it was this command's
    return train(config, run)


def build_classifier(config, num_classes, resumed=False):
    """The network that ``config`` names, from raw pixels to logits, with the weights that training starts from.

    A training that is ``resumed`` gets its weights from its run.
    """
    from networks import NETWORKS, Classifier, build_network

    print(f"Constructing {NETWORKS[config.net].__name__}......")
    network = build_network(config.net, num_classes, **config.network_options())
    if (config.init_from or config.pretrained) and not resumed:
        from weights.pretrained import pretrained_file
        from weights.warm_start import start_from

        print(*start_from(config.init_from or pretrained_file(config.net), network), sep="\n")
    return Classifier(network, config.mean, config.std)


def open_data(config) -> tuple:
    """The loaders of the training and of the validation list that ``config`` (resolved) names; raises DataError."""
    from data.data_sets import check_apart, open_dataset
    from data.loader import PhotographLoader

    source = {"dataset": config.dataset, "data": config.data, "follow_links": config.follow_links, **config.view_options()}
    train_set = open_dataset(train=True, seed=config.seed, **source)
    val_set = open_dataset(train=False, **source)
    check_apart(train_set, val_set)
    return (
        PhotographLoader(train_set, config.batch_size, config.num_workers, shuffle=True, seed=config.seed),
        PhotographLoader(val_set, config.batch_size, config.num_workers),
    )


def build_model(config, classifier, steps_per_epoch):
    """The classifier as a ``paddle.Model`` with optimiser, criterion and metrics, and the optimiser."""
    import paddle

    from training.epoch_metrics import MeanCrossEntropy
    from training.optimization import build_optimizer

    optimizer = build_optimizer(
        classifier,
        steps_per_epoch=steps_per_epoch,
        epochs=config.epochs,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        decay_norm_and_bias=config.decay_norm_and_bias,
        schedule=config.schedule,
        warmup_epochs=config.warmup_epochs,
        step_epochs=config.step_epochs,
        step_gamma=config.step_gamma,
    )
    criterion = paddle.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    model = paddle.Model(classifier, paddle.static.InputSpec([None, 3, None, None], "uint8", "images"))
    model.prepare(optimizer, criterion, [MeanCrossEntropy(), paddle.metric.Accuracy()])
    return model, optimizer


def train(config, resume=None) -> int:
    """Train as ``config`` (resolved) says, with ``resume`` from where that run stopped; returns the exit code."""
    import paddle

    from data.data_sets import find_data
    from ops import fused
    from training.callbacks import RecordEpochs, ShowProgress, StopOnBadLoss, TrackPosition
    from training.recorder import RunRecorder

    device = runtime.select_device(config.device)
    fused.set_mode(config.fused)
    if config.deterministic:
        runtime.make_deterministic()
    paddle.seed(config.seed)
    may_download = resume is None and "data" not in config.given
    config = dataclasses.replace(config, data=find_data(config.dataset, config.data, may_download))
    train_loader, val_loader = open_data(config)
    train_set, val_set = train_loader.dataset, val_loader.dataset
    has_weights = resume is not None and (resume / "last.safetensors").exists()
    classifier = build_classifier(config, len(train_set.classes), resumed=has_weights)
    model, optimizer = build_model(config, classifier, len(train_loader))
    with RunRecorder(config.as_dict(), classifier, optimizer, train_loader, val_loader, resume) as recorder:
        print(
            f"{len(train_set)} photographs to train on, {len(val_set)} to validate, {len(train_set.classes)} classes; "
            f"{device}, {config.threads} threads; run folder {printable(recorder.run)}"
        )
        if resume:
            print(f"going on after epoch {len(recorder.history)}, step {recorder.step}")
        position = TrackPosition(train_loader, config.seed, len(recorder.history), recorder.step)
        recording = RecordEpochs(
            recorder,
            position,
            len(train_set),
            early_stop=config.early_stop,
            save_best_above=config.save_best_above,
            save_every_steps=config.save_every_steps,
            so_far=recorder.so_far,
        )
        callbacks = [position, StopOnBadLoss(position), ShowProgress(len(val_set), position, config.epochs), recording]
        epochs = config.epochs - position.epoch
        if epochs > 0 and not recording.is_over():  # fit fails where there is nothing to do
            model.fit(train_loader, val_loader, epochs=epochs, verbose=0, callbacks=callbacks)
    return 0


if __name__ == "__main__":
    runtime.leave(main(parse_config()))

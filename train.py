"""Train a network on the photographs of a data folder and leave everything about the run in runs/NET/NNN."""

import dataclasses

from config import parse_config
from reporting.terminal import print_error, printable
from training import runtime


def main(config) -> int:
    try:
        runtime.configure(config.threads)
        runtime.handle_termination()
        # Only now may Paddle be imported, which the following modules do
        from networks import NetworkError
        from ops.fused import FusedError
        from photo_lists import DataError
        from training.callbacks import TrainingDiverged

        try:
            return print_summary(config) if config.summary else train(config.resolved())
        except (DataError, FusedError, NetworkError, runtime.DeviceError, OSError) as error:
            print_error("train", error)
            return 2
        except TrainingDiverged as error:
            print_error("train", error)
            return 1
    except runtime.Terminated:
        return runtime.TERMINATED
    except KeyboardInterrupt:
        return runtime.INTERRUPTED


def print_summary(config) -> int:
    from data_sets import data_root
    from networks import build_network
    from networks.summary import summarize
    from photo_lists import LABELS, read_classes

    if config.dataset == "cifar10":
        classes = 10
    else:
        root = data_root(config.data)
        classes = len(read_classes(root, config.follow_links, config.data)) if (root / LABELS).is_file() else 1000
    network = build_network(config.net, classes, **config.network_options())
    print(summarize(network, config.net, classes, config.image_size))
    return 0


def train(config) -> int:
    """Train as ``config`` (resolved) says; returns the exit code."""
    import numpy as np
    import paddle

    from data_sets import check_apart, find_data, open_dataset
    from networks import NETWORKS, Classifier, build_network
    from ops import fused
    from training.callbacks import RecordEpochs, SeedEpochs, ShowProgress, StopOnBadLoss
    from training.epoch_metrics import MeanCrossEntropy
    from training.loader import PhotographLoader
    from training.optimization import build_optimizer
    from training.run_recorder import RunRecorder

    device = runtime.select_device(config.device)
    fused.set_mode(config.fused)
    paddle.seed(config.seed)
    np.random.seed(config.seed)
    config = dataclasses.replace(config, data=find_data(config.dataset, config.data, may_download="data" not in config.given))
    source = {"dataset": config.dataset, "data": config.data, "follow_links": config.follow_links, **config.view_options()}
    train_set = open_dataset(train=True, seed=config.seed, **source)
    val_set = open_dataset(train=False, **source)
    check_apart(train_set, val_set)
    train_loader = PhotographLoader(train_set, config.batch_size, config.num_workers, shuffle=True, seed=config.seed)
    val_loader = PhotographLoader(val_set, config.batch_size, config.num_workers)

    print(f"Constructing {NETWORKS[config.net].__name__}......")
    network = build_network(config.net, len(train_set.classes), **config.network_options())
    classifier = Classifier(network, config.mean, config.std)
    optimizer = build_optimizer(
        classifier,
        steps_per_epoch=len(train_loader),
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
    model = paddle.Model(classifier, paddle.static.InputSpec([None, 3, None, None], "uint8", "images"))
    model.prepare(
        optimizer,
        paddle.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing),
        [MeanCrossEntropy(), paddle.metric.Accuracy()],
    )
    with RunRecorder(config.as_dict(), classifier, optimizer, train_set, val_set) as recorder:
        print(
            f"{len(train_set)} photographs to train on, {len(val_set)} to validate, {len(train_set.classes)} classes; "
            f"{device}, {config.threads} threads; run folder {printable(recorder.run)}"
        )
        recording = RecordEpochs(recorder.record, len(train_set), config.early_stop, config.save_best_above)
        callbacks = [SeedEpochs(train_loader), StopOnBadLoss(), ShowProgress(len(val_set)), recording]
        model.fit(train_loader, val_loader, epochs=config.epochs, verbose=0, callbacks=callbacks)
    return 0


if __name__ == "__main__":
    runtime.leave(main(parse_config()))

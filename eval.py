"""Evaluate a trained network on the validation list: accuracy, per-class figures, confusion matrix, every prediction."""

import sys
from pathlib import Path

from config import Config, ConfigError, parse_config
from training import runtime


def main(config) -> int:
    try:
        runtime.configure(config.threads)
        runtime.handle_termination()
        # Only now may Paddle be imported, which the following modules do
        from networks import NetworkError
        from ops.fused import FusedError
        from photo_lists import DataError
        from training.checkpoint import CheckpointError
        from training.run_folder import RunError

        try:
            print(evaluate(config))
        except (CheckpointError, DataError, FusedError, NetworkError, RunError, runtime.DeviceError, OSError) as error:
            print(f"eval.py: error: {error}", file=sys.stderr)
            return 2
    except runtime.Terminated:
        return runtime.TERMINATED
    except KeyboardInterrupt:
        return runtime.INTERRUPTED
    return 0


def evaluate(config) -> dict:
    """Evaluate the best checkpoint of a run, write its ``eval/`` folder and return ``{"loss": [mean loss], "acc": ...}``."""
    import paddle

    from animal_dataset import AnimalDataset
    from networks import Classifier, build_network
    from ops import fused
    from photo_lists import VAL_LIST, list_digest
    from reporting.evaluation import write_evaluation
    from training.callbacks import ShowProgress
    from training.checkpoint import CheckpointError, load_network_state, read_header
    from training.epoch_metrics import MeanCrossEntropy, PredictionRecorder
    from training.loader import PhotographLoader
    from training.run_folder import newest_finished_run

    run = Path(config.run) if config.run else newest_finished_run(config.runs_dir, config.net)
    checkpoint = run / "best.safetensors"
    header = read_header(checkpoint)
    try:
        trained = Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in header["config"].items()})
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: its settings cannot be used: {error}") from None
    if "net" in config.given and config.run and config.net != trained.net:
        raise CheckpointError(f"{run} holds {trained.net}, not {config.net}")
    config = config.inherit(trained, ("data", "batch_size")).resolved()

    runtime.select_device(config.device)
    fused.set_mode(config.fused)
    val_set = AnimalDataset(Path(config.data) / VAL_LIST, trained.image_size, train=False)
    check_classes(header["classes"], val_set.classes, run, config.data)
    same_list = list_digest(val_set.list_file) == header["list_sha256"]["val"]
    if not same_list and "data" not in config.given:
        raise CheckpointError(
            f"{val_set.list_file} is not the list that {run} was validated on: it may hold photographs that the run was "
            f"trained on. Train anew, or say --data {config.data} to evaluate on this list all the same"
        )
    classifier = Classifier(build_network(trained.net, len(header["classes"]), **trained.network_options()))
    load_network_state(checkpoint, classifier)

    recorder = PredictionRecorder()
    model = paddle.Model(classifier, paddle.static.InputSpec([None, 3, None, None], "uint8", "images"))
    model.prepare(metrics=[MeanCrossEntropy(), paddle.metric.Accuracy(), recorder])
    loader = PhotographLoader(val_set, config.batch_size, config.num_workers)
    means = model.evaluate(loader, verbose=0, callbacks=[ShowProgress(len(val_set))])
    loss, acc = float(means["mean_loss"]), float(means["acc"])
    folder = write_evaluation(run, val_set, *recorder.results(), loss, acc, trained.net, same_list)
    if not same_list:
        print(f"note: {val_set.list_file} is not the list that the run was validated on while training")
    print(f"confusion matrix, per-class figures and predictions: {folder}")
    return {"loss": [loss], "acc": acc}


def check_classes(trained, found, run, root) -> None:
    """Raise DataError, naming the difference, unless the data folder has the very classes that the run was trained on."""
    from photo_lists import DataError

    if list(trained) == list(found):
        return
    only_run, only_data = [c for c in trained if c not in found], [c for c in found if c not in trained]
    difference = f"only in the run: {', '.join(only_run) or 'none'}; only in the data: {', '.join(only_data) or 'none'}"
    if not only_run and not only_data:
        difference = "the same names in another order"
    raise DataError(f"{run} was trained on {len(trained)} classes, {root} has {len(found)} ({difference})")


if __name__ == "__main__":
    runtime.leave(main(parse_config()))

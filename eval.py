"""Evaluate a trained network on the validation list: accuracy, per-class figures, confusion matrix, every prediction."""

from pathlib import Path

from machine import ending
from config import config_of_checkpoint, parse_config
from messages.terminal import printable


def main(config) -> int:
    return ending.run("eval", lambda config: print(evaluate(config)), config)


def evaluate(config) -> dict:
    """Evaluate the best checkpoint of a run, write its ``eval/`` folder and return ``{"loss": [mean loss], "acc": ...}``."""
    from data.data_sets import find_data, open_dataset
    from data.loader import PhotographLoader
    from evaluation.report import write_evaluation
    from machine.device import select_device
    from messages.progress import ProgressBar
    from ops import fused
    from trained.checkpoint import CheckpointError, read_header
    from trained.run_folder import best_checkpoint, newest_finished_run
    from trained.trained_run import check_classes, check_val_list, load_classifier
    from training.epoch_metrics import Accuracy, MeanCrossEntropy, PredictionRecorder
    from training.model import TrainingModel

    run = Path(config.run) if config.run else newest_finished_run(config.runs_dir, config.net)
    checkpoint = best_checkpoint(run)
    header = read_header(checkpoint)
    trained = config_of_checkpoint(header, checkpoint)
    if "net" in config.given and config.run and config.net != trained.net:
        raise CheckpointError(f"{run} holds {trained.net}, not {config.net}")
    config = config.inherit(trained, ("data", "batch_size", "follow_links")).resolved()

    select_device(config.device)
    fused.set_mode(config.fused)
    data = find_data(trained.dataset, config.data)
    val_set = open_dataset(trained.dataset, data, train=False, follow_links=config.follow_links, **trained.view_options())
    check_classes(header["classes"], val_set.classes, run, config.data)
    same_list = check_val_list(val_set, header, run, asked_for="data" in config.given)
    classifier = load_classifier(checkpoint, trained.net, **trained.network_options())

    recorder = PredictionRecorder()
    model = TrainingModel(classifier)
    model.prepare(metrics=[MeanCrossEntropy(), Accuracy(), recorder])
    loader = PhotographLoader(val_set, config.batch_size, config.num_workers)
    print("Eval begin...")
    bar = ProgressBar(len(loader), "step")
    means = model.evaluate(loader, lambda step: bar.update(step + 1, model.figures))
    bar.close()
    print(f"Eval samples: {len(val_set)}")
    loss, acc = means["mean_loss"], means["acc"]
    folder = write_evaluation(run, val_set, *recorder.results(), loss, acc, trained.net, header["epoch"], same_list)
    if not same_list:
        print(f"note: {printable(val_set.source)} is not the list that the run was validated on while training")
    print(f"confusion matrix, per-class figures and predictions: {printable(folder)}")
    return {"loss": [loss], "acc": acc}


if __name__ == "__main__":
    ending.leave(main(parse_config()))

"""The work of eval.py: evaluate a trained network on the validation list."""

from typing import Any

from config import Config, names_of
from data.loader import PhotographLoader
from evaluation.report import write_evaluation
from machine.device import select_device
from messages.progress import ProgressBar
from messages.terminal import printable
from ops import fused
from trained.trained_run import TrainedRun
from training.epoch_metrics import EPOCH_METRICS, PredictionRecorder
from training.model import TrainingModel


def evaluate_run(config: Config) -> dict[str, Any]:
    """Evaluate the best epoch of the run that ``config`` chooses and write the run's ``eval/`` folder.

    Returns ``{"loss": [mean loss], "acc": accuracy}``. Raises a UserError where the run or the photographs cannot be used.
    """
    run = TrainedRun.chosen(config)
    config = config.inherit(run.settings, names_of(inherited_by="eval")).resolved()
    select_device(config.device)
    fused.set_mode(config.fused)
    val_set = run.open_validation_set(run.source(config))
    run.check_classes(val_set)
    same_list = run.check_val_list(val_set, asked_for="data" in config.given)

    recorder = PredictionRecorder()
    model = TrainingModel(run.classifier())
    model.prepare(metrics=[*(metric() for metric in EPOCH_METRICS), recorder])
    loader = PhotographLoader(val_set, config.batch_size, config.num_workers or 0)
    print("Eval begin...")
    bar = ProgressBar(len(loader), "step")
    means = model.evaluate(loader, lambda step: bar.update(step + 1, model.figures))
    bar.close()
    print(f"Eval samples: {len(val_set)}")
    loss, acc = means["mean_loss"], means["acc"]
    probabilities, labels = recorder.results()
    folder = write_evaluation(
        run.folder, val_set, probabilities, labels, loss=loss, acc=acc, net=run.net, epoch=run.epoch, same_list=same_list
    )
    if not same_list:
        print(f"note: {printable(val_set.source)} is not the list that the run was validated on during training")
    print(f"confusion matrix, per-class figures and predictions: {printable(folder)}")
    return {"loss": [loss], "acc": acc}

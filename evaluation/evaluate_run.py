"""The work of eval.py: a trained network on the validation list."""

import paddle

from config import Config, names_of
from data.loader import PhotographLoader
from evaluation.report import write_evaluation
from machine import runtime
from messages.terminal import printable
from ops import fused
from trained.trained_run import TrainedRun
from training.callbacks import ShowProgress
from training.epoch_metrics import MeanCrossEntropy, PredictionRecorder


def evaluate_run(config: Config) -> dict:
    """Evaluate the best epoch of the run that ``config`` chooses and write the run's ``eval/`` folder.

    Returns ``{"loss": [mean loss], "acc": accuracy}``. Raises a UserError where the run or the photographs cannot be used.
    """
    run = TrainedRun.chosen(config)
    config = config.inherit(run.settings, names_of(inherited_by="eval")).resolved()
    runtime.select_device(config.device)
    fused.set_mode(config.fused)
    val_set = run.open_validation_set(config.data, config.follow_links)
    run.check_classes(val_set)
    same_list = run.check_val_list(val_set, asked_for="data" in config.given)

    recorder = PredictionRecorder()
    model = paddle.Model(run.classifier(), paddle.static.InputSpec([None, 3, None, None], "uint8", "images"))
    model.prepare(metrics=[MeanCrossEntropy(), paddle.metric.Accuracy(), recorder])
    loader = PhotographLoader(val_set, config.batch_size, config.num_workers)
    means = model.evaluate(loader, verbose=0, callbacks=[ShowProgress(len(val_set))])
    loss, acc = float(means["mean_loss"]), float(means["acc"])
    folder = write_evaluation(run.folder, val_set, *recorder.results(), loss, acc, run.net, run.epoch, same_list)
    if not same_list:
        print(f"note: {printable(val_set.source)} is not the list that the run was validated on while training")
    print(f"confusion matrix, per-class figures and predictions: {printable(folder)}")
    return {"loss": [loss], "acc": acc}

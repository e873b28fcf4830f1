"""The work of eval.py: evaluate a trained network on the validation or test list."""

from typing import Any

from config import Config, names_of
from data.loader import PhotographLoader
from data.photograph_dataset import PhotographDataset
from evaluation.report import write_evaluation
from machine.device import select_device
from messages.progress import ProgressBar
from messages.terminal import printable
from ops import fused
from trained.trained_run import TrainedRun, names_lists
from training.epoch_metrics import EPOCH_METRICS, PredictionRecorder
from training.model import TrainingModel

OTHER_LISTS = {
    "val": "is not the list that the run was validated on during training",
    "test": "lies beside other lists than the run was trained on: it may hold photographs that the run was trained on",
}


def evaluate_run(config: Config) -> dict[str, Any]:
    """Evaluate the best epoch of the run that ``config`` chooses and write the run's folder ``eval/``, or ``eval_test/``.

    Returns ``{"loss": [mean loss], "acc": accuracy}``. Raises a UserError where the run or the photographs cannot be used.
    """
    run = TrainedRun.chosen(config)
    config = config.inherit(run.settings, names_of(inherited_by="eval")).resolved()
    select_device(config.device)
    fused.set_mode(config.fused)
    dataset, same_list = _open_list(run, config)

    recorder = PredictionRecorder()
    model = TrainingModel(run.classifier())
    model.prepare(metrics=[*(metric() for metric in EPOCH_METRICS), recorder])
    loader = PhotographLoader(dataset, config.batch_size, config.num_workers or 0)
    print("Eval begin...")
    bar = ProgressBar(len(loader), "step")
    means = model.evaluate(loader, lambda step: bar.update(step + 1, model.figures))
    bar.close()
    print(f"Eval samples: {len(dataset)}")
    loss, acc = means["mean_loss"], means["acc"]
    probabilities, labels = recorder.results()
    folder, metrics = write_evaluation(
        run.folder, dataset, probabilities, labels,
        split=config.split, loss=loss, acc=acc, net=run.net, epoch=run.epoch, same_list=same_list,
    )  # fmt: skip
    if not same_list:
        print(f"note: {printable(dataset.source)} {OTHER_LISTS[config.split]}")
    print(f"balanced accuracy (mean recall of the classes) {metrics['balanced_acc']:.4f}, macro F1 {metrics['macro_f1']:.4f}")
    print(f"confusion matrix, per-class figures and predictions: {printable(folder)}")
    return {"loss": [loss], "acc": acc}


def _open_list(run: TrainedRun, config: Config) -> tuple[PhotographDataset, bool]:
    """The photographs to evaluate on, and whether the run's training had the same lists; raises a UserError."""
    source, asked_for = run.source(config), names_lists(config)
    if config.split == "test":
        test_set = run.open_test_set(source)
        run.check_classes(test_set)
        return test_set, run.check_lists_beside(test_set, source, asked_for)
    val_set = run.open_validation_set(source)
    run.check_classes(val_set)
    return val_set, run.check_val_list(val_set, source, asked_for)

"""The work of eval.py: evaluate a trained network on the validation or test list."""

from typing import Any, NamedTuple

import numpy as np

from config import Config, names_of
from data.class_balance import REMEDY, class_sizes, unbalanced_line
from data.loader import PhotographLoader
from data.photograph_dataset import PhotographDataset
from evaluation.confidence import calibration_of
from evaluation.evaluation_lock import evaluation_written
from evaluation.report import write_evaluation
from evaluation.strangers import lines_of, predict_strangers, stranger_paths
from machine.device import select_device
from messages.progress import ProgressBar
from messages.terminal import printable
from ops import fused
from processes import group
from processes.environment import here
from trained.trained_run import TrainedRun
from training.epoch_metrics import EPOCH_METRICS, LogitRecorder
from training.model import TrainingModel
from training.precision import FLOAT32, precision_of

OTHER_LISTS = {
    "val": "is not the list that the run was validated on during training, or photographs of it have changed since",
    "test": "lies beside other lists or photographs than the run was trained on, and may hold some that it was trained on",
}

LIST_NAMES = {"val": "validation", "test": "test"}


def evaluate_run(config: Config) -> dict[str, Any]:
    """Evaluate the best epoch of the run that ``config`` chooses and write the run's folder ``eval/``, or ``eval_test/``.

    Returns ``{"loss": [mean loss], "acc": accuracy}``. Raises a UserError where the run or the photographs cannot be used.
    Where several processes evaluate together, each calls this, and the first alone writes and prints.
    """
    device = select_device(config.device)
    with group.joined():
        return _evaluate(config, device)


def _evaluate(config, device):
    run = TrainedRun.chosen(config)
    group.agree(run.folder, "the run")
    config = config.inherit(run.settings, names_of(inherited_by="eval")).resolved()
    run.layout = config.layout
    fused.set_mode(config.fused)
    precision = precision_of(config.precision, device, config.layout)
    dataset, same_list = open_list(run, config)

    unknown = stranger_paths(config.strangers) if config.strangers else []

    print("Eval begin...")
    loss, acc, logits, labels = answers_on(run, dataset, config, precision)
    if not group.is_first():
        return {"loss": [loss], "acc": acc}
    print(f"Eval samples: {len(dataset)}")
    calibration = calibration_of(run, logits, labels, fitted_here=config.split == "val" and same_list)
    strangers = None
    if config.strangers:
        strangers = predict_strangers(run, config.strangers, unknown, config.batch_size, config.num_workers or 0)
    with evaluation_written(run.folder):
        folder, metrics = write_evaluation(
            run.folder, dataset, logits, labels, calibration=calibration, strangers=strangers,
            split=config.split, loss=loss, acc=acc, net=run.net, epoch=run.epoch, same_list=same_list,
        )  # fmt: skip
    if not same_list:
        print(f"note: {printable(dataset.source)} {OTHER_LISTS[config.split]}")
    low, high = metrics["acc_interval"]
    print(f"accuracy {acc:.4f} (95% interval {low:.4f} to {high:.4f})")
    print(f"balanced accuracy (mean recall of the classes) {metrics['balanced_acc']:.4f}, macro F1 {metrics['macro_f1']:.4f}")
    if line := _balance_line(run, dataset):
        print(line)
    print(calibration.line())
    if run.calibration_note:
        print(run.calibration_note)
    if strangers:
        print(*lines_of(metrics["strangers"], len(dataset), LIST_NAMES[config.split]), sep="\n")
    print(f"confusion matrix, reliability diagram, per-class figures and predictions: {printable(folder)}")
    return {"loss": [loss], "acc": acc}


def _balance_line(run, dataset):
    """What would help small classes, where nothing did in the training; else None."""
    settings = run.settings
    sizes = class_sizes(dataset.samples, len(dataset.classes))
    line = unbalanced_line(dict(zip(dataset.classes, sizes)))
    return f"{line}; {REMEDY}" if line and settings.class_weights is None and settings.sampler == "uniform" else None


class Answers(NamedTuple):
    """Of a network on N photographs: mean ``loss`` and accuracy ``acc``, ``logits`` float32 [N, C], ``labels`` int64 [N]."""

    loss: float
    acc: float
    logits: np.ndarray
    labels: np.ndarray


def answers_on(run: TrainedRun, dataset: PhotographDataset, config: Config, precision: str = FLOAT32) -> Answers:
    """The Answers of the network of ``run`` on the photographs of ``dataset``, in their order, on Paddle's current device.

    ``config``: resolved; ``precision``: see training.precision. Raises CheckpointError where answers are no numbers, DataError
    where a photograph cannot be read.
    """
    loader = PhotographLoader(dataset, config.batch_size, config.num_workers or 0, part=here())
    recorder = LogitRecorder(starts=loader.starts())
    model = TrainingModel(run.classifier(), precision)
    model.prepare(metrics=[metric() for metric in EPOCH_METRICS])
    bar = ProgressBar(loader.batches_here(), "step")
    means = model.evaluate(loader, lambda step: bar.update(step + 1, model.figures), recorder)
    bar.close()
    logits, labels = recorder.results()
    run.check_answers(logits)
    return Answers(means["mean_loss"], means["acc"], logits, labels)


def open_list(run: TrainedRun, config: Config) -> tuple[PhotographDataset, bool]:
    """The photographs to evaluate on, and whether the run's training had the same lists; raises a UserError."""
    source, asked_for = run.source(config), run.are_lists_named(config)
    if config.split == "test":
        test_set = run.open_test_set(source)
        run.check_classes(test_set)
        return test_set, run.check_lists_beside(test_set, source, asked_for)
    val_set = run.open_validation_set(source)
    run.check_classes(val_set)
    return val_set, run.check_val_list(val_set, source, asked_for)

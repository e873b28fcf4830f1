"""How a training goes on from where it was interrupted, and why some cannot.

last.safetensors alone decides where a training is; the other files are put right where a killed process left them behind it.
"""

from pathlib import Path

import paddle

from machine.whole_file import remove_unfinished
from trained.checkpoint import CheckpointError, load_training_state, read_header
from trained.result import read_result
from trained.run_error import RunError
from training.state import Position, TrainingState


def restore(run: Path, state: TrainingState, lists: dict, steps_per_epoch: int, epochs: int) -> dict:
    """Put ``state`` where the training of the folder ``run`` was; returns what result.json says of it beside the outcome.

    ``lists``: the SHA-256 of the training and of the validation list as they are now; ``epochs``: how many it is to have now.
    Raises RunError for a run that cannot go on and CheckpointError for a bad file; the folder is as it was then.
    """
    last, result = run / "last.safetensors", read_result(run)
    if not last.exists():
        if result.get("epochs") or any((run / name).exists() for name in ("best.safetensors", "history.csv")):
            raise RunError(f"{run} cannot be continued: its {last.name} is gone; put it back, or train anew")
        _check_lists(run, result.get("list_sha256", lists), lists)
        remove_unfinished(run)
        return {}  # killed within the first epoch: from the beginning
    header = load_training_state(last, state.classifier, state.optimizer)
    if "history" not in header:
        raise RunError(f"{run} cannot be continued: {last.name} holds weights alone, not where training was; train anew")
    _check_lists(run, header["list_sha256"], lists)
    if header["step"] >= steps_per_epoch:
        raise RunError(
            f"{run} cannot be continued: {last.name} is at step {header['step']}, but an epoch has {steps_per_epoch}; "
            f"train anew"
        )
    state.restore(header)
    _check_best(run, state.position)
    if (before := header.get("versions", {}).get("paddle")) != paddle.__version__:
        print(f"note: Paddle was {before} and is {paddle.__version__}: results may round differently")
    remove_unfinished(run)
    epochs_before = result.get("epochs_before", [])
    if header["config"].get("epochs") not in (epochs, *epochs_before):
        epochs_before = [*epochs_before, header["config"].get("epochs")]
    # with more epochs the learning rate follows another schedule than the one that the run began with: that is worth knowing
    return {"epochs_before": epochs_before or None, "init_from_sha256": result.get("init_from_sha256")}


def best_is_behind(run: Path, position: Position) -> bool:
    """Whether best.safetensors has yet to be written: a process killed between the two files leaves it to last.safetensors."""
    return position.best is not None and _epoch_of_best(run) != position.best["epoch"]


def _check_best(run, position):
    """Raise RunError where the best epoch's weights are in no file; last.safetensors has those of the last epoch's end."""
    if best_is_behind(run, position) and (position.step or position.best["epoch"] != position.epoch):
        found = _epoch_of_best(run)
        raise RunError(
            f"{run} cannot be continued: best.safetensors should hold epoch {position.best['epoch']}, "
            f"{f'but holds {found}' if found else 'but is missing or damaged'}; put it back, or train anew"
        )


def _epoch_of_best(run):
    try:
        return read_header(run / "best.safetensors")["epoch"]
    except CheckpointError:
        return None


def _check_lists(run, trained, lists):
    for side, name in (("train", "training"), ("val", "validation")):
        if trained[side] != lists[side]:
            raise RunError(f"{run} cannot be continued: its {name} list has changed since; train anew")

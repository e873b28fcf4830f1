"""Resuming an interrupted training, and the reasons why a run cannot be resumed.

last.safetensors alone decides how far a training has come; files that a killed process left behind it are brought up to date.
"""

from pathlib import Path
from typing import Optional

import paddle

from config import Config, config_of_checkpoint
from data.data_sets import Digests
from data.photograph_record import same_as_far_as_known
from messages.quoting import named
from trained.checkpoint import CheckpointError, load_training_state, read_header
from trained.class_list import as_written, read_classes
from trained.result import read_result
from trained.run_error import RunError
from training.state import Position, TrainingState


def finished_because(run: Path, config: Config, trained: Config) -> Optional[str]:
    """Why the finished ``run`` has nothing left to train with the settings ``config``, and what would train it further.

    None where something is left. ``trained``: the run's settings so far. Raises CheckpointError for a bad file.
    """
    last = run / "last.safetensors"
    position = Position(read_header(last).get("history") or [] if last.exists() else [])
    if position.has_stopped_early(config.early_stop):
        return (
            f"it stopped early after epoch {position.epoch}: with --early_stop above {config.early_stop}, or 0 for never, it "
            f"is trained further, with more --epochs alone it is not"
        )
    unchanged = (config.epochs, config.early_stop) == (trained.epochs, trained.early_stop)
    if unchanged or position.epoch >= config.epochs:
        return "with more --epochs it is trained further"
    return None


def check_classes(run: Path, classes: list[str]) -> None:
    """Raise RunError, which names the differences, unless ``classes`` are those that ``run`` was started with."""
    last, listed = run / "last.safetensors", run / "classes.txt"
    if last.exists():
        before = read_header(last)["classes"]
    elif listed.exists():
        before = read_classes(run)
    else:
        return
    if [as_written(name) for name in classes] == [as_written(name) for name in before]:
        return
    added, gone = [name for name in classes if name not in before], [name for name in before if name not in classes]
    changes = [_change("added", added)] * bool(added) + [_change("gone", gone)] * bool(gone)
    best = run / "best.safetensors"
    start = f", with --init_from {best} from what it has learned" if best.is_file() else ""
    raise RunError(
        f"{run} cannot be continued: {', '.join(changes) or 'its classes have another order now'}; give --data with the "
        f"classes that it has, or train anew{start}"
    )


def _change(what, names):
    shown = ", ".join(map(named, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{'classes' if len(names) > 1 else 'class'} {what} since: {shown}"


def restore(run: Path, state: TrainingState, digests: Digests, steps_per_epoch: int, epochs: int) -> dict:
    """Restore ``state`` from the folder ``run``; returns the entries of result.json that a resumed training keeps.

    ``digests``: of the data as they are now; ``epochs``: the number of epochs to train to. Raises RunError for a run that
    cannot continue and CheckpointError for a bad file. Changes nothing in the folder.
    """
    last, result = run / "last.safetensors", read_result(run)
    if not last.exists():
        if result.get("epochs") or any((run / name).exists() for name in ("best.safetensors", "history.csv")):
            raise RunError(f"{run} cannot be continued: its {last.name} is gone; put it back, or train anew")
        _check_data(run, result, digests)
        return {}  # killed within the first epoch: start from the beginning
    averages = state.average.averages if state.average else None
    header = load_training_state(last, state.classifier, state.optimizer, averages)
    if "history" not in header:
        raise RunError(f"{run} cannot be continued: {last.name} holds weights, but no position of the training; train anew")
    _check_data(run, header, digests)
    if header["step"] >= steps_per_epoch:
        raise RunError(
            f"{run} cannot be continued: {last.name} is at step {header['step']}, but an epoch has {steps_per_epoch}; "
            f"train anew"
        )
    state.restore(header)
    _check_best(run, state.position)
    if (version := header.get("versions", {}).get("paddle")) != paddle.__version__:
        print(f"note: Paddle was {named(version)} and is {paddle.__version__}: results may round differently")
    epochs_before = result.get("epochs_before", [])
    # With more epochs, the learning rate follows another schedule than at the start of the run: result.json records that
    before = config_of_checkpoint(header, last).epochs
    if before not in (epochs, *epochs_before):
        epochs_before = [*epochs_before, before]
    of_files = {name: result.get(name) for name in ("init_from_sha256", "class_weights_sha256")}
    return {"epochs_before": epochs_before or None, **of_files}


def best_is_behind(run: Path, position: Position) -> bool:
    """Whether best.safetensors is older than last.safetensors says: a process can be killed between writing the two."""
    return position.best is not None and _epoch_of_best(run) != position.best["epoch"]


def _check_best(run, position):
    """Raise RunError where no file has the best epoch's weights; last.safetensors has them only at the end of that epoch."""
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


def _check_data(run, trained, digests):
    """Raise RunError unless ``trained``, of the run, has the ``digests`` as far as it has any."""
    lists, photographs = trained.get("list_sha256"), trained.get("photographs_sha256") or {}
    for side, name in (("train", "training"), ("val", "validation")):
        if lists and lists[side] != digests.lists[side]:
            raise RunError(f"{run} cannot be continued: its {name} list has changed since; train anew")
        if not same_as_far_as_known(photographs.get(side), (digests.photographs or {}).get(side)):
            raise RunError(
                f"{run} cannot be continued: photographs of its {name} list have changed since; restore them, or train anew"
            )

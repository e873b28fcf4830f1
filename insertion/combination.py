"""The network with the layers that help, all together: judged once more, and written as a run."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from comparison.costs import added_latencies
from comparison.worth import Change
from config import Config
from insertion.gain import Gain, calibrated_losses, gains_of
from insertion.gate_training import logits_of
from insertion.operation import NORM, Operated, Operation, operate
from insertion.stage_inputs import Photographs, StageInputs, read_photographs
from insertion.tried import Tried, gate_values
from trained.calibration import fit_temperature, probabilities_of
from trained.checkpoint import save_checkpoint
from trained.class_list import write_classes
from trained.history import read_history, write_history
from trained.result import read_result, write_result
from trained.run_error import RunError
from trained.run_folder import write_config
from trained.trained_run import TrainedRun
from weights.weight_files import digest_of

NETWORK = "network"  # the folder of the run
COSTS_OF_TRAINING = ("images_per_second", "peak_memory_mb", "energy_joules")
"""In result.json; those of the run that a network was made from are not its own."""


class Combination(NamedTuple):
    """``operated``: the network with the layer of ``operation`` in all its stages, with the gates as trained in each by itself.

    ``gain``: on the photographs that chose the stages; ``validation_gain``: on the validation list, None where that chose them;
    ``parameters``, ``latency``: what it has and takes more. ``validation``: the logits and labels of the validation list.
    """

    operation: Operation
    operated: Operated
    gain: Gain
    validation_gain: Optional[Gain]
    parameters: int
    latency: Change
    validation: tuple[np.ndarray, np.ndarray]


def kept(base: Tried, tried: Sequence[Tried], clusters: Optional[np.ndarray] = None) -> list[bool]:
    """Of each insertion whether it is an attention layer that lowers the loss by more than chance explains."""
    gains = judge(base, tried, clusters)
    return [gain is not None and gain.is_sure and one.operation.block != NORM for one, gain in zip(tried, gains)]


def judge(base: Tried, tried: Sequence[Tried], clusters: Optional[np.ndarray] = None) -> list[Optional[Gain]]:
    """The Gain of each insertion, with intervals that hold together; None where the training diverged."""
    usable = [one for one in tried if not one.diverged]
    gains = iter(gains_of([base.losses - one.losses for one in usable], clusters))
    return [None if one.diverged else next(gains) for one in tried]


def combine(
    run: TrainedRun, base: Tried, tried: Sequence[Tried], judged: Photographs, clusters: Optional[np.ndarray], split: str,
    config: Config,
) -> Optional[Combination]:  # fmt: skip
    """Of the combinations of the stages that each block is kept in, that with the largest gain; None where none is kept."""
    chosen = [one for one, keep in zip(tried, kept(base, tried, clusters)) if keep]
    best: Optional[tuple[Gain, Operation, Operated]] = None
    for block in dict.fromkeys(one.operation.block for one in chosen):
        parts = [one for one in chosen if one.operation.block == block]
        for own in [parts] if len(parts) == 1 else [parts, *([part] for part in parts)]:
            stages = tuple(part.operation.stages[0] for part in own)
            operation = own[0].operation._replace(stages=stages)
            operated = operate(run, operation, config.seed)
            set_gates(operated, own)
            losses = calibrated_losses(_logits(operated, judged, config), judged.labels)
            gain = gains_of([base.losses - losses], clusters)[0]
            if best is None or gain.mean > best[0].mean:
                best = gain, operation, operated
    if best is None:
        return None
    gain, operation, operated = best
    photographs = judged
    if split != "val":
        dataset = run.open_validation_set(run.source(config))
        photographs = read_photographs(dataset, config.batch_size, config.num_workers or 0, seed=config.seed)
    logits = _logits(operated, photographs, config)
    validation_gain = None
    if split != "val":
        before = calibrated_losses(_logits(Operated(run.classifier(), {}), photographs, config), photographs.labels)
        validation_gain = gains_of([before - calibrated_losses(logits, photographs.labels)])[0]
    added = added_latencies({"": run.classifier(), "after": operated.classifier}, run.settings.image_size)
    count = sum(value.size for value in gate_values(operated).values())
    return Combination(operation, operated, gain, validation_gain, count, added["after"], (logits, photographs.labels))


def set_gates(operated: Operated, parts: Sequence[Tried]) -> None:
    """Give the gates the values of the insertions ``parts``, each of which has those of its stages."""
    for part in parts:
        for name, value in part.gates.items():
            operated.gates[name].set_value(value)


def _logits(operated: Operated, photographs: Photographs, config: Config) -> np.ndarray:
    return logits_of(operated, StageInputs(operated.classifier, 1, photographs, config.batch_size, memory=0), config.batch_size)


def write_run(folder: Path, run: TrainedRun, combination: Combination) -> Path:
    """Write the network as a run, ``folder/network``, which all scripts take with --run; returns it. Raises OSError.

    Its history is that of the run it was made from; the figures of its best epoch are its own.
    """
    place = folder / NETWORK
    place.mkdir()
    logits, labels = combination.validation
    settings = dataclasses.replace(
        run.settings, **combination.operation.options(), init_from=str(run.checkpoint), pretrained=False, allow_partial=False
    ).as_dict()
    losses = -np.log(np.maximum(probabilities_of(logits)[np.arange(len(labels)), labels], np.finfo(np.float64).tiny))
    own = {"val_acc": float((logits.argmax(axis=1) == labels).mean()), "val_loss": float(losses.mean())}
    best = {**(run.header["best"] or {"epoch": run.epoch}), **own, "val_balanced_acc": None}
    header: dict[str, Any] = {
        **{name: run.header[name] for name in ("classes", "list_sha256", "photographs_sha256", "class_weights")},
        "config": settings, "epoch": run.epoch, "best": best, "temperature": fit_temperature(logits, labels),
    }  # fmt: skip
    save_checkpoint(place / "best.safetensors", combination.operated.classifier, header)
    write_classes(place, run.classes)
    with contextlib.suppress(RunError):
        write_history(place, read_history(run.folder))
    of_run = {name: value for name, value in read_result(run.folder).items() if name not in COSTS_OF_TRAINING}
    result: Mapping[str, Any] = {
        **of_run, "best": best, "status": "finished", "init_from_sha256": digest_of(str(run.checkpoint))
    }  # fmt: skip
    write_result(place, result)
    write_config(place, settings)
    return place

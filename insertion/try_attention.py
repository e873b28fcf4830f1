"""The work of surgery.py: insert each attention layer into each stage of a trained ResNet, and judge what its gates learn."""

import dataclasses
import time
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from comparison.costs import added_latencies
from comparison.held_out import list_to_judge_by
from comparison.photographs_alike import find_alike
from comparison.worth import Change
from config import Config, names_of
from data.data_sets import check_apart, find_data, open_side
from evaluation.evaluate_run import open_list
from insertion.combination import combine
from insertion.findings import Findings, report, write_findings
from insertion.gain import calibrated_losses
from insertion.gate_training import logits_of, train_gates
from insertion.operation import (
    NORM,
    Operated,
    Operation,
    SurgeryError,
    check_buildable,
    check_operable,
    exact_blocks,
    fitting_groups,
    is_exact,
    operate,
)
from insertion.stage_inputs import MAX_VIEWS, Photographs, StageInputs, read_photographs
from insertion.tried import Tried, gate_values
from machine.device import select_device
from machine.temporary_folder import share_what_cannot_be_cached
from messages.progress import ProgressBar
from messages.terminal import printable
from ops import fused
from sa_resnet import STAGES
from trained.run_folder import new_folder
from trained.trained_run import TrainedRun

LEAST_JUDGED = 20
"""Photographs: the intervals of fewer are so long that nothing follows."""


class Lists(NamedTuple):
    """``training``: the photographs that gates train on; ``judged``: those that decide, of the list ``split``.

    ``clusters``: int [N] of nearly equal ones among these, None: not known; ``notes``: what is to be said of them.
    """

    training: Photographs
    judged: Photographs
    split: str
    clusters: Optional[np.ndarray]
    notes: list[str]


def try_attention(config: Config) -> Path:
    """Write tables, a picture and, where a layer helps, the network into the next free ``runs_dir/surgery/NNN``; return it.

    Raises a UserError where the run or the photographs cannot be used.
    """
    if not config.run and "net" not in config.given:
        config = dataclasses.replace(config, net="resnet")
    run = TrainedRun.chosen(config)
    check_operable(run)
    config = config.inherit(run.settings, names_of(inherited_by="surgery")).resolved()
    share_what_cannot_be_cached()
    device = select_device(config.device)
    fused.set_mode(config.fused)
    operations = _operations(run, config)
    lists = _open_lists(run, config)
    print(
        f"{printable(run.folder)}: {run.name}; {len(lists.training):,} photographs to train gates on, {len(lists.judged):,} of "
        f"the {lists.split} list to judge by; {len(operations)} insertions on the {device}",
        flush=True,
    )
    base, tried = _try_all(run, operations, lists, config)
    costs = _latencies(run, operations, config.seed)
    combination = combine(run, base, tried, lists.judged, lists.clusters, lists.split, config)
    findings = Findings(run, config, lists.split, lists.notes, base, tried, costs, lists.clusters, device)
    with new_folder(config.runs_dir, "surgery") as folder:
        text = write_findings(folder, findings, combination)
    report(folder, text)
    return folder


def _operations(run: TrainedRun, config: Config) -> list[Operation]:
    """What is tried: in each stage each block, and the training of batch norm alone."""
    network = run.classifier().network
    channels = [getattr(network, f"layer{stage}")[-1].last_norm.weight.shape[0] for stage in STAGES]
    blocks = list(dict.fromkeys(config.blocks or exact_blocks()))
    groups = config.sa_groups or (fitting_groups(channels) if "shuffle" in blocks else None)
    if config.sa_groups and "shuffle" not in blocks:
        raise SurgeryError(f"sa_groups = {config.sa_groups} is for shuffle, and blocks = {' '.join(blocks)}: leave it out")
    for block in blocks:
        check_buildable(block, channels, groups)
    return [Operation(block, (stage,), groups) for stage in STAGES for block in (*blocks, NORM)]


def _open_lists(run: TrainedRun, config: Config) -> Lists:
    source = run.source(config)
    if "split" not in config.given:
        config = dataclasses.replace(config, split=list_to_judge_by(find_data(source)))
    dataset, _ = open_list(run, config)
    training = open_side(find_data(source), "train", seed=config.seed, **run.view)
    run.check_classes(training)
    check_apart(training, dataset)
    workers = config.num_workers or 0
    judged = read_photographs(dataset, config.batch_size, workers, seed=config.seed)
    names = [dataset.samples[row].name for row in judged.rows]
    places = {name: int(row) for name, row in zip(names, judged.rows)}
    alike = find_alike(names, lambda name: dataset.photograph(places[name]))
    different = len(names) if alike.clusters is None else len(np.unique(alike.clusters))
    if different < LEAST_JUDGED:
        raise SurgeryError(
            f"the {config.split} list of {run.folder} has {different} different photographs: at least {LEAST_JUDGED} are "
            f"needed to judge by; --split names the other list"
        )
    views = min(MAX_VIEWS, max(config.gate_epochs, 1))
    shown = read_photographs(training, config.batch_size, workers, views, config.seed)
    notes = [_part(shown, len(training), "trained on"), _part(judged, len(dataset), "judged by"), alike.note]
    return Lists(shown, judged, config.split, alike.clusters, [note for note in notes if note])


def _part(photographs: Photographs, listed: int, use: str) -> str:
    """A line where memory did not suffice for all photographs of a list; else empty."""
    if len(photographs) == listed:
        return ""
    return f"Of the {listed:,} photographs {len(photographs):,}, drawn at random, were {use}: more would take too much memory."


def _try_all(run: TrainedRun, operations: list[Operation], lists: Lists, config: Config) -> tuple[Tried, list[Tried]]:
    """(the network as it is, what each of the ``operations`` makes of it)."""
    base = Operated(run.classifier(), {})
    before, tried, started = None, [], time.monotonic()
    for stage in STAGES:
        inputs, judged = (StageInputs(base.classifier, stage, own, config.batch_size) for own in (lists.training, lists.judged))
        if before is None:
            before = Tried.of(Operation("none", ()), logits_of(base, judged, config.batch_size), lists.judged.labels)
        for operation in (one for one in operations if one.stages == (stage,)):
            tried.append(_try(run, operation, inputs, judged, config))
            print(f"{tried[-1].line(before)}; {_left(started, len(tried), len(operations))}", flush=True)
    assert before is not None
    return before, tried


def _try(run: TrainedRun, operation: Operation, inputs: StageInputs, judged: StageInputs, config: Config) -> Tried:
    started = time.monotonic()
    operated = operate(run, operation, config.seed)
    labels = judged.photographs.labels
    start = None
    if not is_exact(operation.block):
        start = float(calibrated_losses(logits_of(operated, judged, config.batch_size), labels).mean())
    steps = -(-len(inputs.photographs) // config.batch_size) * config.gate_epochs
    bar = ProgressBar(steps, f"stage {inputs.stage}, {operation.block}")
    loss = train_gates(operated, inputs, config.gate_epochs, config.batch_size, config.seed, progress=bar.update)
    bar.close()
    logits = logits_of(operated, judged, config.batch_size)
    return Tried.of(
        operation, logits, labels, gates=gate_values(operated), start_loss=start, training_loss=loss,
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _left(started: float, done: int, all_: int) -> str:
    seconds = (time.monotonic() - started) / done * (all_ - done)
    if done == all_:
        return f"{done} of {all_}"
    return f"{done} of {all_}, about {seconds / 60:.0f} min left" if seconds >= 60 else f"{done} of {all_}, under a minute left"


def _latencies(run: TrainedRun, operations: list[Operation], seed: int) -> dict[Operation, Change]:
    """How much longer an image takes; the networks with one block are measured in turn, with the network as it is."""
    print("measuring the time for an image", flush=True)
    found = {}
    for block in dict.fromkeys(operation.block for operation in operations):
        own = {str(operation.stages): operation for operation in operations if operation.block == block}
        if block == NORM:  # computes what it did before
            found.update(dict.fromkeys(own.values(), Change(0.0, 0.0, 0.0, 0)))
            continue
        networks = {"": run.classifier(), **{name: operate(run, one, seed).classifier for name, one in own.items()}}
        added = added_latencies(networks, run.settings.image_size)
        found.update({own[name]: more for name, more in added.items()})
    return found

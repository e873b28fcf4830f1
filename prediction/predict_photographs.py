"""The work of predict.py: name the classes of photographs, write them to a file, sort and show them."""

import json
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from config import Config, ConfigError, names_of
from data.given_photographs import PhotographFiles, name_unreadable
from data.lists import DataError
from data.loader import PhotographLoader
from inference.predictor import open_predictor
from machine.device import select_device
from machine.regular_file import sha256_of
from messages.progress import ProgressBar
from messages.reason import reason_of
from messages.terminal import columns_of, print_line, printable
from ops import fused
from prediction.contact_sheet import write_contact_sheet
from prediction.photograph_files import photograph_paths
from prediction.places import chosen_places
from prediction.predictions import Journal, Prediction, PredictionError, prediction_of
from prediction.sorting import sort_photographs
from processes import group
from processes.environment import here
from trained.trained_run import TrainedRun

MAX_ROWS = 20  # of the table on the terminal
UNREADABLE = 3  # exit code with --strict


def predict_photographs(config: Config) -> int:
    """Predict the photographs that ``config`` names; returns the exit code. Raises a UserError where the run cannot be used.

    Where several processes predict together, each calls this, and the first alone writes and prints.
    """
    select_device(config.device)
    with group.joined():
        return _predict(config)


def _predict(config):
    images = config.images
    if not images:
        raise ConfigError("images: name photographs or folders to predict, as in --images holiday/; - reads paths from a pipe")
    places = chosen_places(config)
    run = TrainedRun.chosen(config)
    group.agree(run.folder, "the run")
    if run.calibration_note:
        print_line(run.calibration_note)
    config = config.inherit(run.settings, names_of(inherited_by="predict")).resolved()
    fused.set_mode(config.fused)
    top = min(config.top, len(run.classes))
    if not group.is_first():
        for _ in _of_all(run, json.loads(group.from_first()), top, config):
            pass
        return 0
    journal = Journal(places.output, _origin(run, top, config))
    folders: list[OSError] = []  # that cannot be read
    paths = list(dict.fromkeys(photograph_paths(images, folders.append)))
    for error in folders:
        name_unreadable(error)
    if not paths:
        raise DataError(f"no photographs in {', '.join(images)}: give photographs or folders of them")
    with journal.begun(config.go_on, paths) as done:
        total = len(done.union(paths))  # one that has gone since it was predicted keeps its record
        if done:
            print(f"going on after {len(done):,} of {total:,} photographs")
        left = [path for path in paths if path not in done]
        group.from_first(json.dumps(left))
        bar, finished = ProgressBar(total, "photographs"), total - len(left)
        for records in _of_all(run, left, top, config):
            journal.append(records)
            finished += len(records)
            bar.update(finished)
        bar.close()
    unreadable = _report(journal, total, len(folders))
    journal.write(places.form, top)
    print(f"predictions: {printable(places.output)}")
    try:
        lost = _sort(journal, places.sorted_into, run.classes, config.sort_with)
        if places.page:
            write_contact_sheet(places.page, journal.records(), total, f"Predictions of {run.name}")
            print(f"contact sheet: {printable(places.page)}")
    except OSError as error:
        raise PredictionError(
            f"{reason_of(error)}; the predictions are in {places.output}, and --continue does what is left"
        ) from None
    journal.remove()
    return UNREADABLE if config.strict and (unreadable or folders or lost) else 0


def _sort(journal, folder, classes, sort_with):
    """Sort the photographs into ``folder``, if there is one; returns how many cannot be sorted, and names the first of them."""
    if folder is None:
        return 0
    lost = []

    def left_out(path, reason):
        lost.append(path)
        if len(lost) <= MAX_ROWS:
            print_line(f"left out of {printable(folder)}: {printable(path)}: {printable(reason)}")

    placed = sort_photographs(journal.records(), folder, classes, copy=sort_with == "copy", left_out=left_out)
    ending = f", {len(lost):,} left out" if lost else ""
    print(f"{sum(placed.values()):,} photographs in {len(placed)} folders of {printable(folder)}{ending}")
    return len(lost)


def _origin(run, top, config):
    """What the records of a journal depend on."""
    return {
        "network": sha256_of(run.checkpoint),
        "top": top,
        "test_time_flip": config.test_time_flip,
        "unsure_below": config.unsure_below,
    }


def _of_all(run, paths, top, config) -> Iterator[list[Prediction]]:
    """The records of ``paths`` in order, as many batches at a time as there are processes; each process gets those of all."""
    own, count = _predictions(run, paths, top, config), here().count
    if count == 1:
        yield from own
        return
    for _ in range(math.ceil(math.ceil(len(paths) / config.batch_size) / count)):
        group.meet()
        for text in group.gathered_texts(json.dumps(next(own, []))):
            if records := [Prediction(*record) for record in json.loads(text)]:
                yield records


def _predictions(run, paths, top, config) -> Iterator[list[Prediction]]:
    """The records of those ``paths`` that are this process's part, a batch at a time."""
    if not paths:
        return
    dataset = PhotographFiles(paths, **run.view)
    predictor = open_predictor(run, config, len(paths) * (1 + config.test_time_flip) // here().count)
    loader = PhotographLoader(dataset, config.batch_size, config.num_workers or 0, part=here())
    for start, (images, readable) in zip(loader.starts(), loader):
        usable = readable.numpy().astype(bool)
        pixels = images.numpy()[usable]
        probabilities = predictor.predict(pixels)
        if config.test_time_flip:
            flipped = predictor.predict(np.ascontiguousarray(pixels[:, :, :, ::-1]))
            probabilities = (probabilities + flipped) / 2
        run.check_answers(probabilities)
        answers = iter(probabilities)
        yield [
            prediction_of(paths[start + place], next(answers), run.classes, top, config.unsure_below)
            if ok
            else Prediction(paths[start + place], [], dataset.problem(start + place))
            for place, ok in enumerate(usable)
        ]


def _report(journal, total, folders):
    """Print the table of a few photographs, the counts and what cannot be read, such as ``folders`` folders.

    Returns the number of unreadable photographs.
    """
    counts: Counter[str] = Counter()
    unreadable = unsure = 0
    width = max(columns_of(printable(record.path)) for record in journal.records()) if total <= MAX_ROWS else 0
    for record in journal.records():
        if not record.classes:
            unreadable += 1
            if unreadable <= MAX_ROWS:
                print_line(f"left out: {printable(record.path)}: {printable(record.reason)}")
            continue
        counts[record.name] += 1
        unsure += bool(record.unsure)
        if total <= MAX_ROWS:
            path = printable(record.path)
            mark = "  unsure" if record.unsure else ""
            print(f"{path}{' ' * (width - columns_of(path))}  {record.confidence:6.1%}  {printable(record.name)}{mark}")
    for name, count in counts.most_common(MAX_ROWS):
        print(f"{count:8,}  {printable(name)}")
    if len(counts) > MAX_ROWS:
        print(f"{sum(counts.values()) - sum(count for _, count in counts.most_common(MAX_ROWS)):8,}  of other classes")
    endings = [f"{unsure:,} unsure"] if journal.origin["unsure_below"] is not None else []
    endings += [f"{unreadable:,} unreadable"] if unreadable else []
    endings += [f"{folders:,} folder{'s' * (folders != 1)} unreadable"] if folders else []
    print(", ".join([f"{total:8,}  photographs", *endings]))
    return unreadable

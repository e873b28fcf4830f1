"""Whether an exported model answers as the network does: the same photographs through both."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.data_source import DataSource
from data.lists import DataError
from data.photograph_dataset import PhotographDataset
from exported.apart import run_apart
from exported.export_error import ExportError
from messages.quoting import named
from trained.trained_run import TrainedRun

PHOTOGRAPHS = 64
TOLERANCE = 1e-4  # of a probability
BATCHES = (1, 3)  # images at once
TOOLKIT_BATCH = 8


class Sample(NamedTuple):
    """Photographs and the network's answers: ``names``, ``pixels`` uint8 [N, 3, S, S], ``probabilities`` float32 [N, C]."""

    names: list[str]
    pixels: np.ndarray
    probabilities: np.ndarray


class Difference(NamedTuple):
    """``largest``: of all probabilities; ``same``: photographs, of ``total``, with the same class for every batch."""

    largest: float
    same: int
    total: int

    def __str__(self) -> str:
        return f"{self.same} of {self.total} photographs with the same class, probabilities at most {self.largest:.1e} apart"


def sample_of(run: TrainedRun, source: DataSource) -> Sample:
    """PHOTOGRAPHS of the validation list of ``source``, or all, evenly from the list; those that can be read.

    Raises ExportError where there are none, and as ``run.classifier`` does.
    """
    remedy = f"{source.options} is where the photographs of {run.folder} were: --data FOLDER names another place"
    try:
        dataset = run.open_validation_set(source)
    except DataError as error:
        raise ExportError(f"no photographs to check the exported network with: {error}; {remedy}") from None
    names, pixels, problem = _read(dataset)
    if not names:
        raise ExportError(f"no photographs to check the exported network with: {problem}; {remedy}")
    return Sample(names, np.stack(pixels), run.predict(np.stack(pixels), TOOLKIT_BATCH))


def _read(dataset: PhotographDataset) -> tuple[list[str], list[np.ndarray], str]:
    """Names and pixels of readable photographs, and the first reason why one cannot be read."""
    names, pixels, problem = [], [], "the validation list is empty"
    order = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), PHOTOGRAPHS)).round().astype(int))
    for index in order.tolist():
        try:
            pixels.append(dataset[index][0])
            names.append(dataset.samples[index].name)
        except DataError as error:
            problem = problem if pixels else str(error)
    return names, pixels, problem


def check_equal(
    sample: Sample, classes: list[str], runtime: str, model: Path, scratch: Path, python: str, threads: int
) -> Difference:
    """Compare the probabilities of the exported ``model`` with those of the network, for each of BATCHES.

    ``runtime``: see exported.answer. Raises ExportError, which names the worst photograph, where they are more than TOLERANCE
    apart. Where two classes are closer than twice that, either counts as the same.
    """
    images, answers = scratch / "images.npy", scratch / "answers.npy"
    np.save(images, sample.pixels)
    name = f"{model.parent.name}/{model.name}" if runtime != "onnx" else model.name
    run_apart("answer", [runtime, model, images, answers, threads, *BATCHES], scratch, f"running the exported {name}", python)
    found = np.load(answers)  # [batches, N, C]
    wanted = sample.probabilities
    if found.shape != (len(BATCHES), *wanted.shape):
        raise ExportError(f"{name} gives {list(found.shape[1:])} probabilities, not {list(wanted.shape)}; nothing was written")
    apart = np.abs(found.astype(np.float64) - wanted)
    apart[~np.isfinite(apart)] = np.inf
    if apart.max() > TOLERANCE:
        batch, photograph, _ = np.unravel_index(apart.argmax(), apart.shape)
        was, answered = wanted[photograph], found[batch, photograph]
        raise ExportError(
            f"{name} does not answer as the network does: {apart.max():.2g} apart, at most {TOLERANCE:g} is allowed. Worst is "
            f"{named(sample.names[photograph])}, {BATCHES[batch]} at once: {_best(answered, classes)}, not "
            f"{_best(was, classes)}. Nothing was written; --format can leave this form out"
        )
    chosen = np.take_along_axis(wanted[None], found.argmax(axis=2)[..., None], axis=2)[..., 0]  # [batches, N]
    same = (wanted.max(axis=1) - chosen <= 2 * TOLERANCE).all(axis=0)
    return Difference(float(apart.max()), int(same.sum()), len(same))


def _best(probabilities, classes):
    label = int(np.argmax(probabilities))
    return f"{named(classes[label])} {probabilities[label]:.2%}"

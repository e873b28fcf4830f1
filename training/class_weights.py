"""Weights of the classes in the loss, where some have many photographs and others few.

By a formula from the sizes of the classes in the training list, or from a file of the user's. All are scaled so that the mean
over the training photographs is 1: then the learning rate that suits a training without weights suits one with them.
"""

import csv
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from config import Config
from data.class_balance import REMEDY, unbalanced_line
from data.list_text import ListText, NotTextError, read_lines
from data.sampling import epoch_counts
from messages.quoting import listed, quoted
from messages.reason import reason_of
from messages.spreadsheet import restored
from messages.terminal import printable
from messages.user_error import UserError
from trained.checkpoint import read_header
from trained.run_error import RunError

HEADER = ["class", "weight"]
MAX_BYTES = 2**26  # a hundred thousand classes have less
LOWEST, HIGHEST = 1e-6, 1e6  # of a weight in a file: float32 holds the ratio of any two


class ClassWeightsError(UserError):
    """A file of class weights that cannot be used; the message names file, line, rule and remedy."""


class ClassWeights(NamedTuple):
    """``values``: one for each class, in label order, None where all count alike; ``sha256``: of their file, if any."""

    values: Optional[list[float]] = None
    sha256: Optional[str] = None


def class_weights(
    config: Config, classes: Sequence[str], counts: Sequence[int], resumed: Optional[Path] = None
) -> ClassWeights:
    """The weights of ``classes`` that ``config`` asks for; ``counts``: the number of training photographs of each.

    ``resumed``: a run with a last.safetensors, which holds the weights that its training began with: the file that they are
    from may have changed since, or be gone. Raises ClassWeightsError; RunError where the run has none.
    """
    if config.class_weights is None:
        return ClassWeights()
    if resumed is None:
        return weights_by_name(config.class_weights, classes, counts, config.effective_beta)
    values = read_header(resumed / "last.safetensors")["class_weights"]
    if values is None:
        raise RunError(
            f"{resumed} cannot be continued: its class_weights is {config.class_weights!r}, but its last.safetensors holds no "
            f"weights; train anew"
        )
    return ClassWeights(values)


def balance_line(
    config: Config, weights: ClassWeights, classes: Sequence[str], counts: Sequence[int], is_new: bool = True
) -> Optional[str]:
    """What a training does about classes of different sizes, in one line; None where there is nothing to say.

    Where it does nothing: what it could do, if it ``is_new``, as its settings cannot change later.
    """
    if weights.values is not None:
        return line_of(weights.values, classes, counts)
    if config.sampler == "uniform":
        line = unbalanced_line(dict(zip(classes, counts))) if is_new else None
        return f"{line}; {REMEDY}" if line else None
    present = [label for label, count in enumerate(counts) if count]
    shown = dict(zip(present, epoch_counts(config.sampler, [counts[label] for label in present]).tolist()))
    small, large = min(present, key=counts.__getitem__), max(present, key=counts.__getitem__)
    return (
        f"sampler {config.sampler}: an epoch shows {shown[small]:,} photographs of {printable(classes[small])}, which has "
        f"{counts[small]:,}, and {shown[large]:,} of {printable(classes[large])}, which has {counts[large]:,}"
    )


def weights_by_name(asked: str, classes: Sequence[str], counts: Sequence[int], effective_beta: float = 0.999) -> ClassWeights:
    """The weights that ``asked`` stands for.

    "balanced": in proportion to 1 / n, where n is the number of training photographs of the class. "effective": to
    (1 - beta) / (1 - beta ** n), the inverse of the effective number of samples (Cui et al., CVPR 2019, equation 2), with
    ``effective_beta``. Else the path of a CSV file of class,weight. ``counts``: n of each of the ``classes``; a class without
    photographs has the weight 1, which nothing uses. Raises ClassWeightsError.
    """
    numbers, digest = np.asarray(counts, float), None
    present = np.maximum(numbers, 1)
    if asked == "balanced":
        raw = 1 / present
    elif asked == "effective":
        # 1 - beta ** n, exact also where beta ** n is nearly 1
        raw = 1 / -np.expm1(present * np.log(effective_beta)) if effective_beta else np.ones_like(present)
    else:
        found, digest = _read_file(asked, classes)
        raw = np.array([found[name] for name in classes])
    scaled = raw * numbers.sum() / (raw * numbers).sum()
    return ClassWeights(np.where(numbers > 0, scaled, 1.0).tolist(), digest)


def line_of(values: Sequence[float], classes: Sequence[str], counts: Sequence[int]) -> str:
    """The range of the weights ``values`` of the classes that have photographs, in one line."""
    present = [label for label, count in enumerate(counts) if count]
    low, high = min(present, key=values.__getitem__), max(present, key=values.__getitem__)
    return (
        f"class weights from {values[low]:.3g} ({printable(classes[low])}, {counts[low]:,} photographs) to "
        f"{values[high]:.3g} ({printable(classes[high])}, {counts[high]:,})"
    )


def _read_file(path, classes) -> tuple[Mapping[str, float], str]:
    """({class: weight} of all ``classes``, the file's SHA-256); raises ClassWeightsError."""
    try:
        text = read_lines(path, MAX_BYTES)
    except FileNotFoundError:
        raise ClassWeightsError(
            f"class_weights = {path!r}: there is no such file: give balanced, effective or a CSV file of class,weight"
        ) from None
    except NotTextError as error:
        raise ClassWeightsError(f"class_weights: {error.where(path)}: {error}: save the file as UTF-8") from None
    except OSError as error:
        raise ClassWeightsError(f"class_weights: {path} cannot be read: {reason_of(error, path)}") from None
    return _weights_in(path, _of_known_names(text, classes), classes), hashlib.sha256(text.data).hexdigest()


def _of_known_names(text, classes) -> ListText:
    """``text``, or its other reading if only that names a class in every line: names in GB18030 can be letters in UTF-8."""
    other = text.in_gb18030()
    if other is None:
        return text
    known = set(classes)
    named_here, named_there = (sum(line.split(",")[0].strip() in known for line in one.lines) for one in (text, other))
    return other if named_there > named_here else text


def _weights_in(path, text, classes):
    found: dict[str, tuple[float, int]] = {}  # {class: (weight, line)}
    known = set(classes)

    def refuse(line, problem, remedy):
        raise ClassWeightsError(f"class_weights: {path} line {line}: {problem}: {remedy}")

    for line, row in enumerate(text.lines, start=1):
        cells = _cells(row)
        if not row.strip() or (line == 1 and [cell.strip().lower() for cell in cells] == HEADER):
            continue
        if len(cells) != 2:
            refuse(line, f"{quoted(row)} has {len(cells)} values", "write class,weight, a class with a comma in it in quotes")
        name = next((name for name in (cells[0], restored(cells[0]), cells[0].strip()) if name in known), None)
        if name is None:
            refuse(line, f"{quoted(cells[0])} is no class of the training list", f"its classes are {listed(list(classes))}")
        weight = _number(cells[1])
        if not LOWEST <= weight <= HIGHEST:
            refuse(
                line, f"the weight of {quoted(name)} is {quoted(cells[1])}", f"give a number from {LOWEST:g} to {HIGHEST:,.0f}"
            )
        if name in found:
            refuse(line, f"{quoted(name)} has a weight in line {found[name][1]} already", "give each class one line")
        found[name] = weight, line
    missing = [name for name in classes if name not in found]
    if missing:
        raise ClassWeightsError(
            f"class_weights: {path} has no weight for {listed(missing)}: give each class of the training list a line"
        )
    return {name: weight for name, (weight, _) in found.items()}


def _cells(row):
    try:
        return next(csv.reader([row], strict=True), [])
    except csv.Error:
        return [row]


def _number(text):
    try:
        return float(text) if text.isascii() else math.nan  # float() also reads digits of other scripts
    except ValueError:
        return math.nan

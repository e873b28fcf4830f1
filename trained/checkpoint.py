"""Checkpoints hold data, never code: they are safetensors files with a JSON header, written whole or not at all.

The network's tensors have the names in its ``state_dict()``. ``last.safetensors`` also holds the optimiser's accumulators as
``optimizer/<parameter>/<accumulator>`` and, where a training averages its weights, the averages as ``average/<tensor>``.
The header (see trained.header) holds the settings, the class names, the epoch, the best epoch's scores, the history and the
versions of the libraries. The learning rate and all random numbers follow from the settings, the epoch and the step: see
training.state.seed_generators.
"""

import functools
import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.optimizer import Optimizer
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from machine.whole_file import whole_file
from messages.quoting import named
from messages.reason import reason_of
from trained.header import FORMAT, FORMAT_WITHOUT_AVERAGES, CheckpointError, check_header
from trained.weight_values import problem_of_values

PathLike = Union[str, Path]
OPTIMIZER_PREFIX, AVERAGE_PREFIX = "optimizer/", "average/"
MAX_HEADER = 2**26  # letters; the history of a hundred thousand epochs has fewer
ADAMS = {"moment1_0", "moment2_0", "beta1_pow_acc_0", "beta2_pow_acc_0"}
ACCUMULATORS = {"Momentum": {"velocity_0"}, "Adam": ADAMS, "AdamW": ADAMS}
"""Optimiser -> Paddle's names of its accumulators. They are checked here, because Paddle sets missing ones to zero."""


def save_checkpoint(
    path: PathLike, network: nn.Layer, header: Mapping[str, Any], optimizer: Optional[Optimizer] = None,
    averages: Optional[Mapping[str, Tensor]] = None,
) -> None:  # fmt: skip
    """Write the state of ``network`` with ``header`` (ready for JSON) to ``path``.

    If given, also the state of ``optimizer``, and ``averages`` of the network's tensors by their names. Raises OSError.
    """
    tensors = {name: np.ascontiguousarray(value.numpy()) for name, value in network.state_dict().items()}
    header = {**header, "format": FORMAT if averages else FORMAT_WITHOUT_AVERAGES, "versions": _versions()}
    if optimizer is not None:
        tensors.update(_accumulators(network, optimizer))
    tensors.update({f"{AVERAGE_PREFIX}{name}": value.numpy() for name, value in (averages or {}).items()})
    with whole_file(path) as temporary:
        try:
            save_file(tensors, str(temporary), metadata={"format": "pd", "header": json.dumps(header)})
        except SafetensorError as error:  # it wraps the system's error
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number and os.name == "posix":  # elsewhere it is not errno's
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
            raise OSError(f"{path} cannot be written: {error}") from None


def read_header(path: PathLike) -> dict[str, Any]:
    """The header of a checkpoint, checked, with defaults for missing keys: see trained.header.KEYS. Reads no tensors.

    Raises CheckpointError, and FormatError if a newer version of the toolkit wrote it.
    """
    return _read(path, lambda stored: None)[0]


def load_network_state(path: PathLike, network: nn.Layer) -> dict[str, Any]:
    """Load the network's tensors from a checkpoint and return its header.

    Raises CheckpointError, and leaves ``network`` unchanged, if names, shapes or types differ from the network's, or if values
    are no numbers.
    """
    header, tensors = _read(path, functools.partial(_tensors, wanted=_is_of_network))
    _set_network_state(path, network, tensors)
    return header


def load_training_state(
    path: PathLike, network: nn.Layer, optimizer: Optimizer, averages: Optional[dict[str, Tensor]] = None
) -> dict[str, Any]:
    """Load the states of ``network`` and ``optimizer`` that ``save_checkpoint`` saved, and return the header.

    ``averages``: the tensors in it are replaced by those of the file, which must have the same. Raises CheckpointError if
    something is missing or does not fit; the network may have changed then.
    """
    header, stored = _read(path, _tensors)
    _set_network_state(path, network, {name: stored.pop(name) for name in list(filter(_is_of_network, stored))})
    found = {name[len(AVERAGE_PREFIX) :]: stored.pop(name) for name in list(stored) if name.startswith(AVERAGE_PREFIX)}
    _check_tensors(path, averages or {}, found, "averages of other weights")
    if averages:
        averages.update({name: paddle.to_tensor(value) for name, value in found.items()})
    state = {}
    for name, parameter in network.named_parameters():
        own = {key[len(prefix) :]: key for key in stored if key.startswith(prefix := f"{OPTIMIZER_PREFIX}{name}/")}
        expected = set() if parameter.stop_gradient else ACCUMULATORS[type(optimizer).__name__]
        if expected and not own:
            raise CheckpointError(f"{path} holds no state of the optimiser for {name}")
        if own.keys() != expected:
            raise CheckpointError(
                f"{path} holds the state of another optimiser for {name}: {_list(own)}; expected {_list(expected)}"
            )
        for accumulator, key in own.items():
            value = stored.pop(key)
            shape = (1,) if "_pow_acc_" in accumulator else tuple(parameter.shape)  # a power of Adam's beta is one number
            if value.shape != shape:
                raise CheckpointError(f"{path}: {named(key)} has shape {value.shape}, expected {shape}")
            if value.dtype != "float32":
                raise CheckpointError(f"{path}: {named(key)} is of type {value.dtype}, not float32")
            state[f"{parameter.name}_{accumulator}"] = paddle.to_tensor(value)
    if stored:
        raise CheckpointError(f"{path} holds {len(stored)} unexpected states of the optimiser{_first(sorted(stored))}")
    # The learning rate stays as it is, but Paddle 2.6 requires it in the state
    state.update({key: value for key, value in optimizer.state_dict().items() if key == "LR_Scheduler"})
    optimizer.set_state_dict(state)
    return header


def _set_network_state(path, network, tensors):
    _check_tensors(path, network.state_dict(), tensors, "another network")
    network.set_state_dict(tensors)


def _check_tensors(path, wanted, found, other):
    """Raise CheckpointError unless the arrays ``found`` have the names, shapes and types of ``wanted``, and hold numbers."""
    expected = {name: (str(value.dtype).split(".")[-1], tuple(value.shape)) for name, value in wanted.items()}
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise CheckpointError(
            f"{path} holds {other}: {len(missing)} tensors are missing{_first(missing)}, "
            f"{len(unexpected)} are not in this network{_first(unexpected)}"
        )
    for name, (kind, shape) in expected.items():
        if found[name].shape != shape:
            raise CheckpointError(f"{path}: {name} has shape {found[name].shape}, the network expects {shape}")
        if found[name].dtype != kind:
            raise CheckpointError(f"{path}: {name} is of type {found[name].dtype}, the network expects {kind}")
        if problem := problem_of_values(name, found[name]):
            raise CheckpointError(f"{path}: {problem}")


def _tensors(stored, wanted=lambda name: True):
    return {name: stored.get_tensor(name) for name in filter(wanted, stored.keys())}


def _is_of_network(name):
    return not name.startswith((OPTIMIZER_PREFIX, AVERAGE_PREFIX))


def _read(path, take):
    """(checked header, what ``take`` returns for the opened safetensors file); raises CheckpointError, FormatError."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safe_open(str(path), framework="np") as stored:
            text = (stored.metadata() or {})["header"]
            if len(text) > MAX_HEADER:
                raise ValueError(f"its header has {len(text):,} letters, more than {MAX_HEADER:,}")
            header = json.loads(text)
            taken = take(stored)
    except KeyError:
        raise CheckpointError(f"{path} has no header of this toolkit") from None
    # safetensors raises TypeError and AttributeError for types that numpy lacks, json raises RecursionError for [[[[[[[[...
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = reason_of(error, path)
        raise CheckpointError(f"{path} is not a complete checkpoint ({reason}): restore a copy, or train again") from None
    return check_header(header, path), taken


def _first(names):
    return f" (the first: {named(names[0])})" if names else ""


def _list(names):
    return ", ".join(named(name) for name in sorted(names)[:10]) or "none"


def _accumulators(network, optimizer):
    """{name in the checkpoint: array} of the optimiser's accumulators.

    Paddle names an accumulator by the parameter's global name, which depends on the networks built before in the process; the
    parameter's name in the network does not.
    """
    place = {parameter.name: name for name, parameter in network.named_parameters()}
    longest_first = sorted(place, key=len, reverse=True)
    accumulators = {}
    for key, value in optimizer.state_dict().items():
        owner = next((name for name in longest_first if key.startswith(name + "_")), None)
        if owner is not None:
            accumulators[f"{OPTIMIZER_PREFIX}{place[owner]}/{key[len(owner) + 1 :]}"] = value.numpy()
    return accumulators


def _versions():
    return {"paddle": paddle.__version__, "numpy": np.__version__, "python": platform.python_version()}

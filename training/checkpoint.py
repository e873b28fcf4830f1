"""Checkpoints are data, never code: safetensors files with a JSON header, whole or not at all.

Tensors of the network carry the names of its ``state_dict()``. ``last.safetensors`` also holds the optimiser's accumulators
as ``optimizer/<parameter>/<accumulator>``; the header holds the settings, the class names, the preprocessing, the epoch,
the best score, the state of the learning rate and the versions of the libraries. No state of random generators: order and
augmentation of an epoch follow from the seed and the epoch's number.
"""

import json
import platform
from pathlib import Path

import numpy as np
import paddle
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from reporting.whole_file import whole_file

OPTIMIZER_PREFIX = "optimizer/"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit; the message names the file and the difference."""


def save_checkpoint(path, network, header, optimizer=None) -> None:
    """Write the state of ``network``, and of ``optimizer`` if given, with ``header`` (JSON-ready dict) to ``path``."""
    tensors = {name: np.ascontiguousarray(value.numpy()) for name, value in network.state_dict().items()}
    header = {**header, "versions": _versions()}
    if optimizer is not None:
        accumulators, header["learning_rate_state"] = _optimizer_state(network, optimizer)
        tensors.update(accumulators)
    with whole_file(path) as temporary:
        save_file(tensors, str(temporary), metadata={"format": "pd", "header": json.dumps(header)})


def read_header(path) -> dict:
    """The header of a checkpoint, without its tensors; raises CheckpointError."""
    return _read(path, lambda stored: None)[0]


def load_network_state(path, network) -> dict:
    """Load the network's tensors from a checkpoint and return its header.

    Raises CheckpointError where names or shapes differ from those of ``network``, which is then unchanged.
    """
    header, tensors = _read(path, _network_tensors)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        raise CheckpointError(
            f"{path} holds another network: {len(missing)} tensors are missing{_first(missing)}, "
            f"{len(unexpected)} are not in this network{_first(unexpected)}"
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise CheckpointError(f"{path}: {name} has shape {tensors[name].shape}, the network expects {shape}")
    network.set_state_dict(tensors)
    return header


def _network_tensors(stored):
    names = stored.keys()
    return {name: stored.get_tensor(name) for name in names if not name.startswith(OPTIMIZER_PREFIX)}


def _read(path, take):
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safe_open(str(path), framework="np") as stored:
            header = json.loads((stored.metadata() or {})["header"])
            return header, take(stored)
    except KeyError:
        raise CheckpointError(f"{path} has no header of this toolkit") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no whole checkpoint: {error}") from None


def _first(names):
    return f" (the first: {names[0]})" if names else ""


def _optimizer_state(network, optimizer):
    """(accumulators by readable names, state of the learning rate).

    Paddle names an accumulator by the parameter's global name, which depends on what else was built in the process; the
    parameter's place in the network does not.
    """
    place = {parameter.name: name for name, parameter in network.named_parameters()}
    longest_first = sorted(place, key=len, reverse=True)
    accumulators = {}
    state = optimizer.state_dict()
    for key, value in state.items():
        owner = next((name for name in longest_first if key.startswith(name + "_")), None)
        if owner is not None:
            accumulators[f"{OPTIMIZER_PREFIX}{place[owner]}/{key[len(owner) + 1 :]}"] = value.numpy()
    return accumulators, state.get("LR_Scheduler", {})


def _versions():
    return {"paddle": paddle.__version__, "numpy": np.__version__, "python": platform.python_version()}

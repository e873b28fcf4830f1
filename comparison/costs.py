"""What the networks of a comparison cost on this machine, measured in turn."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddle import nn

from comparison.run_groups import read_classes_of
from comparison.worth import Change, change_of
from config import load_config
from networks import build_network
from networks.classifier import Classifier
from networks.summary import latencies, multiply_adds, parameter_counts


def measure_costs(runs: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """{name: {"parameters", "multiply_adds", "latency_ms", "latency_ms_of_rounds"}} of the networks of runs that all saw images
    of the same size.

    Costs do not depend on the weights, so the networks are built anew. "latency_ms": milliseconds for one image on Paddle's
    current device, the median of the rounds. Raises ConfigError, NetworkError, OSError.
    """
    settings = {name: load_config(run / "config.yaml") for name, run in runs.items()}
    networks = {
        name: build_network(settings[name].net, len(read_classes_of(run)), **settings[name].network_options())
        for name, run in runs.items()
    }
    size = next(iter(settings.values())).image_size
    milliseconds = latencies({name: Classifier(network) for name, network in networks.items()}, size)
    return {
        name: {
            "parameters": parameter_counts(network)[0],
            "multiply_adds": multiply_adds(network, size),
            "latency_ms": statistics.median(milliseconds[name]),
            "latency_ms_of_rounds": milliseconds[name],
        }
        for name, network in networks.items()
    }


ROUNDS = 25
"""For a small difference of evaluation times: its interval lies between the eighth and the eighteenth of them."""


def added_latencies(classifiers: Mapping[str, nn.Layer], image_size: int, rounds: int = 0) -> dict[str, Change]:
    """{name: how many milliseconds longer an image takes than with the first of the ``classifiers``}, of all others; pair by
    pair in so many ``rounds``, by default ROUNDS."""
    first, *others = (measured := latencies(dict(classifiers), image_size, rounds or ROUNDS))
    return {name: change_of([own - base for own, base in zip(measured[name], measured[first])]) for name in others}

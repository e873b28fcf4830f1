"""The work of compare.py: train and evaluate missing runs, measure the cost of each network, write the comparison."""

from pathlib import Path
from typing import Callable, Optional

from PIL import Image

from comparison.compared_settings import check_useful, differing_settings
from comparison.held_out import digests_of_test_list, has_test_list
from comparison.run_groups import ComparisonError, check_comparable, group_runs, grown_runs, read_classes_of
from comparison.run_plan import evaluate_missing, train_missing
from comparison.tables import write_comparison
from comparison.verdict import NAMES
from config import Config, load_config
from data.data_sets import find_data, open_side
from data.data_source import DataSource
from data.lists import DataError
from machine.device import select_device
from messages.terminal import printable
from networks import build_network
from networks.classifier import Classifier
from networks.summary import latencies, multiply_adds, parameter_counts
from ops import fused
from trained.run_folder import create_run


def compare_networks(config: Config) -> int:
    """Write the comparison to the next free ``runs_dir/compare/NNN``; returns the exit code, 1 if a training failed.

    Raises a UserError where nothing can be compared.
    """
    if config.runs:
        check_useful(config)
    config = config.resolved()
    device = select_device(config.device)
    named = config.runs or config.nets
    if len(set(named)) < 2:
        raise ComparisonError(f"{' '.join(named)}: a comparison needs at least two")
    if config.runs:
        groups, failures = group_runs([Path(run) for run in config.runs]), {}
        source = None  # the data of each run
    else:
        if config.split == "test":  # now: training takes time
            digests_of_test_list([], find_data(config.data_source(), may_download="data" not in config.given))
        groups, failures, source = train_missing(config)
    runs = [run for group in groups.values() for run in group]
    check_comparable(runs)  # now: evaluating takes time
    test_list = digests_of_test_list(runs, source) if config.split == "test" else None
    evaluate_missing(groups, failures, source, config, test_list)
    runs = [run for group in groups.values() for run in group]
    if not runs:
        raise ComparisonError("no training can be compared: " + "; ".join(f"{n}: {'; '.join(w)}" for n, w in failures.items()))
    fused.set_mode(config.fused)
    costs = measure_costs({name: group[0] for name, group in groups.items()})
    notes = differing_settings([load_config(run / "config.yaml") for run in runs])
    notes += grown_runs(runs)
    notes.append(f"Parameters, multiply-adds and evaluation time were measured now, on this machine's {device}.")
    folder = create_run(config.runs_dir, "compare")
    trained = load_config(runs[0] / "config.yaml")
    photograph = photograph_reader(trained, source, config.follow_links, config.split)
    could_test = config.split == "val" and has_test_list(source or trained.data_source())
    print(write_comparison(folder, groups, costs, failures, notes, photograph, config.split, could_test), end="")
    print(f"comparison: {printable(folder)}")
    return 1 if failures else 0


def photograph_reader(
    trained: Config, source: Optional[DataSource], follow_links: bool = False, split: str = "val"
) -> Callable[[str], Image.Image]:
    """A function that reads a photograph of the list of ``split`` by its name; it raises DataError.

    ``trained``: settings of one of the runs; ``source``: the current place of the photographs; None: as in the training.
    """
    source = source or trained.data_source()
    source = source._replace(follow_links=source.follow_links or follow_links)
    try:
        listed = open_side(source, split, trained.image_size)
        places = {sample.name: place for place, sample in enumerate(listed.samples)}
    except DataError:  # deleted since the training; a comparison of finished runs does not need the data
        places = {}

    def photograph(name):
        if name not in places:
            raise DataError(f"{name} is not in the {NAMES[split]} list")
        return listed.photograph(places[name])

    return photograph


def measure_costs(runs: dict[str, Path]) -> dict[str, dict]:
    """{name: {"parameters", "multiply_adds", "latency_ms"}} of the networks of runs that all saw images of the same size.

    Costs do not depend on the weights, so the networks are built anew. "latency_ms": milliseconds for one image on Paddle's
    current device. Raises ConfigError, NetworkError, OSError.
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
            "latency_ms": milliseconds[name],
        }
        for name, network in networks.items()
    }

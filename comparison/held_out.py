"""The test list that all runs of a comparison are evaluated on."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from comparison.run_groups import ComparisonError
from config import Config, load_config
from data.data_sets import open_side, open_test_set
from data.data_source import DataSource
from data.lists import DataError
from evaluation.report import is_evaluated, read_metrics
from messages.terminal import print_line, printable
from trained.known_data import permitted_source
from trained.run_error import RunError


class ListDigests(NamedTuple):
    """SHA-256 of a list, and of its photographs if known."""

    list_sha256: Optional[str]
    photographs_sha256: Optional[str]


def digests_of_test_list(
    runs: Sequence[Path], source: Optional[DataSource] = None, config: Optional[Config] = None
) -> ListDigests:
    """The digests of the test list of ``runs``, or of ``source``, the current place of the photographs of all of them.

    Without ``source``, where the list of a run cannot be read any more, or may not with the settings ``config``, that of an
    earlier evaluation counts. Raises DataError or RunError where there is no usable list, ComparisonError where the runs have
    different ones, FormatError.
    """
    if source:
        return _of(open_test_set(source, image_size=1))
    trained = {run: load_config(run / "config.yaml") for run in runs}
    sources = {run: settings.data_source() for run, settings in trained.items()}
    found = {}
    for place in set(sources.values()):
        own = [run for run in runs if sources[run] == place]
        found[place] = _digests(trained[own[0]], config or Config(), own)
    first = runs[0]
    for run in runs:
        if found[sources[run]] != found[sources[first]]:
            raise ComparisonError(f"{run} and {first} cannot be tested on the same photographs: their test lists differ")
    return found[sources[first]]


def _digests(trained, config, runs):
    try:
        test_set = open_test_set(permitted_source(trained, config, runs[0]), image_size=1)
    except (DataError, RunError):  # deleted since the evaluation; a comparison of finished runs does not need the data
        recorded = {_recorded(run) for run in runs}
        if len(recorded) != 1 or None in recorded:
            raise
        return recorded.pop()
    return _of(test_set)


def _of(test_set):
    return ListDigests(test_set.digest(), test_set.photographs_digest())


def _recorded(run):
    metrics = read_metrics(run, "test") if is_evaluated(run, "test") else {}
    digests = ListDigests(metrics.get("list_sha256"), metrics.get("photographs_sha256"))
    return digests if digests.list_sha256 else None


def has_test_list(source: DataSource) -> bool:
    """Whether ``source`` has a test list that can be used."""
    try:
        return len(open_side(source, "test", image_size=1)) > 0
    except DataError:
        return False


def list_to_judge_by(source: DataSource) -> str:
    """The list "test" where ``source`` has one that can be used, else "val"; says why it cannot."""
    if not has_test_list(source):
        return "val"
    try:
        digests_of_test_list([], source)
    except (DataError, RunError) as error:
        print_line(f"note: compared on the validation list, as the test list cannot be used: {printable(error)}")
        return "val"
    return "test"

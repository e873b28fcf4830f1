"""Out-of-fold predictions as a table: each photograph once, by the training that did not see it."""

import re
from collections.abc import Iterator
from pathlib import Path

from evaluation.report import FOLDERS, MAX_BYTES
from machine.whole_file import write_csv
from trained.csv_file import read_rows

COLUMNS = ("path", "label", "prediction", "confidence")


def write_out_of_fold(folder: Path, seeds: dict[str, list[dict[int, Path]]]) -> list[str]:
    """Write out_of_fold_NETWORK.csv, of several seeds out_of_fold_NETWORK_1.csv, ..., into ``folder``; returns the names.

    ``seeds``: {network: {fold: evaluated run} of each seed}. The columns are those of predictions.csv, and the fold. Raises
    OSError, ValueError.
    """
    names = []
    for network, own in seeds.items():
        for number, of_seed in enumerate(own, start=1):
            ending = f"_{number}" if len(own) > 1 else ""
            names.append(f"out_of_fold_{re.sub('[^0-9A-Za-z_.-]+', '_', network)}{ending}.csv")
            write_csv(folder / names[-1], [*COLUMNS, "fold"], _rows(of_seed))
    return names


def _rows(of_seed: dict[int, Path]) -> Iterator[list[object]]:
    for fold, run in of_seed.items():
        for _, row in read_rows(run / FOLDERS["val"] / "predictions.csv", ("path", "label", "prediction"), MAX_BYTES):
            yield [*(row.get(column, "") for column in COLUMNS), fold]

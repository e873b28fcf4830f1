"""The lists that trials train and are ranked on: both are parts of the training list. The validation list stays unread."""

import contextlib
import io
from pathlib import Path

from data.data_source import DataSource
from data.photograph_dataset import PhotographDataset
from data.splitting import split_folder
from machine.whole_file import write_csv

TABLE = "train_list.csv"
REPORT = "split_report.csv"


def write_inner_lists(
    train_set: PhotographDataset, source: DataSource, folder: Path, share: float, seed: int
) -> tuple[int, int]:
    """Split the training list into ``folder``: its train_list.txt, and its val_list.txt of about ``share`` of each class.

    As a split of a whole folder: stratified, drawn with ``seed``, photographs with the same pixels on one side. Returns the
    numbers of photographs in both. Raises SplitError where a class has fewer than two photographs to train on, OSError.
    """
    folder.mkdir(exist_ok=True)
    rows = dict.fromkeys((sample.name, train_set.classes[sample.label]) for sample in train_set.samples)
    write_csv(folder / TABLE, ("file", "class"), rows)
    with contextlib.redirect_stdout(io.StringIO()):  # a table of all classes, as for a split that the user asked for
        counts = split_folder(
            source.data, share, seed, follow_links=source.follow_links, lists_dir=str(folder), resplit=True,
            labels=str(folder / TABLE), file_column="file", label_column="class",
        )  # fmt: skip
    trained, held_out, *_ = map(sum, zip(*counts.values()))
    return trained, held_out

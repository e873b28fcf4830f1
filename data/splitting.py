"""Splits a folder of class folders into training and validation lists, after reading every photograph once.

The split depends only on the names and the seed; photographs with the same pixels stay on one side.
"""

import concurrent.futures
import hashlib
import os
from collections import defaultdict
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Optional, Union

from data import DATASETS
from data.class_folders import SplitError, composed, find_files, sort_key
from data.data_folder import DataFolder
from data.data_source import DataSource
from data.earlier_lists import check_may_write, check_paddlex_paths, kept_class_order
from data.lists import write_lists
from data.photographs import PhotographError, read_photograph
from data.split_record import REPORT
from machine.processor import available_cores
from machine.whole_file import write_csv
from machine.workers import become_worker
from messages.progress import ProgressBar
from messages.terminal import columns_of, printable

MAX_PROCESSES = 61  # in a pool, on Windows


def split_dataset(source: DataSource, **options) -> None:
    """Split a data set that is a folder; ``options``: see split_folder, which names what this raises."""
    if not DATASETS[source.dataset].in_folder:
        raise SplitError(f"dataset = {source.dataset!r}: only a folder can be split; {source.dataset} is split already")
    split_folder(source.data, follow_links=source.follow_links, lists_dir=source.lists_dir, **options)


def split_folder(
    data: Union[str, os.PathLike],
    val_fraction: float = 0.2,
    seed: int = 0,
    max_per_class: Optional[int] = None,
    follow_links: bool = False,
    lists_dir: Optional[Union[str, os.PathLike]] = None,
    overwrite: bool = False,
    list_format: str = "paddleclas",
    show_progress: bool = False,
) -> dict[str, tuple[int, int]]:
    """Write the lists of ``data``, a folder of class folders or an archive of one; returns {class: (train count, val count)}.

    The split is stratified by class and depends only on the names and the seed. Photographs with the same pixels stay on one
    side. Links that lead out of the folder are left out unless ``follow_links``. ``lists_dir``: see DataFolder; ``overwrite``:
    see check_may_write; ``list_format``: see write_lists. Prints a table of the counts. Raises SplitError, and writes nothing,
    if the folder is missing, has only one class, a class folder that cannot be used, or a class with fewer than two different
    readable photographs, or if the lists cannot or must not be written; DataError if an archive cannot be unpacked or
    labels.txt cannot be used.
    """
    folder = DataFolder.open(data, follow_links, lists_dir)
    root = folder.root
    check_may_write(folder, overwrite, list_format)
    files, problems = find_files(folder)
    names = kept_class_order(folder, files, overwrite)
    if list_format == "paddlex3":
        check_paddlex_paths(folder, files)
    digests = _read_all(root, files, problems, show_progress)
    by_class = _group_duplicates(files, digests, problems)
    _check_classes(root, files, by_class, problems)
    train, val = [], []
    for label, name in enumerate(names):
        problems += _duplicates(by_class[name], left_out=max_per_class is not None)
        groups = _first_photographs(_in_drawn_order(by_class[name], seed), max_per_class)
        for side, paths in zip((train, val), _divide(groups, val_fraction)):
            side.extend((path, label) for path in sorted(paths, key=sort_key))
    notes = write_lists(folder.lists, names, train, val, list_format=list_format, photographs=root)
    write_csv(folder.lists / REPORT, ["path", "problem"], sorted(problems, key=lambda row: sort_key(row[0])))
    counts = {name: (_count(train, label), _count(val, label)) for label, name in enumerate(names)}
    _print_table(folder.lists, counts, problems)
    for note in notes:
        print(printable(note))
    if folder.lists != Path(folder.name):
        advice = "" if lists_dir is None else f": give --lists_dir {printable(lists_dir)} to the other scripts as well"
        print(f"the lists of {printable(folder.name)} are in {printable(folder.lists)}{advice}")
    return counts


def _digest(path):
    """(digest of the decoded pixels, None) or (None, reason)."""
    try:
        image = read_photograph(path)
    except PhotographError as error:
        return None, str(error)
    size = f"{image.width}x{image.height}:".encode()
    return hashlib.blake2b(size + image.tobytes(), digest_size=16).digest(), None


def _read_all(root, files, problems, show_progress):
    """{relative path: digest} of all readable photographs; appends the others to ``problems``."""
    paths = [path for found in files.values() for path in found]
    workers = min(available_cores(), len(paths), MAX_PROCESSES)
    bar = ProgressBar(len(paths), "reading photographs", visible=show_progress)
    digests = {}
    pool = concurrent.futures.ProcessPoolExecutor(workers, initializer=become_worker)
    try:
        chunk = max(1, min(64, len(paths) // (4 * workers)))
        results = pool.map(_digest, [root / path for path in paths], chunksize=chunk)
        for done, (path, (digest, reason)) in enumerate(zip(paths, results), start=1):
            if reason is None:
                digests[path] = digest
            else:
                problems.append((path, reason))
            bar.update(done)
    except BrokenProcessPool:
        raise SplitError("a process that reads photographs died; did the memory run out?") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C do not wait for photographs that are not read yet
        bar.close()
    return digests


def _group_duplicates(files, digests, problems):
    """{class: [[path, ...], ...]}: photographs with the same pixels form one group; leaves out those with two labels."""
    owners = defaultdict(lambda: defaultdict(list))  # digest -> class -> paths
    for name, paths in files.items():
        for path in paths:
            if path in digests:
                owners[digests[path]][name].append(path)
    by_class = {name: [] for name in files}
    for classes in owners.values():
        paths = [path for found in classes.values() for path in found]
        for path in paths:
            others = ", ".join(other for other in paths if other != path)
            if len(classes) > 1:
                problems.append((path, f"the same photograph under another label, left out: {others}"))
        if len(classes) == 1:
            by_class[next(iter(classes))].append(paths)
    return by_class


def _duplicates(groups, left_out):
    """[(path, problem), ...] of the photographs that appear more than once under one label."""
    problems = []
    for group in groups:
        for place, path in enumerate(group):
            others = ", ".join(other for other in group if other != path)
            if others and left_out and place:
                problems.append((path, f"duplicate, left out with --max_per_class: {others}"))
            elif others:
                problems.append((path, f"duplicate, kept on one side of the split: {others}"))
    return problems


def _check_classes(root, files, by_class, problems):
    for name, groups in by_class.items():
        if len(groups) < 2:
            reasons = [f"; {path}: {problem}" for path, problem in problems if path in files[name]]
            raise SplitError(
                f"class {name} has {len(groups)} different readable photograph{'s' * (len(groups) != 1)} "
                f"({len(files[name])} files in {root / name}): each class needs at least two, one for each list; "
                f"add some, or move the folder out of {root}{reasons[0] if reasons else ''}"
            )


def _in_drawn_order(groups, seed):
    """The groups in a random order: sorted by a hash of seed and name, which is the same on every machine and Python."""
    return sorted(groups, key=lambda group: hashlib.sha256(f"{seed}/{composed(group[0])}".encode()).digest())


def _first_photographs(groups, limit):
    if limit is None:
        return groups
    # Under a limit a group of duplicates counts once: more copies would only take the places of other photographs
    return [group[:1] for group in groups[:limit]]


def _divide(groups, val_fraction):
    """(training paths, validation paths): keeps groups whole and leaves neither side empty."""
    total = sum(map(len, groups))
    wanted = min(max(int(total * val_fraction + 0.5), 1), total - 1)
    train, val = [], []
    for group in groups:
        side = val if len(val) + len(group) <= wanted else train
        side.extend(group)
    if not val:  # every group is larger than the validation list should be
        val = min(groups, key=len)
        train = [path for path in train if path not in val]
    return train, val


def _count(entries, label):
    return sum(1 for _, entry_label in entries if entry_label == label)


def _print_table(lists, counts, problems):
    shown = {name: printable(name) for name in counts}
    width = max(max(map(columns_of, shown.values())), len("class"))
    print(f"{'class':<{width}}  train    val")
    for name, (train, val) in counts.items():
        print(f"{shown[name]}{' ' * (width - columns_of(shown[name]))}  {train:5d}  {val:5d}")
    train, val = (sum(pair[side] for pair in counts.values()) for side in (0, 1))
    print(f"{'total':<{width}}  {train:5d}  {val:5d}")
    if problems:
        kept = sum(problem.startswith("duplicate, kept") for _, problem in problems)
        print(f"{len(problems) - kept} files left out, {kept} duplicates kept together: {printable(lists / REPORT)}")
    print("finished train val split!")

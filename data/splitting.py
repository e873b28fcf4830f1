"""Splits photographs into lists for training, validation and, if asked for, a test, after reading every photograph once.

A new split depends only on the names and the seed; photographs with the same pixels stay in one list. A split that the user has
made stays as it is.
"""

import concurrent.futures
import hashlib
import os
from collections import Counter, defaultdict
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Optional, Union

from data import DATASETS
from data.archive import kept_if_accepted
from data.class_balance import REMEDY, is_unbalanced, unbalanced_line
from data.class_folders import composed, find_in_folders, sort_key
from data.data_folder import DataFolder
from data.data_source import DataSource
from data.earlier_lists import check_may_write, check_paddlex_paths, kept_class_order
from data.folds import check_folds, divide_into_folds, lists_of_folds, notes_on_folds, remove_folds, write_folds
from data.found_photographs import FoundPhotographs, SplitError
from data.label_table import find_in_table
from data.lists import SIDES, write_lists
from data.photograph_errors import reading_problem
from data.photograph_formats import left_out_lines
from data.photograph_record import recorded, remove_record, write_record
from data.photographs import PhotographError, read_photograph
from data.split_record import REPORT
from machine.processor import available_cores
from machine.whole_file import write_csv
from machine.workers import become_worker
from messages.progress import ProgressBar
from messages.quoting import MOST
from messages.terminal import columns_of, printable

MAX_PROCESSES = 61  # in a pool, on Windows
MOST_IN_TABLE = 100  # classes whose numbers are printed; of more, MOST are
TOGETHER = "duplicate, kept on one side of the split"
ACROSS = "duplicate of a photograph in another part of your split, kept"


def split_dataset(source: DataSource, **options) -> None:
    """Split a data set that is a folder; ``options``: see split_folder, which names what this raises."""
    if not DATASETS[source.dataset].in_folder:
        raise SplitError(f"dataset = {source.dataset!r}: only a folder can be split; {source.dataset} is split already")
    split_folder(source.data, follow_links=source.follow_links, lists_dir=source.lists_dir, **options)


@kept_if_accepted
def split_folder(
    data: Union[str, os.PathLike],
    val_fraction: float = 0.2,
    seed: int = 0,
    max_per_class: Optional[int] = None,
    follow_links: bool = False,
    lists_dir: Optional[Union[str, os.PathLike]] = None,
    test_fraction: float = 0.0,
    resplit: bool = False,
    labels: Optional[Union[str, os.PathLike]] = None,
    file_column: Optional[str] = None,
    label_column: Optional[str] = None,
    overwrite: bool = False,
    list_format: str = "paddleclas",
    folds: int = 0,
    show_progress: bool = False,
) -> dict[str, tuple[int, ...]]:
    """Write the lists of the photographs in ``data``, a folder or an archive of one.

    The class of a photograph is the name of its class folder, or what the file ``labels`` says: see label_table.find_in_table.
    Folders such as train, val and test keep their photographs unless ``resplit``; a part that is missing there is drawn from
    train. Every other split is stratified by class and depends only on the names and the seed; photographs with the same pixels
    stay in one list. Links that lead out of the folder are left out unless ``follow_links``. ``max_per_class``: of all lists
    together, of each list where the user has split. ``lists_dir``: see DataFolder; ``overwrite``: see check_may_write;
    ``list_format``: see write_lists; ``folds``: into how many folds all but the test list is divided as well, 0 for none.

    Returns {class: numbers of photographs in the train, val and, if there is one, test list} and prints it as a table. Raises
    SplitError, and writes nothing, if the folder is missing, has only one class, a class folder that cannot be used or a class
    with too few different readable photographs, or if the lists cannot or must not be written; DataError if an archive cannot
    be unpacked or labels.txt cannot be used.
    """
    folder = DataFolder.open(data, follow_links, lists_dir)
    check_may_write(folder, overwrite, list_format)
    check_folds(folder, folds, overwrite, list_format)
    found = _find(folder, resplit, labels, file_column, label_column)
    names = kept_class_order(folder, found.classes, overwrite)
    if list_format == "paddlex3":
        check_paddlex_paths(folder, found.classes)
    sides = _sides(found, test_fraction)
    digests, records = _read_all(folder.root, found, show_progress)
    by_class = _group_duplicates(found, digests)
    shares, own = {"test": test_fraction, "val": val_fraction}, set(found.sides.values())
    drawn = {side: share for side, share in shares.items() if side in sides and side not in own}
    if test_fraction and "test" in own:
        found.notes.append("--test_fraction has no effect: your split has a part to test on; --resplit draws a new one")
    if own and drawn:
        found.notes.append(f"{' and '.join(f'{side}_list.txt' for side in drawn)} drawn from the part to train on")
    lists: dict[str, list[tuple[str, int]]] = {side: [] for side in sides}
    to_fold = {}
    for label, name in enumerate(names):
        groups = by_class[name]
        _check_class(found, name, groups, needed=1 + len(drawn))
        used = _first_photographs(_in_drawn_order(groups, seed), found.sides, max_per_class)
        found.problems += _duplicates(groups, found.sides, {path for group in used for path in group})
        divided = _divide(used, found.sides, drawn)
        for side, paths in divided.items():
            lists[side].extend((path, label) for path in sorted(paths, key=sort_key))
        to_fold[name] = _without(used, divided["test"])
    in_folds = lists_of_folds(divide_into_folds(to_fold, folds), names) if folds else []
    remove_record(folder.lists)
    notes = remove_folds(folder)
    notes += write_lists(folder.lists, names, **lists, list_format=list_format, photographs=folder.root)
    if folds:
        write_folds(folder, names, in_folds, lists.get("test"), list_format)
        notes += notes_on_folds(folder, to_fold, in_folds)
    write_record(folder.lists, {path: records[path] for entries in lists.values() for path, _ in entries})
    report = folder.lists / REPORT
    write_csv(report, ["path", "problem"], sorted(found.problems, key=lambda row: sort_key(row[0])))
    tallies = {side: Counter(label for _, label in entries) for side, entries in lists.items()}
    counts = {name: tuple(tallies[side][label] for side in sides) for label, name in enumerate(names)}
    for note in found.notes:
        print(printable(note))
    _print_table(report, sides, counts, found.problems)
    for note in notes:
        print(printable(note))
    if folder.lists != Path(folder.name):
        advice = "" if lists_dir is None else f": give --lists_dir {printable(lists_dir)} to the other scripts as well"
        print(f"the lists of {printable(folder.name)} are in {printable(folder.lists)}{advice}")
    return counts


def _find(folder, resplit, labels, file_column, label_column):
    if not folder.root.is_dir():
        raise SplitError(
            f"there is no folder {folder.root}: give a folder that holds one folder of photographs for each class "
            f"(--data FOLDER), or draw a sample: python sample_animals.py --data {folder.root}"
        )
    if labels:
        return find_in_table(folder, str(labels), file_column, label_column, resplit)
    return find_in_folders(folder, resplit)


def _sides(found: FoundPhotographs, test_fraction: float) -> list[str]:
    """The lists to write: a test list where the user has such a part, or asks for one."""
    with_test = "test" in found.sides.values() or test_fraction > 0
    return [side for side in SIDES if side != "test" or with_test]


def _digests(path):
    """(digest of the decoded pixels, what is recorded of the file, None) or (None, None, reason)."""
    try:
        status = os.stat(path)
        image = read_photograph(path)
        size = f"{image.width}x{image.height}:".encode()
        return hashlib.blake2b(size + image.tobytes(), digest_size=16).digest(), recorded(path, status), None
    except PhotographError as error:
        return None, None, str(error)
    except OSError as error:
        return None, None, reading_problem(error, opened=False)


def _read_all(root, found, show_progress):
    """{relative path: digest of the pixels}, {relative path: of photograph_record.recorded}; other files become problems."""
    paths = [path for members in found.classes.values() for path in members]
    workers = min(available_cores(), len(paths), MAX_PROCESSES)
    bar = ProgressBar(len(paths), "reading photographs", visible=show_progress)
    digests, records = {}, {}
    pool = concurrent.futures.ProcessPoolExecutor(workers, initializer=become_worker)
    try:
        chunk = max(1, min(64, len(paths) // (4 * workers)))
        results = pool.map(_digests, [root / path for path in paths], chunksize=chunk)
        for done, (path, (digest, record, reason)) in enumerate(zip(paths, results), start=1):
            if reason is None:
                digests[path], records[path] = digest, record
            else:
                found.problems.append((path, reason))
            bar.update(done)
    except BrokenProcessPool:
        raise SplitError("a process that reads photographs died; did the memory run out?") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C do not wait for photographs that are not read yet
        bar.close()
    return digests, records


def _group_duplicates(found, digests):
    """{class: [[path, ...], ...]}: photographs with the same pixels form one group; leaves out those with two labels."""
    owners = defaultdict(lambda: defaultdict(list))  # digest -> class -> paths
    for name, paths in found.classes.items():
        for path in paths:
            if path in digests:
                owners[digests[path]][name].append(path)
    by_class = {name: [] for name in found.classes}
    for classes in owners.values():
        paths = [path for members in classes.values() for path in members]
        for path in paths:
            others = ", ".join(other for other in paths if other != path)
            if len(classes) > 1:
                found.problems.append((path, f"the same photograph under another label, left out: {others}"))
        if len(classes) == 1:
            by_class[next(iter(classes))].append(paths)
    return by_class


def _duplicates(groups, sides, used):
    """[(path, problem), ...] of the photographs that appear more than once under one label.

    ``sides``: the user's own split; ``used``: the paths that go into a list, which are fewer under --max_per_class.
    """
    problems = []
    for group in groups:
        for path in group if len(group) > 1 else ():
            others = [other for other in group if other != path and other in used]
            across = [other for other in others if sides.get(other) != sides.get(path)]
            if not others:
                continue
            if path not in used:
                problems.append((path, f"duplicate, left out with --max_per_class: {', '.join(others)}"))
            elif across:
                problems.append((path, f"{ACROSS}: {', '.join(across)}"))
            else:
                problems.append((path, f"{TOGETHER}: {', '.join(others)}"))
    return problems


def _check_class(found, name, groups, needed):
    """Raise SplitError unless the class ``name`` has ``needed`` different photographs to train on and to draw lists from."""
    own = [group for group in groups if any(found.sides.get(path, "train") == "train" for path in group)]
    if len(own) >= needed:
        return
    paths = set(found.classes[name])
    reasons = [f"; {path}: {problem}" for path, problem in found.problems if path in paths]
    raise SplitError(
        f"class {name} has {len(own)} different readable photograph{'s' * (len(own) != 1)} "
        f"({len(paths)} files in {found.places[name]}): each class needs at least {needed}, one for each list; "
        f"add some, or leave the class out{reasons[0] if reasons else ''}"
    )


def _in_drawn_order(groups, seed):
    """The groups in a random order: sorted by a hash of seed and name, which is the same on every machine and Python."""
    return sorted(groups, key=lambda group: hashlib.sha256(f"{seed}/{composed(group[0])}".encode()).digest())


def _first_photographs(groups, sides, limit):
    """At most ``limit`` photographs: of each part where the user has split, else of the class."""
    if limit is None:
        return groups
    # Under a limit a group of duplicates counts once: more copies would only take the places of other photographs
    taken, kept = Counter(), []
    for group in groups:
        firsts = {sides.get(path): path for path in reversed(group)}  # of each part of the user's split the first
        taken.update(firsts.keys())
        members = [path for path in group if firsts[sides.get(path)] == path and taken[sides.get(path)] <= limit]
        if members:
            kept.append(members)
    return kept


def _divide(groups, sides, shares):
    """{side: paths}: the user's own parts stay, the lists in ``shares`` {side: share of the class} are drawn from the rest.

    Keeps groups whole. Leaves no list empty that is drawn, nor the training list.
    """
    divided, free = defaultdict(list), []
    for group in groups:
        if all(sides.get(path, "train") == "train" for path in group):
            free.append(group)
        else:
            for path in group:
                divided[sides[path]].append(path)
    total = sum(map(len, free))
    for others, (side, share) in zip(range(len(shares), 0, -1), shares.items()):  # so many lists are still to be filled
        wanted = min(max(int(total * share + 0.5), 1), total - 1)
        drawn, rest, size = [], [], 0
        for group in free:
            if size + len(group) <= wanted and len(free) - len(drawn) > others:
                drawn.append(group)
                size += len(group)
            else:
                rest.append(group)
        if not drawn:  # every group is larger than the list should be
            drawn.append(rest.pop(min(range(len(rest)), key=lambda place: len(rest[place]))))
        free = rest
        divided[side] += [path for group in drawn for path in group]
    divided["train"] += [path for group in free for path in group]
    return divided


def _without(groups, paths):
    """The groups without ``paths``; those that lose all go."""
    gone = set(paths)
    return [kept for group in groups if (kept := [path for path in group if path not in gone])]


def _print_table(report, sides, counts, problems):
    shown = {name: printable(name) for name in counts}
    width = max(max(map(columns_of, shown.values())), len("class"))
    sizes = {name: sum(numbers) for name, numbers in counts.items()}
    largest = max(sizes, key=sizes.get)
    print(f"{'class':<{width}}" + "".join(f"  {side:>5}" for side in sides))
    for name, numbers in list(counts.items())[: len(counts) if len(counts) <= MOST_IN_TABLE else MOST]:
        few = "  few" if is_unbalanced((sizes[name], sizes[largest])) else ""
        print(f"{shown[name]}{' ' * (width - columns_of(shown[name]))}" + "".join(f"  {number:5d}" for number in numbers) + few)
    if len(counts) > MOST_IN_TABLE:
        print(f"and {len(counts) - MOST:,} more classes")
    print(f"{'total':<{width}}" + "".join(f"  {sum(numbers):5d}" for numbers in zip(*counts.values())))
    if line := unbalanced_line(sizes):
        print(
            f"{line}: a high accuracy can hide that small classes are never recognised; eval.py prints the balanced accuracy "
            f"too, {REMEDY}"
        )
    if problems:
        kept = sum(problem.startswith(TOGETHER) for _, problem in problems)
        across = sum(problem.startswith(ACROSS) for _, problem in problems)
        parts = [f"{len(problems) - kept - across} files left out", f"{kept} duplicates kept together"]
        parts += [f"{across} duplicates across your split, which make its figures too good"] if across else []
        print(f"{', '.join(parts)}: {printable(report)}")
        for line in left_out_lines(problem for _, problem in problems):
            print(line)
    print("finished train val split!")

"""Split a folder of class folders into training and validation lists, after reading every photograph once.

Writes train_list.txt, val_list.txt ("relative/path label"), labels.txt and split_report.csv into the folder; photographs
are never moved or changed.
"""

import concurrent.futures
import hashlib
import os
import unicodedata
from collections import defaultdict
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from machine import ending
from config import parse_config
from data.data_folder import OUTSIDE, files_below, is_hidden, leads_out
from data.data_sets import data_root
from data.lists import LABELS, TRAIN_LIST, VAL_LIST, write_lists
from data.photographs import SUFFIXES, PhotographError, read_photograph
from machine.processor import available_cores
from machine.whole_file import write_csv
from machine.workers import become_worker
from messages.progress import ProgressBar
from messages.terminal import printable
from messages.user_error import UserError

MOST_PROCESSES = 61  # of a pool, on Windows
REPORT = "split_report.csv"


class SplitError(UserError):
    """Data that cannot be split; the message says what to do."""


def main(config) -> int:
    return ending.run("train_val_split", split, config, uses_paddle=False)


def split(config) -> None:
    """Split the folder that the configuration names; raises SplitError, DataError, OSError."""
    if config.dataset != "folder":
        raise SplitError(f"dataset = {config.dataset!r}: only a folder can be split; {config.dataset} comes split already")
    root = data_root(config.data)
    split_folder(root, config.val_fraction, config.seed, config.max_per_class, config.follow_links, show_progress=True)
    if root != Path(config.data):
        print(f"the lists of {printable(config.data)} are in {printable(root)}")


def split_folder(root, val_fraction=0.2, seed=0, max_per_class=None, follow_links=False, show_progress=False) -> dict:
    """Write the lists of the folder ``root`` and return ``{class: (train count, val count)}``.

    The split is stratified by class and depends on the names and the seed alone. Photographs with the same pixels stay on
    one side. Links that lead out of ``root`` are left out unless ``follow_links``. Raises SplitError, with nothing written,
    where there is no such folder, one class only, a class folder that cannot be used as it is, or a class with fewer than two
    different readable photographs.
    """
    files, problems = find_files(root, follow_links)
    digests = _read_all(root, files, problems, show_progress)
    by_class = _group_duplicates(files, digests, problems)
    _check_classes(root, files, by_class, problems)
    train, val = [], []
    for label, name in enumerate(sorted(by_class, key=_sort_key)):
        problems += _duplicates(by_class[name], left_out=max_per_class is not None)
        groups = _first_photographs(_in_drawn_order(by_class[name], seed), max_per_class)
        for side, paths in zip((train, val), _divide(groups, val_fraction)):
            side.extend((path, label) for path in sorted(paths, key=_sort_key))
    names = sorted(by_class, key=_sort_key)
    write_lists(root, names, train, val)
    write_csv(root / REPORT, ["path", "problem"], sorted(problems, key=lambda row: _sort_key(row[0])))
    counts = {name: (_count(train, label), _count(val, label)) for label, name in enumerate(names)}
    _print_table(root, counts, problems)
    return counts


def find_files(root, follow_links=False):
    """({class name: [relative path, ...]}, [(path, problem), ...]) of a folder of class folders.

    Hidden and system files are passed over silently; other files that are no photographs are problems. A class is a folder
    with at least one file of a known image extension, at any depth.
    """
    if not root.is_dir():
        raise SplitError(
            f"there is no folder {root}: give a folder that holds one folder of photographs for each class "
            f"(--data FOLDER), or draw a sample: python sample_animals.py --data {root}"
        )
    for name in (TRAIN_LIST, VAL_LIST, LABELS, REPORT):
        if (root / name).is_dir():
            raise SplitError(f"{root / name} is a folder, but that is the name of a list to be written: rename it")
    files, problems, composed = {}, [], {}
    for name in sorted((entry.name for entry in root.iterdir() if entry.is_dir()), key=_sort_key):
        if is_hidden(name):
            continue
        if not follow_links and leads_out(root / name, root):
            raise SplitError(f"{root / name} is {OUTSIDE}, or move the class folder to where the link is")
        found, others = _photographs_of_class(root, name, follow_links)
        problems += others
        if found:
            _check_class_name(root, name, twin=composed.setdefault(_composed(name), name))
            files[name] = found
    if len(files) < 2:
        raise SplitError(_too_few_classes(root, files))
    return files, problems


def _photographs_of_class(root, name, follow_links):
    """([relative path, ...], [(path, problem), ...]) of a class folder; raises SplitError rather than lose the class."""
    found, problems, lost = [], [], []
    try:
        for path, link_problem in files_below(root / name, root, follow_links):
            relative = Path(path).relative_to(root).as_posix()
            name_problem, is_image = _name_problem(relative), _suffix(relative) in SUFFIXES
            problem = link_problem or name_problem or (None if is_image else _not_an_image(relative))
            if problem is None:
                found.append(relative)
                continue
            problems.append((relative, problem))
            if is_image or link_problem == OUTSIDE:
                lost.append(f"{relative}: {problem}")
    except OSError as error:
        raise SplitError(f"{error.filename} cannot be read: {error.strerror}") from None
    if lost and not found:
        raise SplitError(f"class {name}: none of its photographs can be used: {lost[0]}")
    return sorted(found, key=_sort_key), problems


def _check_class_name(root, name, twin):
    """Raise SplitError for a name that labels.txt cannot hold, or that reads like another class's."""
    if not name.strip() or name.startswith("\ufeff"):
        raise SplitError(f"class folder {str(root / name)!r}: labels.txt cannot hold such a name: rename the folder")
    if twin != name:
        raise SplitError(
            f"the class folders {twin!a} and {name!a} of {root} have the same name, its accents written in two ways: "
            f"put their photographs into one, or rename one"
        )


def _sort_key(text):
    return _composed(text), text


def _composed(text):
    # One file system stores an accented letter as one code point, another as two: sort and draw by one form
    return unicodedata.normalize("NFC", text)


def _suffix(relative):
    return os.path.splitext(relative)[1].lower()


def _name_problem(relative):
    try:
        relative.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if "\n" in relative or "\r" in relative:
        return "line break in its name, which a list cannot hold"
    return None


def _not_an_image(relative):
    return f"not an image file (extension {_suffix(relative) or 'missing'})"


def _too_few_classes(root, files):
    if files:
        only = next(iter(files))
        inside = [entry for entry in (root / only).iterdir() if entry.is_dir() and not is_hidden(entry.name)]
        hint = f"; did you mean --data {root / only}, which holds {len(inside)} folders?" if len(inside) > 1 else ""
        return f"{root} holds one class only ({only}): a classifier needs at least two class folders{hint}"
    return (
        f"{root} holds no class folders with photographs: expected {root}/CLASS/PHOTOGRAPH.jpg; a sample is drawn by: "
        f"python sample_animals.py --data FOLDER"
    )


def _digest(path):
    """(digest of the decoded pixels, None) or (None, reason)."""
    try:
        image = read_photograph(path)
    except PhotographError as error:
        return None, str(error)
    size = f"{image.width}x{image.height}:".encode()
    return hashlib.blake2b(size + image.tobytes(), digest_size=16).digest(), None


def _read_all(root, files, problems, show_progress):
    """{relative path: digest} of all readable photographs; the others are added to ``problems``."""
    paths = [path for found in files.values() for path in found]
    workers = min(available_cores(), len(paths), MOST_PROCESSES)
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
        raise SplitError("a process that reads photographs died; was it short of memory?") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C nobody waits for what is not read yet
        bar.close()
    return digests


def _group_duplicates(files, digests, problems):
    """{class: [[path, ...], ...]}: photographs with the same pixels form one group; those under two labels are left out."""
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
    """[(path, problem), ...] of the photographs that are there more than once under one label."""
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
    """The groups in an order drawn by ``seed``: by a hash of each name, the same on every machine and Python version."""
    return sorted(groups, key=lambda group: hashlib.sha256(f"{seed}/{_composed(group[0])}".encode()).digest())


def _first_photographs(groups, limit):
    if limit is None:
        return groups
    # A group of duplicates counts once under a limit: further copies would only take other photographs' places
    return [group[:1] for group in groups[:limit]]


def _divide(groups, val_fraction):
    """(training paths, validation paths): whole groups only, neither side empty."""
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


def _print_table(root, counts, problems):
    shown = {name: printable(name) for name in counts}
    width = max(max(map(_columns, shown.values())), len("class"))
    print(f"{'class':<{width}}  train    val")
    for name, (train, val) in counts.items():
        print(f"{shown[name]}{' ' * (width - _columns(shown[name]))}  {train:5d}  {val:5d}")
    train, val = (sum(pair[side] for pair in counts.values()) for side in (0, 1))
    print(f"{'total':<{width}}  {train:5d}  {val:5d}")
    if problems:
        kept = sum(problem.startswith("duplicate, kept") for _, problem in problems)
        print(f"{len(problems) - kept} files left out, {kept} duplicates kept together: {printable(root / REPORT)}")
    print("finished train val split!")


def _columns(text):
    """Terminal columns of a text: Chinese, Japanese and Korean characters take two, a separate accent none."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in _composed(text))


if __name__ == "__main__":
    ending.leave(main(parse_config()))

"""Reads the labels of photographs from a table beside them: CSV or text with a column of files and one of labels.

As in Kaggle's train.csv: any names of columns, files with or without folder and extension, or one column for each class that
holds 1 for the photographs of that class (one-hot).
"""

import csv
import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple, Optional

from data.class_folders import composed, name_problem, sort_key
from data.data_folder import DataFolder
from data.folder_layout import side_of
from data.found_photographs import FoundPhotographs, SplitError
from data.list_text import NotTextError, read_lines
from data.lists import LISTS, MAX_CLASSES, MAX_LIST_BYTES, SIDES
from data.paddlex import PADDLEX_FILES
from data.photograph_formats import may_be_photograph
from data.split_record import RECORD, REPORT
from messages.quoting import named, quoted
from messages.reason import reason_of
from messages.spreadsheet import restored

WRITTEN = frozenset({*LISTS, *PADDLEX_FILES, RECORD, REPORT})
DELIMITERS = ("\t", ",", ";")
MAX_ROWS_TO_GUESS = 2000  # rows that the columns are guessed from
MAX_LETTERS = 255  # of a label: the name of a class folder has no more
MAX_SHOWN = 8  # columns in a message
LABEL_NAMES = frozenset(
    ["label", "labels", "class", "classes", "class_name", "category", "target", "species", "breed", "variety", "y"]
)
"""Names of columns that hold the label, where several columns could."""
ONE_HOT = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
WHOLE_NUMBER = re.compile("-?[0-9]{1,9}")


class Row(NamedTuple):
    """A row of the table and its line in the file, from 1."""

    line: int
    values: list[str]


def find_in_table(
    folder: DataFolder,
    table: str,
    file_column: Optional[str] = None,
    label_column: Optional[str] = None,
    resplit: bool = False,
) -> FoundPhotographs:
    """The photographs of ``folder`` that the file ``table`` gives a label; raises SplitError.

    ``table``: a path, also one in the folder. ``file_column``, ``label_column``: names of columns; by default they are guessed
    where only one column can be meant. Photographs that all lie in folders such as train and val keep that split, unless
    ``resplit``. Labels that are whole numbers are in the order of their values, others alphabetical.
    Problems are photographs without a label or with two, and rows without a photograph.
    """
    path = Path(table) if Path(table).exists() else folder.root / table
    if path.name in WRITTEN and path.resolve().parent == folder.lists.resolve():
        raise SplitError(f"{path}: the split writes a file of this name there: rename the table")
    try:
        photographs, problems = _photographs_below(folder)
    except OSError as error:
        raise SplitError(f"{error.filename} cannot be read: {error.strerror}") from None
    index = _Index(photographs, path.parent, folder.root)
    header, rows = _read(path, index)
    column = _file_column(path, header, rows, index, folder.root, file_column)
    label_of, where = _label_reader(path, header, rows, column, label_column)
    labels: dict[str, dict[str, int]] = defaultdict(dict)  # photograph -> {label: line}
    for row in rows:
        if len(row.values) != len(header):
            problems.append((f"{path} line {row.line}", f"{len(row.values)} values for {len(header)} columns"))
            continue
        photograph, problem = index.find(row.values[column])
        label, no_label = label_of(row)
        if photograph and label is not None:
            labels[photograph].setdefault(label, row.line)
        else:
            problems.append((photograph or named(row.values[column]), f"{path} line {row.line}: {problem or no_label}"))
    found = FoundPhotographs(_by_class(path, labels, problems), problems=problems)
    explained = labels.keys() | {name for name, _ in problems}
    found.problems += [(name, f"no label in {path}") for name in photographs if name not in explained]
    found.places = {name: f"{path}, label {named(name)}" for name in found.classes}
    used = sum(map(len, found.classes.values()))
    found.notes.append(
        f"labels of {used:,} of {len(photographs):,} photographs from {path}: files in column {quoted(header[column])}, {where}"
    )
    _keep_split(found, resplit)
    return found


def _keep_split(found, resplit):
    """Take over the split of photographs that all lie in folders such as train, val and test, unless ``resplit``."""
    sides = {path: _side_of_path(path) for members in found.classes.values() for path in members}
    parts = [side for side in SIDES if side in sides.values()]
    if None in sides.values() or "train" not in parts or len(parts) < 2:
        return
    missing = [name for name, members in found.classes.items() if all(sides[path] != "train" for path in members)]
    if resplit or missing:
        reason = "--resplit" if resplit else f"no photograph of {named(missing[0])} is there to train on"
        found.notes.append(f"the split into {', '.join(parts)} by folders is given up for a new one ({reason})")
        return
    found.sides = sides
    found.notes.append(f"split already by folders into {', '.join(parts)}; --resplit draws a new split")


def _side_of_path(path):
    return next((side for side in map(side_of, path.split("/")[:-1]) if side), None)


def _by_class(path, labels, problems):
    """{label: [photograph, ...]} in label order; photographs with two labels become problems. Raises SplitError."""
    classes = defaultdict(list)
    for photograph in sorted(labels, key=sort_key):
        if len(labels[photograph]) > 1:
            lines = " and ".join(f"{quoted(label)} in line {line}" for label, line in labels[photograph].items())
            problems.append((photograph, f"two labels in {path}: {lines}; left out"))
        else:
            classes[next(iter(labels[photograph]))].append(photograph)
    if not classes:
        first = f"; the first problem: {problems[0][0]}: {problems[0][1]}" if problems else ""
        raise SplitError(f"{path} gives no photograph a label{first}")
    if not 2 <= len(classes) <= MAX_CLASSES:
        found = f": {quoted(next(iter(classes)))}" if len(classes) == 1 else ""
        raise SplitError(
            f"{path} gives the photographs {len(classes):,} different label{'s' * (len(classes) != 1)}{found}; expected at "
            f"least two, at most {MAX_CLASSES:,}: is --label_column right?"
        )
    numbers = all(WHOLE_NUMBER.fullmatch(name) for name in classes)
    return {name: classes[name] for name in sorted(classes, key=(lambda name: (int(name), name)) if numbers else sort_key)}


class _Index:
    """Finds a photograph by what a table calls it: its path, its name, or its name without extension."""

    def __init__(self, photographs, table_folder, root):
        self.paths = frozenset(photographs)
        self.prefix = ""  # of paths that are relative to the table's folder
        if table_folder.resolve() != root.resolve() and table_folder.resolve().is_relative_to(root.resolve()):
            self.prefix = table_folder.resolve().relative_to(root.resolve()).as_posix() + "/"
        self.by_name, self.by_stem = defaultdict(list), defaultdict(list)
        for path in photographs:
            name = path.rpartition("/")[2]
            self.by_name[name].append(path)
            self.by_stem[os.path.splitext(name)[0]].append(path)

    def find(self, text):
        """(path, None), or (None, the reason)."""
        text = os.path.normpath(text.strip().replace("\\", "/")) if text.strip() else ""
        for path in (text, self.prefix + text):
            if path in self.paths:
                return path, None
        name = text.rpartition("/")[2]
        found = [path for path in self.by_name.get(name, ()) if _ends_alike(path, text)]
        found = found or [path for path in self.by_stem.get(name, ()) if _ends_alike(os.path.splitext(path)[0], text)]
        if len(found) == 1:
            return found[0], None
        if found:
            return None, f"{len(found)} photographs have this name: {found[0]}, {found[1]}; the table must name the folder too"
        return None, "there is no such photograph"


def _ends_alike(path, text):
    """Whether the two agree as far as the shorter one goes: of photographs with one name in two folders only one is meant."""
    return f"/{text}".endswith(f"/{path}") or f"/{path}".endswith(f"/{text}")


def _photographs_below(folder):
    """([relative path, ...], [(path, problem), ...]) of all photographs at any depth; raises OSError."""
    found, problems = [], []
    for place, problem in folder.files_below(folder.root):
        if problem is None and not may_be_photograph(place):
            continue
        relative = Path(place).relative_to(folder.root).as_posix()
        if problem or name_problem(relative):
            problems.append((relative, problem or name_problem(relative)))
        else:
            found.append(relative)
    return found, problems


def _read(path, index):
    """(names of the columns, [Row, ...]) of the table ``path``; without a header they are called "1", "2", ..."""
    lines = _lines_of(path)
    delimiter, width = _delimiter(path, lines[:MAX_ROWS_TO_GUESS])
    rows = _parsed(path, lines, delimiter) if delimiter else _path_and_label(lines)
    if not rows:
        raise SplitError(
            f"{path} is no table: expected lines of a file and its label, separated by commas, semicolons, tabs or a space"
        )
    first = rows[0].values
    if len(first) == width and not any(index.find(value)[0] for value in first):
        names = [composed(" ".join(name.split())) for name in first]
        repeated = next((name for name, count in Counter(names).items() if count > 1 and name), None)
        if repeated is not None:
            raise SplitError(f"{path} line {rows[0].line}: two columns are called {quoted(repeated)}: rename one")
        return names, rows[1:]
    return [str(number) for number in range(1, width + 1)], rows


def _delimiter(path, lines):
    """(the delimiter, the number of columns) that most lines agree on; (None, 2) where none parts the lines."""
    best, columns, agreeing = None, 2, 0
    for delimiter in DELIMITERS:
        widths = Counter(len(row.values) for row in _parsed(path, lines, delimiter))
        width, count = max(widths.items(), key=lambda item: item[1], default=(0, 0))
        if width > 1 and count > agreeing:
            best, columns, agreeing = delimiter, width, count
    return best, columns


def _path_and_label(lines):
    """[Row, ...] of lines "path label", where the last space parts the two, as in our own lists."""
    parts = [(number, *line.strip().rpartition(" ")[::2]) for number, line in enumerate(lines, start=1)]
    return [Row(number, [path.strip(), label.strip()]) for number, path, label in parts if path]


def _parsed(path, lines, delimiter):
    """[Row, ...] of the lines that are not blank."""
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, skipinitialspace=True)
    rows = []
    try:
        for values in reader:
            if any(value.strip() for value in values):
                rows.append(Row(reader.line_num, [restored(value.strip()) for value in values]))
    except csv.Error as error:
        raise SplitError(f"{path} line {reader.line_num} cannot be read as CSV: {error}") from None
    return rows


def _lines_of(path):
    try:
        lines = read_lines(path, MAX_LIST_BYTES).lines
    except FileNotFoundError:
        raise SplitError(f"there is no {path}: --labels names a file of labels, CSV or text") from None
    except NotTextError as error:
        raise SplitError(f"{error.where(path)} cannot be read: {error}: save it as CSV in UTF-8") from None
    except OSError as error:
        raise SplitError(f"{path} cannot be read: {reason_of(error, path)}") from None
    return [line.replace("\0", "").replace("\ufeff", "").replace("\r", "") for line in lines]


def _file_column(path, header, rows, index, root, wanted):
    if wanted is not None:
        return _column(path, header, "file_column", wanted)
    sample = [row for row in rows if len(row.values) == len(header)][:MAX_ROWS_TO_GUESS]
    hits = [
        sum(index.find(row.values[column])[0] is not None for row in sample) if name else 0  # without a name: row numbers
        for column, name in enumerate(header)
    ]
    most = max(hits, default=0)
    if not most:
        example = f", such as {quoted(sample[0].values[0])} in its first" if sample else ""
        raise SplitError(
            f"no column of {path} ({_columns(header)}) names photographs below {root}{example}: is --data the folder of these "
            f"photographs?"
        )
    if hits.count(most) > 1:
        both = _columns([header[column] for column, count in enumerate(hits) if count == most])
        raise SplitError(f"several columns of {path} name photographs ({both}): choose one with --file_column NAME")
    return hits.index(most)


def _label_reader(path, header, rows, file_column, wanted):
    """(a function from a row to (its label or None, the problem), what it reads, for the user)."""
    others = [column for column, name in enumerate(header) if column != file_column and name]
    if wanted is not None:
        column = _column(path, header, "label_column", wanted)
    elif len(others) == 1:
        column = others[0]
    else:
        known = [column for column in others if header[column].lower() in LABEL_NAMES]
        if not known and _is_one_hot(header, rows, others):
            names = _columns([header[column] for column in others])
            return (lambda row: _from_one_hot(header, row, others)), f"one column for each class: {names}"
        if len(known) != 1:
            raise SplitError(
                f"several columns of {path} could hold the label: {_columns([header[column] for column in others])}; choose "
                f"one with --label_column NAME"
            )
        column = known[0]

    def from_column(row):
        return _checked_label(row.values[column])

    return from_column, f"labels in column {quoted(header[column])}"


def _checked_label(text):
    """(the label, None), or (None, why it cannot be the name of a class)."""
    if not text:
        return None, "it has no label"
    if len(text) > MAX_LETTERS:
        return None, f"a label of {len(text):,} letters, more than {MAX_LETTERS}"
    return (None, "a line break in its label") if "\n" in text else (composed(text), None)


def _is_one_hot(header, rows, columns):
    whole = [row.values for row in rows if len(row.values) == len(header)]
    if len(columns) < 2 or not whole or not all(values[column] in ONE_HOT for values in whole for column in columns):
        return False
    single = sum(sum(ONE_HOT[values[column]] for column in columns) == 1 for values in whole)
    return 2 * single > len(whole)


def _from_one_hot(header, row, columns):
    marked = [header[column] for column in columns if ONE_HOT[row.values[column]]]
    if len(marked) == 1:
        return _checked_label(marked[0])
    return None, f"{len(marked)} classes are marked, expected one" + (f": {_columns(marked)}" if marked else "")


def _column(path, header, setting, wanted):
    if wanted not in header:
        raise SplitError(f"{setting} = {quoted(wanted)}: {path} has the columns {_columns(header)}")
    return header.index(wanted)


def _columns(names):
    return ", ".join(map(named, names[:MAX_SHOWN])) + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")

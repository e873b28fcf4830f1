"""Finds the photographs of each class in a folder of class folders, before they are read, and the files that are unusable."""

import os
import shlex
import unicodedata
from pathlib import Path
from typing import Optional

from data.data_folder import DataFolder
from data.folder_layout import Layout, layout_of, look_like_parts, visible_folders
from data.folder_walk import OUTSIDE
from data.found_photographs import FoundPhotographs, SplitError
from data.lists import LABELS, SIDES
from data.paddlex import PADDLEX_FILES
from data.photograph_formats import may_be_photograph
from data.split_record import REPORT

TABLES, TABLE_WORDS = (".csv", ".tsv", ".txt"), ("train", "label", "class", "annotation")


def find_in_folders(folder: DataFolder, resplit: bool = False) -> FoundPhotographs:
    """The photographs of a folder of class folders, or of one that is split into parts with class folders; raises SplitError.

    Ignores hidden and system files, and what this toolkit writes; other files that are not photographs are problems. A class is
    a folder with at least one file that may be a photograph, at any depth. ``resplit``: forget the split.
    """
    try:
        layout = layout_of(folder)
        found = _find_in_parts(folder, layout, resplit) if layout.parts else _find_in_classes(folder, layout.base)
    except OSError as error:
        raise SplitError(f"{error.filename} cannot be read: {error.strerror}") from None
    if layout.base != folder.root:
        found.notes.insert(0, f"the class folders are in {layout.base.relative_to(folder.root)}")
    return found


def _find_in_classes(folder, base):
    found, spellings = FoundPhotographs({}), {}
    for path in sorted(visible_folders(base), key=lambda entry: sort_key(entry.name)):
        name = path.name
        paths, others = _photographs_of_class(folder, path)
        found.problems += others
        if paths:
            _check_class_name(base, name, twin=spellings.setdefault(composed(name), name))
            found.classes[name], found.places[name] = paths, str(path)
    if look_like_parts(found.classes):
        raise SplitError(
            f"{_listed(found.classes)} in {base} are the parts of a split, not classes, and have no class folders in common: "
            f"put a folder for each class into them{_or_labels(folder.root)}"
        )
    if len(found.classes) < 2:
        raise SplitError(_too_few_classes(folder.root, base, found.classes))
    return found


def _find_in_parts(folder, layout: Layout, resplit):
    found, spellings, sizes = FoundPhotographs({}), {}, {}
    for side, part in layout.parts.items():
        if folder.leads_out(part):
            raise SplitError(f"{part} is {OUTSIDE}, or replace the link with the folder")
        for path in sorted(visible_folders(part), key=lambda entry: sort_key(entry.name)):
            name = path.name
            paths, others = _photographs_of_class(folder, path)
            found.problems += others
            if not paths:
                continue
            _check_class_name(part, name, twin=spellings.setdefault(composed(name), name))
            if side != "train" and name not in found.classes and not resplit:
                raise SplitError(
                    f"class {name} is in {part} but not in {layout.parts['train']}, so nothing can learn it: add photographs "
                    f"there, move the folder, or use --resplit, which splits all photographs anew"
                )
            found.classes.setdefault(name, []).extend(paths)
            found.places.setdefault(name, str(path))
            found.sides.update(dict.fromkeys(paths, side))
            sizes[side] = sizes.get(side, 0) + len(paths)
    if len(found.classes) < 2:
        raise SplitError(_too_few_classes(folder.root, layout.parts["train"], found.classes))
    found.classes = {name: found.classes[name] for name in sorted(found.classes, key=sort_key)}
    found.notes += _left_out(folder, layout)
    if resplit:
        found.sides = {}
        found.notes.append(f"the split into {_listed(layout.parts)} is given up for a new one (--resplit)")
        return found
    if len(sizes) == 1:
        found.notes.append(f"the class folders are in {layout.parts['train'].relative_to(folder.root)}")
        found.sides = {}
        return found
    counts = ", ".join(f"{size:,} for {side}" for side, size in sizes.items())
    found.notes.append(f"split already into {_listed(layout.parts)}: {counts}; --resplit draws a new split")
    return found


def _left_out(folder, layout):
    """A line for each folder beside the parts that holds photographs."""
    used = [path.relative_to(layout.base).parts[0] for path in layout.parts.values()]
    for path in visible_folders(layout.base):
        if path.name in used or folder.leads_out(path):
            continue
        try:
            count = sum(problem is None and may_be_photograph(place) for place, problem in folder.files_below(path))
        except OSError as error:
            yield f"left out: {error.filename} cannot be read: {error.strerror}"
            continue
        if count:
            yield f"left out: {count:,} photograph{'s' * (count != 1)} of {path.name}, which is no part of the split"


def _listed(names):
    names = list(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _photographs_of_class(folder, place):
    """([relative path, ...], [(path, problem), ...]) of the class folder ``place``.

    Raises SplitError if no photograph is usable, OSError.
    """
    if folder.leads_out(place):
        raise SplitError(f"{place} is {OUTSIDE}, or replace the link with the class folder")
    root, found, problems, lost = folder.root, [], [], []
    for path, link_problem in folder.files_below(place):
        relative = Path(path).relative_to(root).as_posix()
        problem, is_image = name_problem(relative), not link_problem and may_be_photograph(path)
        problem = link_problem or problem or (None if is_image else _not_an_image(relative))
        if problem is None:
            found.append(relative)
            continue
        problems.append((relative, problem))
        if is_image or link_problem == OUTSIDE:
            lost.append(f"{relative}: {problem}")
    if lost and not found:
        raise SplitError(f"class {place.name}: none of its photographs can be used: {lost[0]}")
    return sorted(found, key=sort_key), problems


def _check_class_name(root, name, twin):
    """Raise SplitError for a name that labels.txt cannot hold, or that reads like the name ``twin`` of another class."""
    if not name.strip() or name.startswith("\ufeff"):
        raise SplitError(f"class folder {str(root / name)!r}: labels.txt cannot hold such a name: rename the folder")
    if twin != name:
        raise SplitError(
            f"the class folders {twin!a} and {name!a} of {root} have the same name with differently encoded accents: "
            f"put their photographs into one folder, or rename one"
        )


def sort_key(text: str) -> tuple[str, str]:
    """The key to sort names by: the order does not depend on how a file system encodes accents."""
    return composed(text), text


def composed(text: str) -> str:
    """The text with each accented letter as one code point; some file systems store it as two."""
    return unicodedata.normalize("NFC", text)


def name_problem(relative: str) -> Optional[str]:
    """Why a list cannot hold the path ``relative``; None if it can."""
    try:
        relative.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if "\n" in relative or "\r" in relative:
        return "line break in its name, which a list cannot hold"
    return None


def _suffix(relative):
    return os.path.splitext(relative)[1].lower()


def _not_an_image(relative):
    return f"not an image file (extension {_suffix(relative) or 'missing'})"


def _too_few_classes(root, base, classes):
    if classes:
        only = next(iter(classes))
        return f"{base} holds one class only ({only}): a classifier needs at least two class folders{_or_labels(root)}"
    return (
        f"{root} holds no class folders with photographs: expected {root}/CLASS/PHOTOGRAPH.jpg{_or_labels(root)}; "
        f"python sample_animals.py --data FOLDER draws a sample"
    )


def _or_labels(root):
    """A hint at --labels if a table lies in ``root``."""
    own = {*SIDES.values(), LABELS, REPORT, *PADDLEX_FILES}
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in TABLES and path.name not in own)
    named = [path for path in tables if any(word in path.stem.lower() for word in TABLE_WORDS)]
    named += [path for path in tables if path.suffix.lower() != ".txt"]  # a text file can be anything
    return f", or name the file that holds the labels, such as --labels {shlex.quote(str(named[0]))}" if named else ""

"""Finds the photographs of each class in a folder of class folders, before it is split, and the files that are unusable."""

import os
import unicodedata
from pathlib import Path

from data.data_folder import DataFolder
from data.folder_walk import OUTSIDE, is_hidden
from data.photographs import SUFFIXES
from messages.user_error import UserError


class SplitError(UserError):
    """Data that cannot be split; the message says what to do."""


def find_files(folder: DataFolder) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """({class name: [relative path, ...]}, [(path, problem), ...]) of a folder of class folders; raises SplitError.

    Ignores hidden and system files; other files that are not photographs are problems. A class is a folder with at least one
    file of a known image extension, at any depth.
    """
    root = folder.root
    if not root.is_dir():
        raise SplitError(
            f"there is no folder {root}: give a folder that holds one folder of photographs for each class "
            f"(--data FOLDER), or draw a sample: python sample_animals.py --data {root}"
        )
    files, problems, spellings = {}, [], {}
    for name in sorted((entry.name for entry in root.iterdir() if entry.is_dir()), key=sort_key):
        if is_hidden(name):
            continue
        if folder.leads_out(root / name):
            raise SplitError(f"{root / name} is {OUTSIDE}, or replace the link with the class folder")
        found, others = _photographs_of_class(folder, name)
        problems += others
        if found:
            _check_class_name(root, name, twin=spellings.setdefault(composed(name), name))
            files[name] = found
    if len(files) < 2:
        raise SplitError(_too_few_classes(root, files))
    return files, problems


def _photographs_of_class(folder, name):
    """([relative path, ...], [(path, problem), ...]) of a class folder; raises SplitError if no photograph is usable."""
    root, found, problems, lost = folder.root, [], [], []
    try:
        for path, link_problem in folder.files_below(root / name):
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
        f"{root} holds no class folders with photographs: expected {root}/CLASS/PHOTOGRAPH.jpg; "
        f"python sample_animals.py --data FOLDER draws a sample"
    )

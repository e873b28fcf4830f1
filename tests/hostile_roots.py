"""Data folders that careless or malicious people might give: ``HOSTILE_ROOTS``.

Each has a function that builds it and returns the path for --data, and what is to come of it: True where the scripts do their
work, else a part of the one line that they stop with.
"""

import os
import shutil
import socket
import unicodedata
from pathlib import Path
from typing import Callable, NamedTuple, Union

from conftest import random_photograph

from data.lists import LABELS, TRAIN_LIST, VAL_LIST, write_lists

CLASSES = ("cat", "dog")
COUNT = 4  # photographs of a class
ESCAPE = "\x1b[2J\x1b]0;owned\x07"


class HostileRoot(NamedTuple):
    """``split``: what train_val_split.py does, None where the lists are part of the root; ``train``: what the others do, None
    where the split has stopped."""

    name: str
    build: Callable[[Path], Path]
    split: Union[bool, str, None]
    train: Union[bool, str, None]


HOSTILE_ROOTS = []


def root(split=True, train=True):
    """Register ``build(folder)``, whose name and docstring say what is wrong; it may return another path than ``folder``."""

    def register(build):
        HOSTILE_ROOTS.append(
            HostileRoot(build.__name__.replace("_", " "), build, split, train if split in (True, None) else None)
        )
        return build

    return register


def listed(train):
    return root(split=None, train=train)


def photographs(folder, name, count=COUNT, seed=0):
    """Photographs 0.png, 1.png, ... in the folder ``name``, which may be bytes."""
    place = os.path.join(os.fsencode(folder), os.fsencode(name))
    os.makedirs(place, exist_ok=True)
    for number in range(count):
        with open(os.path.join(place, f"{number}.png".encode()), "wb") as file:
            random_photograph((len(place), *os.fsencode(name)[-8:], seed, number), (40, 36)).save(file, "PNG")


def plain(folder):
    """A folder of two classes that nothing is wrong with."""
    for name in CLASSES:
        photographs(folder, name)
    return folder


def with_lists(folder, train=None, labels=None):
    """plain() with lists; what is given takes the place of a list's text."""
    plain(folder)
    sides = [
        [(f"{name}/{n}.png", label) for label, name in enumerate(CLASSES) for n in numbers] for numbers in ((0, 1, 2), (3,))
    ]
    write_lists(folder, CLASSES, *sides)
    for name, text in ((TRAIN_LIST, train), (LABELS, labels)):
        if text is not None:
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return folder


def outside(folder):
    """A folder beside ``folder`` with photographs in it."""
    other = folder.with_name(folder.name + " elsewhere")
    photographs(other, "secret", seed=1)
    return other / "secret"


# Links


@root()
def a_link_to_its_own_folder(folder):
    plain(folder)
    (folder / "cat" / "again").symlink_to(".")


@root()
def a_link_to_the_root(folder):
    plain(folder)
    (folder / "cat" / "up").symlink_to("..")
    (folder / "dog" / "up").symlink_to("..")
    return folder


@root()
def links_to_each_other(folder):
    plain(folder)
    for one, other in (("a.png", "b.png"), ("b.png", "a.png"), ("c", "d"), ("d", "c")):
        (folder / "cat" / one).symlink_to(other)


@root()
def as_many_ways_as_two_to_the_twenty(folder):
    plain(folder)
    for level in range(20):
        (folder / "cat" / str(level)).mkdir()
        for name in "ab":
            (folder / "cat" / str(level) / name).symlink_to(f"../{level + 1}")
    photographs(folder, "cat/20", seed=2)


@root()
def a_link_to_a_file_outside(folder):
    plain(folder)
    (folder / "cat" / "link.png").symlink_to(outside(folder) / "0.png")


@root()
def a_link_to_a_folder_outside(folder):
    plain(folder)
    (folder / "cat" / "more").symlink_to(outside(folder))


@root("leads out of the data folder")
def a_class_folder_that_is_a_link_out(folder):
    plain(folder)
    (folder / "secret").symlink_to(outside(folder))


@root("class secret: none of its photographs can be used: secret/0.png: a link that leads out")
def a_class_of_links_out(folder):
    plain(folder)
    (folder / "secret").mkdir()
    for number in range(3):
        (folder / "secret" / f"{number}.png").symlink_to(outside(folder) / f"{number}.png")


@root()
def a_chain_of_links_that_ends_outside(folder):
    plain(folder)
    (folder / "cat" / "a").symlink_to("../dog/b")
    (folder / "dog" / "b").symlink_to(outside(folder))


@root("has 0 different readable photographs (4 files in")
def a_class_that_is_a_link_to_another(folder):
    plain(folder)
    (folder / "kitten").symlink_to("cat")


@root()
def a_link_to_nowhere_outside(folder):
    plain(folder)
    (folder / "cat" / "gone.png").symlink_to("/nowhere/at/all.png")


@root()
def a_root_that_is_a_link(folder):
    folder.symlink_to(plain(folder.with_name(folder.name + " itself")))


# Names


@root()
def line_breaks_in_a_photograph_s_name(folder):
    plain(folder)
    (folder / "cat" / "0.png").rename(folder / "cat" / "a\nb.png")


@root("line break in its name")
def line_breaks_in_a_class_name(folder):
    plain(folder)
    photographs(folder, "a\nb")


@root()
def tabs_and_quotes(folder):
    photographs(folder, "a\t'b'")
    photographs(folder, 'c "d"')
    (folder / 'c "d"' / "0.png").rename(folder / 'c "d"' / "e\t\"'`.png")


@root()
def spaces_and_dots_around(folder):
    for name in (" cat ", "dog.", "dog. "):
        photographs(folder, name)
    (folder / "dog." / "0.png").rename(folder / "dog." / " . 0 .png")


@root()
def leading_dashes(folder):
    for name in ("-rf", "--data"):
        photographs(folder, name)
    (folder / "-rf" / "0.png").rename(folder / "-rf" / "--help.png")


@root()
def names_of_255_bytes(folder):
    photographs(folder, "x" * 255)
    photographs(folder, "猫" * 85)
    (folder / ("x" * 255) / "0.png").rename(folder / ("x" * 255) / ("y" * 251 + ".png"))


@root()
def a_photograph_s_name_that_is_no_utf_8(folder):
    plain(folder)
    (folder / "cat" / "0.png").rename(os.fsdecode(os.fsencode(folder) + b"/cat/\xff\xfe.png"))


@root("its name is not valid UTF-8")
def a_class_name_that_is_no_utf_8(folder):
    plain(folder)
    photographs(folder, b"\xff\xfe")


@root()
def emoji_and_marks_of_direction(folder):
    photographs(folder, "🐈‍⬛")
    photographs(folder, "gnp.\u202egod\u202c")


@root()
def names_that_differ_in_case(folder):
    photographs(folder, "Cat")
    photographs(folder, "cat", seed=1)


@root("have the same name with differently encoded accents")
def names_that_differ_in_normal_form(folder):
    for form in ("NFC", "NFD"):
        photographs(folder, unicodedata.normalize(form, "élan"))


@root()
def terminal_escapes_in_names(folder):
    photographs(folder, f"cat{ESCAPE}")
    photographs(folder, "dog\u009b2J")
    place = folder / f"cat{ESCAPE}"
    (place / "0.png").rename(place / f"{ESCAPE}.png")
    (place / "broken.png").write_bytes(b"broken")


@root()
def signs_of_format_and_shell(folder):
    photographs(folder, "%s %d %n {} {0}")
    photographs(folder, "$(true) `true` $x_1^2$ \\frac{")


@root("is a folder, but a list of this name must be written")
def a_class_called_train_list(folder):
    plain(folder)
    photographs(folder, TRAIN_LIST)


@root("is a folder, but a list of this name must be written")
def a_class_called_labels(folder):
    plain(folder)
    photographs(folder, LABELS)


@root("labels.txt cannot hold such a name")
def a_class_called_space(folder):
    plain(folder)
    photographs(folder, " ")


@root("labels.txt cannot hold such a name")
def a_class_called_byte_order_mark(folder):
    plain(folder)
    photographs(folder, "\ufeffcat")


@root()
def a_root_with_a_terrible_name(folder):
    return plain(folder / "\x1b[2J\n $(true) '\"")  # one that is no UTF-8 is refused with the setting


# Shapes


@root()
def empty_class_folders(folder):
    plain(folder)
    (folder / "empty" / "inner").mkdir(parents=True)


@root()
def two_hundred_folders_deep(folder):
    plain(folder)
    photographs(folder, "cat/" + "d/" * 200 + "e", seed=3)


@root()
def a_folder_called_like_a_photograph(folder):
    plain(folder)
    photographs(folder, "cat/folder.png", seed=4)


@root("class dog has 1 different readable photograph")
def one_photograph_many_times(folder):
    photographs(folder, "cat")
    photographs(folder, "dog", 1)
    for number in range(3):
        shutil.copy(folder / "dog" / "0.png", folder / "dog" / f"copy {number}.png")


@root("is neither a folder nor a known archive")
def a_root_that_is_a_text(folder):
    folder.write_text("no data at all")


@root("there is no folder")
def a_root_that_is_not_there(folder):
    pass


@root("holds no class folders")
def an_empty_root(folder):
    folder.mkdir()


@root("is neither a folder nor an archive")
def a_root_that_is_a_pipe(folder):
    os.mkfifo(folder)


@root()
def a_pipe_among_the_photographs(folder):
    plain(folder)
    os.mkfifo(folder / "cat" / "pipe.png")


@root()
def a_socket_among_the_photographs(folder):
    plain(folder)
    here = os.getcwd()
    os.chdir(folder / "cat")  # a socket's path may have but 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.png")
    finally:
        os.chdir(here)


@root()
def a_link_to_a_device(folder):
    plain(folder)
    (folder / "cat" / "zeros.png").symlink_to("/dev/zero")


# Lists


@root()
def lists_that_are_pipes(folder):
    plain(folder)
    os.mkfifo(folder / TRAIN_LIST)
    os.mkfifo(folder / LABELS)


@listed("a named pipe, not a file")
def a_pipe_for_a_list(folder):
    with_lists(folder)
    (folder / VAL_LIST).unlink()
    os.mkfifo(folder / VAL_LIST)


@listed("a named pipe, not a file")
def a_pipe_for_the_labels(folder):
    with_lists(folder)
    (folder / LABELS).unlink()
    os.mkfifo(folder / LABELS)


@listed("a folder, not a file")
def a_folder_for_a_list(folder):
    with_lists(folder)
    (folder / VAL_LIST).unlink()
    (folder / VAL_LIST).mkdir()


@listed("train_list.txt is a link that leads out of its folder")
def a_list_that_is_a_link_out(folder):
    with_lists(folder)
    (folder / TRAIN_LIST).unlink()
    (folder / TRAIN_LIST).symlink_to("/etc/passwd")


@listed("val_list.txt: python train_val_split.py")
def no_validation_list(folder):
    with_lists(folder)
    (folder / VAL_LIST).unlink()


@listed("bytes, more than the")
def a_list_of_terabytes(folder):
    with_lists(folder)
    os.truncate(folder / VAL_LIST, 2**40)


def _entry(name, line, outcome, **texts):
    """A root whose lists have the one bad line at their end."""

    def build(folder):
        text = line(folder) if callable(line) else line
        with_lists(folder, **texts)
        for file in (TRAIN_LIST, VAL_LIST):
            with open(folder / file, "ab") as opened:
                opened.write(text if isinstance(text, bytes) else text.encode("utf-8"))

    build.__name__ = name
    listed(outcome)(build)


def _link_out(folder):
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "out").symlink_to(outside(folder))
    return "cat/out/0.png 0\n"


def _file_link_out(folder):
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "out.png").symlink_to(outside(folder) / "0.png")
    return "cat/out.png 0\n"


def _pipe(folder):
    (folder / "cat").mkdir(parents=True)
    os.mkfifo(folder / "cat" / "pipe.png")
    return "cat/pipe.png 0\n"


@listed("damaged.png: damaged: its header is wrong")
def lists_of_damaged_photographs(folder):
    with_lists(folder)
    for file in (TRAIN_LIST, VAL_LIST):
        name = f"cat/{file} damaged.png"
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n")
        with open(folder / file, "a") as opened:
            opened.write(f"{name} 0\n")


_entry("an absolute entry", lambda folder: f"{outside(folder)}/0.png 0\n", "is absolute, not relative to the list's folder")
_entry("an entry of a system file", "/etc/passwd 0\n", "is absolute, not relative to the list's folder")
_entry("an entry that climbs out", lambda folder: f"../{outside(folder).parent.name}/secret/0.png 0\n", "is outside the folder")
_entry("an entry through a link out", _link_out, "is outside the folder")
_entry("an entry that is a link out", _file_link_out, "is a link that leads out of the folder")
_entry("an entry that is not there", "cat/gone.png 0\n", "there is no file")
_entry("an entry that is a folder", "cat/ 0\n", "is not a regular file")
_entry("an entry that is a pipe", _pipe, "is not a regular file")
_entry("a file as a folder", "cat/0.png/ 0\n", "there is no file")
_entry("a label too high", "cat/0.png 2\n", "label 2, but labels.txt names 2 classes (0 to 1)")
_entry("a label below zero", "cat/0.png -1\n", "label -1, but labels.txt names 2 classes")
_entry("a label of 6000 digits", f"cat/0.png {'9' * 6000}\n", "where the label is a whole number")
_entry("a label of other digits", "dog/0.png \u0661\n", "expected 'relative/path label'")
_entry("a label with a sign", "dog/0.png +1\n", "expected 'relative/path label'")
_entry("tabs between path and label", "dog/0.png\t1\n", "expected 'relative/path label'")
_entry("zero bytes", "dog/0.png\0x 1\n", "there is no file")
_entry("terminal escapes in a list", f"{ESCAPE} 0\n", "there is no file")
_entry("a line of a megabyte", f"{'x' * 2**20} 0\n", "there is no file ")
_entry("a line of a megabyte without a label", "x" * 2**20, "where the label is a whole number")
_entry("two labels for one photograph", "cat/0.png 0\ncat/0.png 1\n", "has label 1 here and 0 in line")
_entry("one photograph in both lists", "cat/0.png 0\n", "photographs of")
_entry("one photograph in both lists by two names", "cat/./1.png 0\n", "photographs of")
_entry("bytes that are no text", bytes(range(256)), "is neither UTF-8 nor GB18030")
_entry("blank lines at the end", "\n\r\n   \n\n", True)
_entry("an empty list", "", "is empty", train="")
_entry("a list of blank lines", "\n\n", "is empty", train="\n \n")
_entry("lists in utf 16", "", True, train="cat/0.png 0\ndog/1.png 1\n".encode("utf-16"))
_entry("labels in utf 16 without a mark", "", "it holds zero bytes, as UTF-16", labels="cat\ndog\n".encode("utf-16-le"))
_entry("a list in latin 1", "\xe9t\xe9/0.png 0\n".encode("latin-1"), "GB18030")
_entry(
    "backslashes that climb out",
    lambda folder: f"..\\{outside(folder).parent.name}\\secret\\0.png 0\n",
    "is outside the folder",
)
_entry("lists of windows", "", True, train="\ufeffcat/0.png 0\r\ndog/1.png 1\r\ncat/1.png 0\r\n", labels="\ufeffcat\r\ndog\r\n")
_entry("lists without a last line break", "", True, train="cat/0.png 0\ndog/0.png 1", labels="cat\ndog")
_entry("labels twice", "", "is the class of line 1 already", labels="cat\ncat\n")
_entry("a blank label", "", "labels.txt line 2 is blank", labels="cat\n\ndog\n")
_entry("no labels", "", "0 class names", labels="")
_entry("one label", "", "1 class names", labels="cat\n")
_entry("too many labels", "", "200000 class names", labels="".join(f"{n}\n" for n in range(200_000)))
_entry("labels that are no text", "", "labels.txt cannot be read", labels=b"\xff\xfe\x00")
_entry("terminal escapes in the labels", "", True, labels=f"cat{ESCAPE}\ndog\n")
_entry("labels longer than any", "", True, labels=f"{'c' * 100_000}\ndog\n")

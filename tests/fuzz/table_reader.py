"""Tables of labels beside a folder of photographs, as --labels reads them."""

from pathlib import Path

from harness import Crash, Reader

from data.data_folder import DataFolder
from data.found_photographs import SplitError
from data.label_table import find_in_table

PHOTOGRAPHS = ("a/1.jpg", "a/2.jpg", "b/2.jpg", "b/x y.jpg", "c.tar.png", "狗.jpg")
SEEDS = (
    b"id,breed\n1,cat\nx y.jpg,dog\nb/2.jpg,cat\nc.tar,dog\n",
    b"1.jpg;3\r\nb\\2.jpg;10\r\nx y;3\r\n",
    b"id,cat,dog\n1,1,0\nc.tar,0.0,1.0\nx y,1,1\n",
    b"a/1.jpg cat\nb/x y.jpg dog\n",
    "文件\t类别\n狗\t狗\n1\t猫\n".encode("gbk"),
    b'id,size,"label"\n1,"3,5","big ""cat"""\na/2.jpg,4,"two\nlines"\nb/2.jpg,5,dog\nc.tar,6,dog\n',
)
WORDS = (
    b"id,label\n", b"1,cat\n", b",", b";", b"\t", b" ", b'"', b'""', b"\n", b"\r", b"\0", b"1", b"0", b"1.0", b"a/", b"\\",
    b"../", b"/etc/passwd", b"9" * 5000, b"-0", b"cat", b"," * 500, "\ufeff".encode(), "\u2028".encode(), b"\xff\xfe",
    b"\x81\x30", b"x" * 140_000,
)  # fmt: skip


def reader(folder) -> Reader:
    """The reader of a table in ``folder``, which must exist."""
    folder, table = Path(folder) / "data", Path(folder) / "data" / "labels.csv"
    for name in PHOTOGRAPHS:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()

    def read(data):
        table.write_bytes(data)
        found = find_in_table(DataFolder(folder), str(table))
        names, paths = list(found.classes), [path for members in found.classes.values() for path in members]
        if not set(paths) <= set(PHOTOGRAPHS) or len(set(paths)) != len(paths):
            raise Crash(f"read photographs that cannot be: {paths}")
        if not all(name.strip() == name and name and not {"\n", "\r", "\0", "\ufeff"} & set(name) for name in names):
            raise Crash(f"read class names that labels.txt cannot hold: {names}")

    return Reader("tables", (SplitError,), (table,), read, SEEDS, mutate)


def mutate(data, rng, mutate_bytes) -> bytes:
    """Change a line, a cell or any bytes."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        lines.insert(place, rng.choice(lines))
    elif change == 1:
        del lines[place]
    elif change == 2:
        cells = lines[place].split(b",")
        cells[rng.randrange(len(cells))] = rng.choice(WORDS)
        lines[place] = b",".join(cells)
    else:
        return mutate_bytes(data, rng, WORDS)
    return b"\n".join(lines)

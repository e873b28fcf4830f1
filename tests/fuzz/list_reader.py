"""Lists of a data folder, as a DataFolder reads them: labels.txt, a line of dashes, then the list."""

from pathlib import Path

from harness import Crash, Reader

from data.data_folder import DataFolder
from data.lists import LABELS, TRAIN_LIST, DataError, list_digest

BETWEEN = b"\n-----\n"
PHOTOGRAPHS = ("cat/1.jpg", "cat/a b.jpg", "dog/1.jpg", "狗/二.jpg")
SEEDS = (
    b"cat\ndog" + BETWEEN + b"cat/1.jpg 0\ncat/a b.jpg 0\ndog/1.jpg 1\n",
    "\ufeffcat\r\n狗\r\n".encode() + BETWEEN + "\ufeffcat/1.jpg 0\r\n狗/二.jpg 1\r\n".encode(),
    b"cat\ndog\n\n  \n" + BETWEEN + b"\ncat/./1.jpg 0\n\n",
    b"cat\r\ndog\r\n" + BETWEEN + b"cat\\1.jpg 0\r\n.\\dog\\1.jpg 1\r\n",
    "cat\r\n狗\r\n".encode("gbk") + BETWEEN + "cat/1.jpg 0\r\n狗/二.jpg 1\r\n".encode("gbk"),
    "cat\r\n狗\r\n".encode("utf-16") + BETWEEN + "cat/1.jpg 0\r\n狗\\二.jpg 1\r\n".encode("utf-16"),
)
WORDS = (
    b"cat/1.jpg 0\n", b"dog/1.jpg", b" 1", b" -1", b" 2", b" 00", b" 999999999", b" 9999999999", b" " + b"9" * 5000, b" 1e3",
    " ٣".encode(), " ²".encode(), b"\t", b"\0", b"\r", b"\x0b", b"\x85", "\u2028".encode(), "\u3000".encode(),
    "\ufeff".encode(), b"../", b"/", b"/etc/passwd", b"./" * 3000, b"a" * 300, b"a" * 5000, b"\xff\xfe", b"\xed\xa0\x80",
    b"\\", b"..\\", b"\xfe\xff", b"\xff\xfe\0\0", "狗".encode("gbk"), b"\x81\x30\x81\x30", b"\x84\x31\xa4\x37",
    b"\xd8\0", b"\0\xd8", b"cat\n", BETWEEN,
)  # fmt: skip


def reader(folder) -> Reader:
    """The reader of the lists in ``folder``, which must exist."""
    folder = Path(folder)
    for name in PHOTOGRAPHS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()

    def read(data):
        labels, _, lines = data.partition(BETWEEN)
        (folder / LABELS).write_bytes(labels)
        (folder / TRAIN_LIST).write_bytes(lines)
        try:
            num_classes = len(_checked_classes(folder))
        except DataError:
            DataFolder(folder).read_list(TRAIN_LIST, 2)
            raise
        samples = DataFolder(folder).read_list(TRAIN_LIST, num_classes)
        list_digest(folder / TRAIN_LIST)
        for sample in samples:
            if not (folder / sample.name).is_file() or not 0 <= sample.label < num_classes or sample.place < 1:
                raise Crash(f"read a sample that cannot be: {sample}")

    return Reader("lists", (DataError,), (folder / LABELS, folder / TRAIN_LIST), read, SEEDS, mutate)


def _checked_classes(folder):
    classes = DataFolder(folder).read_classes()
    if len(set(classes)) != len(classes) or not all(name.strip() for name in classes):
        raise Crash(f"read class names that are no names: {classes}")
    return classes


def mutate(data, rng, mutate_bytes) -> bytes:
    """Change a line, or the order of lines, of the labels or the list; or any bytes."""
    parts = list(data.partition(BETWEEN))
    which = rng.choice((0, 2, 2, 2))
    lines = parts[which].split(b"\n")
    place = rng.randrange(len(lines))
    change = rng.randrange(5)
    if change == 0:
        lines.insert(place, rng.choice(lines))
    elif change == 1:
        del lines[place]
    elif change == 2:
        path, space, _ = lines[place].rpartition(b" ")
        lines[place] = path + rng.choice(WORDS) if rng.random() < 0.5 else rng.choice(WORDS) + space + b"0"
    elif change == 3:
        lines[place] = mutate_bytes(lines[place], rng, WORDS)
    else:
        return mutate_bytes(data, rng, WORDS)
    parts[which] = b"\n".join(lines)
    return b"".join(parts)

"""Archives of photographs, as data_archive unpacks them."""

import contextlib
import gzip
import io
import os
import shutil
import stat
import zipfile
import zlib
from functools import partial
from pathlib import Path
from unittest import mock

from harness import Crash, Reader
from tar_mutation import blocks_and_headers, extra_member, other_header, tar, with_other_content
from zip_mutation import Member, mutate_zip, packed

from data import archive as data_archive
from data.archive_entries import ArchiveError

FILES = {"set/cat/1.png": repr([*range(200)]).encode(), "set/cat/2.png": b"", "set/狗/1.png": bytes(600), "set/.DS_Store": b"x"}
NAMES = (
    "set/cat/1.png", "set/cat", "set/cat/1.png/x", "cat/1.png", "dog/1.png", "dog/", "./dog/./1.png", "../x",
    "set/../../x", "/x",
    "//x", "C:/x", "c:x", "a\\b", "", ".", "..", "/", "a/" * 65 + "x", "a/" * 3000, "a" * 300, "a" * 9000, "\0",
    "a\0b", "\x1b[2J\n",
    "a\nb/1", "a\nb", "\u202ex", "猫/1.png", "__MACOSX/x", "._x", "labels.txt", "set/labels.txt", "train_list.txt",
    "unpacking-x",
    "lock",
)  # fmt: skip
RAW_NAMES = (
    *(name.encode() for name in NAMES), b"\xff\xfe/1.png", b"\xed\xa0\x80/x", b"\x81/x", b"\xc0\xaf/x", b"\xc0\xae\xc0\xae/x",
    *("山/1.png".encode(encoding) for encoding in ("gbk", "big5", "shift_jis", "euc-jp", "utf-16", "utf-7", "utf-8-sig")),
    "é/ü.png".encode("cp437"), "é/ü.png".encode("latin-1"), "кот/1.png".encode("cp866"),
    "e\u0301/1.png".encode(), "é/1.png".encode(),
)  # fmt: skip
SMALL = 2**22  # bytes that an archive may unpack to here: bombs of kilobytes shall meet the bound, and soon


def reader(folder) -> Reader:
    """The reader of archives; they are written into ``folder``, which must exist, and unpacked below it."""
    file, cache = Path(folder) / "photographs.zip", Path(folder) / "cache"

    def read(data):
        file.write_bytes(data)
        data_archive._digest.cache_clear()  # it tells contents apart by the clock, which is too slow for this
        root = None
        try:
            with _surroundings(cache):
                root = data_archive.unpacked(file)
            _check_unpacked(root)
        finally:
            _check_place(file, cache, root)
            shutil.rmtree(cache, ignore_errors=True)

    return Reader("photo_archives", (ArchiveError,), (file,), read, _seeds(), mutate)


@contextlib.contextmanager
def _surroundings(cache):
    """Unpacking goes into ``cache``, waits for no disk, says nothing and finds room, if little."""
    with contextlib.ExitStack() as changed:
        changed.enter_context(mock.patch.dict(os.environ, XDG_CACHE_HOME=str(cache)))
        changed.enter_context(mock.patch.object(os, "sync", create=True))
        changed.enter_context(mock.patch.multiple(data_archive, ALWAYS_ALLOWED=SMALL, SPARE_DISK=0, SPARE_FILES=0))
        changed.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield


def _check_unpacked(root):
    """There are folders and files, of no rights to be run."""
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(place, name)).st_mode
            if not (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not mode & 0o7111)):
                raise Crash(f"unpacked {name!r} with the mode {mode:o}")


def _check_place(file, cache, root):
    """Beside the archive there is the cache folder, and in it the unpacked folder, where there is one, and nothing else."""
    inside = cache / "sa-net-paddle" / "data"
    allowed = {file, cache, cache / "sa-net-paddle", inside, inside / "lock"}
    if root:
        allowed.add(inside / root.relative_to(inside).parts[0])
    found = {path for folder in (file.parent, cache, inside.parent, inside) for path in folder.glob("*")}
    if not found <= allowed:
        raise Crash(f"{'unpacked' if root else 'refused'}, and there is {found - allowed}")


def _seeds():
    members = [Member(name.encode(), content) for name, content in FILES.items()]
    squeezed = [Member(member.name, member.content, zipfile.ZIP_DEFLATED) for member in members]
    folders = [Member(b"cat/", b"", attributes=0o40755 << 16), Member(b"cat/1.png", b"1"), Member(b"dog/1.png", b"2")]
    return packed(members), packed(squeezed), packed(folders), packed(members, zip64=True), tar(FILES), _gzipped(tar(FILES))


def _gzipped(data):
    return gzip.compress(data, compresslevel=1, mtime=0)


def mutate(data, rng, mutate_bytes) -> bytes:
    """Change members of a zip or tar archive, or their headers; or any bytes."""
    if data[:2] == b"PK":
        change = partial(_other_content, rng=rng, mutate_bytes=mutate_bytes)
        return mutate_zip(data, rng, mutate_bytes, lambda member: change(member.content), RAW_NAMES)
    is_packed = data[:2] == b"\x1f\x8b"
    if rng.randrange(10) == 0:
        return mutate_bytes(data, rng)
    try:
        whole = zlib.decompressobj(31).decompress(data, 2**20) if is_packed else data
    except zlib.error:
        return mutate_bytes(data, rng)
    blocks, headers = blocks_and_headers(whole)
    change = rng.randrange(10)
    if not headers or change == 9:
        blocks = [mutate_bytes(whole, rng)]
    elif change < 3:
        blocks = with_other_content(blocks, rng.choice(headers), lambda content: _other_content(content, rng, mutate_bytes))
    elif change < 6:
        place = rng.choice(headers)
        blocks[place] = other_header(blocks[place], rng, mutate_bytes, RAW_NAMES)
    elif change < 8:
        blocks[headers[0] : headers[0]] = extra_member(rng, NAMES)
    else:
        first, second = rng.choice(headers), rng.choice(headers)
        blocks[first], blocks[second] = blocks[second], blocks[first]
    return _gzipped(b"".join(blocks)) if is_packed else b"".join(blocks)


def _other_content(content, rng, mutate_bytes):
    return bytes(2 * SMALL) if rng.random() < 0.01 else mutate_bytes(content, rng)

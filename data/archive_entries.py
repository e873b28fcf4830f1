"""Reading zip and tar files of strangers entry by entry: plain files and folders only, a bounded amount at a time."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Union

from data.lists import DataError
from messages.quoting import named

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
CHUNK = 2**20
MAX_HEADER_BYTES = 2**30  # that may come on top of what the entries hold


class ArchiveError(DataError):
    """An archive that is not unpacked; the message says why and what to do."""


class Entry(NamedTuple):
    """A file or folder in an archive: its name as stored, whether that is marked as UTF-8, and zipfile's or tarfile's own."""

    name: bytes
    is_utf8: bool
    is_folder: bool
    member: Any


def damaged(archive: Path, error: Union[str, Exception]) -> ArchiveError:
    """The error for an archive that cannot be read to its end; ``error`` is the reason."""
    return ArchiveError(
        f"{archive} is cut or damaged: {named(error) or type(error).__name__}; get it anew, nothing was unpacked"
    )


def opened(archive: Path, file: BinaryIO, max_bytes: int) -> "Union[ZipArchive, TarArchive]":
    """The reader that suits the content of ``file``, a context manager; raises ArchiveError where there is none.

    ``archive``: what messages call it; ``max_bytes``: as many a tar file may unpack to.
    """
    start = file.read(512)
    file.seek(0)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipArchive(archive, file)
    if start[:2] == b"\x1f\x8b":
        return TarArchive(archive, _Bounded(archive, gzip.GzipFile(fileobj=file), max_bytes))
    if start[257:262] == b"ustar":
        return TarArchive(archive, _Bounded(archive, file, max_bytes))
    raise ArchiveError(f"{archive} is no folder, and no archive that is read here ({' '.join(SUFFIXES)}): unpack it first")


class ZipArchive:
    """The entries of a zip file."""

    def __init__(self, archive, file):
        self.archive = archive
        self.zip = zipfile.ZipFile(file)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.zip.close()

    def entries(self) -> Iterator[Entry]:
        """Yield every Entry; raises ArchiveError for links, special files, encryption, rare compression."""
        for info in self.zip.infolist():
            is_utf8 = bool(info.flag_bits & 0x800)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise special(self.archive, info.orig_filename)
            if info.flag_bits & 1:
                raise ArchiveError(f"{self.archive} is encrypted: unpack it yourself and give --data the folder")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(
                    f"{self.archive} is compressed in a rare way (type {info.compress_type}): unpack it yourself"
                )
            # zipfile decodes names that are not marked as UTF-8 with a code page that has all bytes
            yield Entry(info.orig_filename.encode("utf-8" if is_utf8 else "cp437"), is_utf8, info.is_dir(), info)

    def open(self, member: Any) -> BinaryIO:
        """A file's content, as a stream that raises where its checksum is wrong."""
        return self.zip.open(member)

    def check_end(self) -> None:
        """Nothing: what a zip file ends with was read first."""


class TarArchive:
    """The entries of a tar file; ``stream``: a _Bounded."""

    def __init__(self, archive, stream):
        self.archive, self.stream = archive, stream
        self.tar = tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.tar.close()

    def entries(self) -> Iterator[Entry]:
        """Yield every Entry; raises ArchiveError for links and special files, and where the end is missing."""
        for member in self.tar:
            if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
                raise special(self.archive, member.name)
            yield Entry(member.name.encode("utf-8", "surrogateescape"), False, member.isdir(), member)
        # tarfile takes a missing end, or garbage, for the end
        self.end = self.tar.offset
        self.check_end()

    def open(self, member: Any) -> BinaryIO:
        """A file's content as a stream."""
        return self.tar.extractfile(member)

    def check_end(self) -> None:
        """Raise ArchiveError unless the tar file ends as it should, and gzip finds its checksum right."""
        self.stream.seek(self.end)
        if self.stream.read(512).count(0) != 512:
            raise damaged(self.archive, "its end is missing")
        while self.stream.read(CHUNK):
            pass


class _Bounded(io.RawIOBase):
    """A stream of which at most ``max_bytes`` are read, and at most CHUNK at a time: tarfile reads what a header asks for."""

    def __init__(self, archive, stream, max_bytes):
        super().__init__()
        self.archive, self.stream, self.max_bytes = archive, stream, max_bytes

    def read(self, size=-1):
        if not 0 <= size <= CHUNK:
            raise damaged(self.archive, f"a header of {size:,} bytes")
        self._check_place(self.stream.tell() + size)
        return self.stream.read(size)

    def seek(self, offset, whence=io.SEEK_SET):
        self._check_place(offset)
        return self.stream.seek(offset)

    def tell(self):
        return self.stream.tell()

    def _check_place(self, offset):
        if offset > self.max_bytes + MAX_HEADER_BYTES:
            raise ArchiveError(f"{self.archive} unpacks to more than its size allows: is it a bomb? Unpack it yourself")


def special(archive, name):
    return ArchiveError(
        f"{archive}: {named(name)} is a link or a special file: pack the archive again with what links lead to "
        f"(tar -h, zip without -y)"
    )

"""Reads zip and tar files from strangers entry by entry: only plain files and folders, a bounded amount at a time."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Union

from data.lists import DataError
from messages.quoting import named
from messages.reason import reason_of

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
CHUNK = 2**20
MAX_HEADER_BYTES = 2**30  # in addition to the content of the entries


class ArchiveError(DataError):
    """An archive that cannot be unpacked; the message says why and what to do."""


class Entry(NamedTuple):
    """A file or folder in an archive."""

    name: bytes  # as stored
    is_utf8: bool  # whether the archive marks the name as UTF-8
    is_folder: bool
    member: Any  # zipfile's ZipInfo or tarfile's TarInfo


def damaged(archive: Path, error: Union[str, Exception]) -> ArchiveError:
    """The error for an archive that cannot be read to its end because of ``error``."""
    reason = error if isinstance(error, str) else reason_of(error, archive)
    return ArchiveError(f"{archive} is cut or damaged: {reason}; get it again, nothing was unpacked")


def opened(archive: Path, file: BinaryIO, max_bytes: int) -> "Union[ZipArchive, TarArchive]":
    """A context manager that reads the archive in ``file``; raises ArchiveError if its content is not zip or tar.

    ``archive``: the name for messages; ``max_bytes``: the bytes that a tar file may unpack to.
    """
    start = file.read(512)
    file.seek(0)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipArchive(archive, file)
    if start[:2] == b"\x1f\x8b":
        return TarArchive(archive, _Bounded(archive, gzip.GzipFile(fileobj=file), max_bytes))
    if start[257:262] == b"ustar":
        return TarArchive(archive, _Bounded(archive, file, max_bytes))
    raise ArchiveError(f"{archive} is neither a folder nor a known archive ({' '.join(SUFFIXES)}): unpack it first")


class ZipArchive:
    """The entries of a zip file."""

    def __init__(self, archive: Path, file: BinaryIO):
        self.archive = archive
        self.zip = zipfile.ZipFile(file)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.zip.close()

    def entries(self) -> Iterator[Entry]:
        """Yield every Entry; raises ArchiveError for links, special files, encryption and rare compression."""
        for info in self.zip.infolist():
            is_utf8 = bool(info.flag_bits & 0x800)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise special(self.archive, info.orig_filename)
            if info.flag_bits & 1:
                raise ArchiveError(f"{self.archive} is encrypted: unpack it yourself and give --data the folder")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(f"{self.archive} uses a rare compression (type {info.compress_type}): unpack it yourself")
            # zipfile decodes names without the UTF-8 mark as code page 437, which maps every byte: encoding restores the bytes
            yield Entry(info.orig_filename.encode("utf-8" if is_utf8 else "cp437"), is_utf8, info.is_dir(), info)

    def open(self, member: Any) -> IO[bytes]:
        """A file's content, as a stream that raises an error if the checksum is wrong."""
        return self.zip.open(member)

    def check_end(self) -> None:
        """Do nothing: zipfile reads the end of the file first."""


class TarArchive:
    """The entries of a tar file."""

    def __init__(self, archive: Path, stream: "_Bounded"):
        self.archive, self.stream = archive, stream
        self.tar = tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.tar.close()

    def entries(self) -> Iterator[Entry]:
        """Yield every Entry; raises ArchiveError for links and special files, and if the end is missing."""
        for member in self.tar:
            if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
                raise special(self.archive, member.name)
            yield Entry(member.name.encode("utf-8", "surrogateescape"), False, member.isdir(), member)
        # tarfile does not tell a missing end, or garbage, from the end
        self.end = self.tar.offset
        self.check_end()

    def open(self, member: Any) -> IO[bytes]:
        """A file's content as a stream."""
        content = self.tar.extractfile(member)
        if content is None:  # only for what is no plain file, which ``entries`` refused
            raise special(self.archive, member.name)
        return content

    def check_end(self) -> None:
        """Raise ArchiveError if the end is missing; reads on to the last byte, so that gzip checks its checksum."""
        self.stream.seek(self.end)
        if self.stream.read(512).count(0) != 512:
            raise damaged(self.archive, "its end is missing")
        while self.stream.read(CHUNK):
            pass


class _Bounded(io.RawIOBase):
    """Limits how much tarfile reads of a stream, since it reads what a header asks for: CHUNK bytes at a time, and in all
    ``max_bytes`` with MAX_HEADER_BYTES."""

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


def special(archive: Path, name: str) -> ArchiveError:
    """The error for an entry that is neither a plain file nor a folder."""
    return ArchiveError(
        f"{archive}: {named(name)} is a link or a special file: pack the archive again with the files that links lead to "
        f"(tar -h, zip without -y)"
    )

"""Reads zip and tar files from strangers entry by entry: only plain files and folders, a bounded amount at a time."""

import gzip
import io
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Union

from data.lists import DataError
from messages.quoting import named
from messages.reason import reason_of

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
CHUNK = 2**20
STEP = 64 * CHUNK  # of a compressed archive that are skipped between two looks at the clock
MAX_HEADER_BYTES = 2**30  # in addition to the content of the entries
MAX_HEADER_READ = 2**16  # bytes of one record of a tar file: Python before 3.12.6 takes minutes to search a megabyte of digits
MAX_HEADERS_OF_AN_ENTRY = 2**18  # bytes of all records of one entry: Python keeps a list of all parts of a sparse file
MAX_CONTENTS_BYTES = 2**28  # of a zip file's table of contents: a million files with names of 200 letters


class ArchiveError(DataError):
    """An archive that cannot be unpacked; the message says why and what to do."""


class Entry(NamedTuple):
    """A file or folder in an archive."""

    name: bytes  # as stored
    is_utf8: bool  # whether the archive marks the name as UTF-8
    is_folder: bool
    size: int  # bytes, as the archive says: it may lie
    member: Any  # zipfile's ZipInfo or tarfile's TarInfo


class Limits:
    """What an archive may take: ``max_bytes`` unpacked, ``max_files``, ``seconds`` from now on."""

    def __init__(self, max_bytes: int, max_files: int, seconds: float):
        self.max_bytes, self.max_files, self.seconds = max_bytes, max_files, seconds
        self._end = time.monotonic() + seconds

    def check_time(self, archive: Path) -> None:
        """Raise ArchiveError once the time is over."""
        if time.monotonic() > self._end:
            raise ArchiveError(
                f"{archive} takes longer to unpack than the {self.seconds:,.0f} s that its size allows: unpack it yourself and "
                f"give --data the folder"
            )


def damaged(archive: Path, error: Union[str, Exception]) -> ArchiveError:
    """The error for an archive that cannot be read to its end because of ``error``."""
    if isinstance(error, str):
        reason = error
    elif isinstance(error, (ValueError, LookupError, OverflowError, struct.error)) and not isinstance(error, UnicodeError):
        reason = "a header in it is damaged"  # Python's own text is about Python
    else:
        reason = reason_of(error, archive)
    return ArchiveError(f"{archive} is cut or damaged: {reason}; get it again, nothing was unpacked")


def opened(archive: Path, file: BinaryIO, limits: Limits) -> "Union[ZipArchive, TarArchive]":
    """A context manager that reads the archive in ``file``; raises ArchiveError if its content is not zip or tar.

    ``archive``: the name for messages.
    """
    start = file.read(512)
    file.seek(0)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipArchive(archive, file, limits)
    if start[:2] == b"\x1f\x8b":
        return TarArchive(archive, _Bounded(archive, gzip.GzipFile(fileobj=file), limits))
    if start[257:262] == b"ustar":
        return TarArchive(archive, _Bounded(archive, file, limits))
    raise ArchiveError(f"{archive} is neither a folder nor a known archive ({' '.join(SUFFIXES)}): unpack it first")


class ZipArchive:
    """The entries of a zip file."""

    def __init__(self, archive: Path, file: BinaryIO, limits: Limits):
        self.archive = archive
        self.zip = zipfile.ZipFile(_BoundedZip(archive, file, limits.max_files))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.zip.close()

    def entries(self) -> Iterator[Entry]:
        """Yield every Entry; raises ArchiveError for links, special files, encryption, rare compression and overlaps."""
        self._check_places()
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
            name = info.orig_filename.encode("utf-8" if is_utf8 else "cp437")
            yield Entry(name, is_utf8, info.is_dir(), info.file_size, info)

    def _check_places(self):
        """Entries that share bytes are what bombs are made of; Python finds them from 3.12.2 on."""
        members = sorted(self.zip.infolist(), key=lambda info: info.header_offset)
        for info, following in zip(members, members[1:]):
            if info.header_offset + zipfile.sizeFileHeader + info.compress_size > following.header_offset:
                raise ArchiveError(f"{self.archive} holds files that overlap: is it a bomb? Get it again")

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
        for member in self.tar:  # tarfile has read the first one's headers before
            self.stream.start_headers()
            if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
                raise special(self.archive, member.name)
            yield Entry(member.name.encode("utf-8", "surrogateescape"), False, member.isdir(), member.size, member)
        self.stream.end_headers()
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


class _BoundedZip(io.RawIOBase):
    """Limits the table of contents of a zip file, which zipfile reads as a whole and keeps."""

    def __init__(self, archive, file, max_files):
        super().__init__()
        self.archive, self.file, self.max_files = archive, file, max_files

    def read(self, size=-1):
        if size > MAX_CONTENTS_BYTES:
            raise damaged(self.archive, f"a table of contents of {size:,} bytes")
        content = self.file.read(size)
        if size > CHUNK and content.count(zipfile.stringCentralDir) > self.max_files:  # content comes in smaller pieces
            raise too_many(self.archive, self.max_files)
        return content

    def seek(self, offset, whence=io.SEEK_SET):
        return self.file.seek(offset, whence)

    def seekable(self):
        return True

    def tell(self):
        return self.file.tell()


class _Bounded(io.RawIOBase):
    """Limits how much tarfile reads of a stream, since it reads what a header asks for: CHUNK bytes at a time, less in headers,
    and in all the bytes of ``limits`` with MAX_HEADER_BYTES; and how long it reads."""

    def __init__(self, archive, stream, limits):
        super().__init__()
        self.archive, self.stream, self.limits = archive, stream, limits
        self._left = MAX_HEADERS_OF_AN_ENTRY  # bytes for the headers of the next entry; None: content is read

    def start_headers(self):
        self._left = MAX_HEADERS_OF_AN_ENTRY

    def end_headers(self):
        self._left = None

    def read(self, size=-1):
        if not 0 <= size <= (CHUNK if self._left is None else MAX_HEADER_READ):
            raise damaged(self.archive, f"a header of {size:,} bytes")
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise damaged(self.archive, f"headers of more than {MAX_HEADERS_OF_AN_ENTRY:,} bytes for one file")
        self._check_place(self.stream.tell() + size)
        return self.stream.read(size)

    def seek(self, offset, whence=io.SEEK_SET):
        self._check_place(offset)
        while self.stream.tell() + STEP < offset and self.stream.read(1):  # the stream unpacks what it skips
            self.limits.check_time(self.archive)
            self.stream.seek(self.stream.tell() + STEP - 1)
        return self.stream.seek(offset)

    def tell(self):
        return self.stream.tell()

    def _check_place(self, offset):
        if offset > self.limits.max_bytes + MAX_HEADER_BYTES:
            raise ArchiveError(f"{self.archive} unpacks to more than its size allows: is it a bomb? Unpack it yourself")


def too_many(archive: Path, number: int, kind: str = "files") -> ArchiveError:
    """The error for an archive of more than ``number`` files, or files and folders (``kind``)."""
    return ArchiveError(f"{archive} holds more than {number:,} {kind}: unpack it yourself and give --data the folder")


def special(archive: Path, name: str) -> ArchiveError:
    """The error for an entry that is neither a plain file nor a folder."""
    return ArchiveError(
        f"{archive}: {named(name)} is a link or a special file: pack the archive again with the files that links lead to "
        f"(tar -h, zip without -y)"
    )

"""Changes to tar archives that leave the rest of them good: headers with their checksum put right, other members."""

import io
import tarfile
from functools import partial

BLOCK = 512
FIELDS = ((0, 100), (100, 108), (108, 116), (124, 136), (136, 148), (156, 157), (157, 257), (257, 265), (265, 297), (345, 500))
VALUES = (
    b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"S", b"x", b"g", b"X", b"V", b"M", b"\0", b"\xff" * 12,
    b"\x80" + b"\xff" * 11, b"77777777777\0", b"-0000000001\0", b"99999999999\0", b"00000000000\0", b"1_0\0", b" ",
    b"../../x\0", b"/etc/passwd\0", b"\x1b[2J\n\0", b"\xff\xfe\0", b"ustar  \0", b"ustar\x0000",
)  # fmt: skip
RECORDS = {
    "path": "x", "size": "99999999999999", "GNU.sparse.map": "0,1,2", "GNU.sparse.major": "1", "GNU.sparse.minor": "0",
    "GNU.sparse.size": "-1", "GNU.sparse.realsize": "9" * 30, "GNU.sparse.name": "x", "mtime": "nan", "hdrcharset": "BINARY",
    "linkpath": "/", "uid": "1e9", "SCHILY.realsize": "1",
}  # fmt: skip


def tar(parts, **more) -> bytes:
    """A tar archive of ``parts``, {name: bytes}, that ends with the two blocks of zeros which it has to end with."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", **more) as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        end = archive.offset
    return unpacked.getvalue()[:end] + bytes(2 * BLOCK)


def blocks_and_headers(data):
    """([block of 512 bytes, ...], [which of them are headers, ...])."""
    blocks = [data[place : place + BLOCK] for place in range(0, len(data), BLOCK)]
    return blocks, [place for place, block in enumerate(blocks) if block[257:262] == b"ustar"]


def with_other_content(blocks, place, change):
    """The blocks with the content of the member at ``place`` put through ``change(bytes)``, and its size put right."""
    header = blocks[place]
    try:
        size = int(header[124:136].strip(b"\0 ") or b"0", 8)
    except ValueError:
        return blocks
    count = -(-size // BLOCK)
    content = change(b"".join(blocks[place + 1 : place + 1 + count])[:size])
    header = _with_checksum(header[:124] + b"%011o\0" % len(content) + header[136:])
    filled = content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0")
    return [*blocks[:place], header, filled, *blocks[place + 1 + count :]]


def other_header(header, rng, mutate_bytes, names=()):
    """The header with another value in a field, mostly with the right checksum; ``names``: what may be put in besides."""
    start, end = rng.choice(FIELDS)
    value = rng.choice((*VALUES, *(name + b"\0" for name in names)))
    if rng.random() > 0.7:
        value = mutate_bytes(header[start:end], rng)
    header = header[:start] + value[: end - start].ljust(end - start, b"\0") + header[end:]
    return _with_checksum(header) if rng.random() < 0.95 else header


def _with_checksum(header):
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


def sparse_member(rng, names):
    """Blocks of a sparse file, in one of the four ways to tell where its parts lie, with numbers that may lie."""
    number = partial(rng.choice, (0, 1, 2, 3, 512, 600, 10**4, 2**33, 2**63, 10**30))
    parts = [(number(), number()) for _ in range(rng.choice((0, 1, 2, 4, 5, 30, 3000)))]
    entry = tarfile.TarInfo(rng.choice((*names, "x")))
    entry.size = rng.choice((0, 512, 1024))
    content = bytes(entry.size)
    kind = rng.choice(("0.0", "0.1", "1.0", "old"))
    if kind == "old":  # four parts in the header, 21 in each block after it
        fields = [b"%011o\0" % (value % 8**11) for part in parts for value in part]
        entry.type = tarfile.GNUTYPE_SPARSE
        header = entry.tobuf(tarfile.GNU_FORMAT)
        more = rng.choice((0, 1, len(fields) > 8))
        header = (
            header[:386]
            + b"".join(fields[:8]).ljust(96, b"\0")
            + bytes([more])
            + b"%011o\0" % (number() % 8**11)
            + header[495:]
        )
        blocks = [_with_checksum(header[:BLOCK])]
        for start in range(8, len(fields), 42):
            blocks.append(b"".join(fields[start : start + 42]).ljust(504, b"\0") + bytes([start + 42 < len(fields)]) + bytes(7))
        return [*blocks, content]
    records = {"GNU.sparse.name": "x", "GNU.sparse.realsize": str(number()), "GNU.sparse.size": str(number())}
    if kind == "0.0":
        records["GNU.sparse.numblocks"] = str(rng.choice((len(parts), number())))
        records.update({"GNU.sparse.offset": "1", "GNU.sparse.numbytes": "1"})
    elif kind == "0.1":
        records["GNU.sparse.map"] = ",".join(str(value) for part in parts for value in part)
    else:
        records.update({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
        lines = "".join(f"{value}\n" for part in parts for value in part)
        content = f"{rng.choice((len(parts), number()))}\n{lines}".encode()
        entry.size = rng.choice((len(content), number() % 8**11))
        content = content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0")
    entry.pax_headers = records
    return [entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), content]


def extra_member(rng, names):
    """Blocks of a member that the original has not: a link, a folder, a long name, records of a later standard."""
    if rng.random() < 0.3:
        return sparse_member(rng, names)
    entry = tarfile.TarInfo(rng.choice((*names, "../x", "x" * 300)))
    entry.type = rng.choice(
        (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.REGTYPE, b"S", b"g", b"x")
    )
    entry.linkname = rng.choice(("", "/etc/passwd", "x" * 300))
    name = rng.choice(tuple(RECORDS))
    value = rng.choice((RECORDS[name], "", "-1", "0", "x", "9" * 5000, "\0", "1\n2 ", "nan", "0," * 500 + "0"))
    entry.pax_headers = {} if rng.random() < 0.4 else {name: value}
    entry.size = rng.choice((0, 0, 1, 512, 2**33))
    made = entry.tobuf(rng.choice((tarfile.PAX_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)), "utf-8", "surrogateescape")
    return [made] if rng.random() < 0.9 else [made, bytes(BLOCK)]

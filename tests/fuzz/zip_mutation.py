"""Changes to zip archives that leave the rest of them good: contents with the right CRC, names, members, fields of headers."""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace

FIELDS = {
    b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\x01\x02": (
        (4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (36, 2), (38,
        4), (42, 4),
    ),
    b"PK\x05\x06": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\x06\x06": ((4, 8), (12, 2), (14, 2), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\x06\x07": ((4, 4), (8, 8), (16, 4)),
}  # fmt: skip
"""{signature of a header: (place, bytes) of what it tells}: flags, method, CRC, sizes, lengths, attributes, offsets."""
NUMBERS = (
    0, 1, 2, 8, 9, 12, 14, 20, 45, 63, 0x20, 0x40, 0x800, 0x801, 0x808, 0xFFFF, 2**31, 2**32 - 1, 0xA1FF << 16, 0x11FF << 16,
    0x41FF << 16, 2**62, 2**64 - 1,
)  # fmt: skip
FULL = 2**32 - 1  # a field that points to one of 64 bits
EXTRAS = (
    struct.pack("<HHQQ", 1, 16, 2**62, 2**62), struct.pack("<HH", 1, 8), struct.pack("<HHQ", 1, 8, 3), b"\1\0\xff\xff",
    struct.pack("<HHQ", 1, 8, 0), struct.pack("<HHQQQL", 1, 28, 1, 1, 0, 0), struct.pack("<HHQQQ", 1, 24, 2**64 - 1, 3, 2**63),
    struct.pack("<HHBL", 0x7075, 9, 1, 0) + b"../x", b"\x75\x70\x05\0\1\0\0\0\0", b"\x01", bytes(8),
)  # fmt: skip
"""Sizes and places of 64 bits that lie, another name, fields that are cut."""


@dataclass(frozen=True)
class Member:
    """A file in an archive; ``attributes``: its kind and rights; ``utf8``: whether its name is marked so."""

    name: bytes
    content: bytes
    method: int = zipfile.ZIP_STORED
    attributes: int = 0o100644 << 16
    utf8: bool = True
    extra: bytes = b""


def packed(members, places=None, zip64=False) -> bytes:
    """A zip archive of ``members``.

    ``places``: {member: of which other member its content is, in the table of contents}, by their numbers, so that the two
    overlap. ``zip64``: with sizes and places of 64 bits in the table of contents and at its end, as archives of 4 GB have them.
    """
    body, listing, starts = b"", b"", []
    places = places or {}
    for number, member in enumerate(members):
        data = member.content
        if member.method == zipfile.ZIP_DEFLATED:
            squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
            data = squeeze.compress(data) + squeeze.flush()
        kind = (20, 0x800 * member.utf8, member.method, 0, 33, zlib.crc32(member.content))
        sizes = (len(data), len(member.content))
        starts.append(len(body))
        start, extra = starts[min(places.get(number, number), number)], member.extra
        body += b"PK\x03\x04" + struct.pack("<5H3L2H", *kind, *sizes, len(member.name), len(extra)) + member.name + extra + data
        if zip64:
            extra += struct.pack("<HHQQQ", 1, 24, *sizes[::-1], start)
            sizes, start = (FULL, FULL), FULL
        listing += b"PK\x01\x02\x14\x03" + struct.pack("<5H3L2H", *kind, *sizes, len(member.name), len(extra))
        listing += struct.pack("<3H2L", 0, 0, 0, member.attributes, start) + member.name + extra
    end = struct.pack("<4H2LH", 0, 0, len(members), len(members), len(listing), len(body), 0)
    if zip64:
        numbers = (len(members), len(members), len(listing), len(body))
        listing += b"PK\x06\x06" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, *numbers)
        listing += b"PK\x06\x07" + struct.pack("<LQL", 0, len(body) + numbers[2], 1)
        end = struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, FULL, FULL, 0)
    return body + listing + b"PK\x05\x06" + end


def _members(data):
    """The members of an archive, which may be damaged: [] where nothing can be made out."""
    found = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist()[:50]:
                name, utf8 = info.orig_filename.encode("utf-8", "replace"), bool(info.flag_bits & 0x800)
                with archive.open(info) as file:
                    content = file.read(2**20)
                found.append(Member(name[:9000], content, info.compress_type, info.external_attr, utf8, info.extra[:9000]))
    except Exception:  # zipfile raises anything where an archive is damaged; what comes before is good
        pass
    return [member for member in found if member.method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]


def mutate_zip(data, rng, mutate_bytes, change_content, names) -> bytes:
    """Put a content through ``change_content(Member)``; change a name, to one of ``names`` say, or what members there are, or a
    field of a header; or any bytes."""
    change = rng.randrange(20)
    members = _members(data) if change < 15 else []
    if change >= 17:
        return mutate_bytes(data, rng)
    if not members:
        return _with_other_field(data, rng)
    place = rng.randrange(len(members))
    member = members[place]
    if change < 9:
        members[place] = replace(member, content=change_content(member))
    elif change < 12:
        members[place] = _other_member(member, rng, mutate_bytes, names)
    elif change == 12:
        del members[place]
    elif change == 13:
        members.insert(rng.randrange(len(members)), _other_member(member, rng, mutate_bytes, names))
    else:
        rng.shuffle(members)
    kind = rng.randrange(12)
    places = {rng.randrange(1, len(members)): rng.randrange(len(members))} if kind == 0 and len(members) > 1 else None
    return packed(members, places, zip64=kind < 3)


def _other_member(member, rng, mutate_bytes, names):
    change = rng.randrange(8)
    if change < 3:
        return replace(member, name=rng.choice(names))
    if change == 3:
        return replace(member, name=mutate_bytes(member.name, rng, names)[:9000])
    if change == 4:
        return replace(member, method=zipfile.ZIP_DEFLATED - member.method)
    if change == 5:
        return replace(member, attributes=rng.choice(NUMBERS) % 2**32)
    if change == 6:
        return replace(member, utf8=not member.utf8)
    return replace(member, extra=rng.choice(EXTRAS))


def _with_other_field(data, rng):
    signature = rng.choice(tuple(FIELDS))
    places = [place for place in range(len(data)) if data.startswith(signature, place)]
    if not places:
        return data
    offset, size = rng.choice(FIELDS[signature])
    start = rng.choice(places) + offset
    number = int.from_bytes(data[start : start + size], "little") + rng.choice((-1, 1, 16))
    number = rng.choice(NUMBERS) if rng.random() < 0.7 else number
    return data[:start] + (number % 2 ** (8 * size)).to_bytes(size, "little") + data[start + size :]

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
}  # fmt: skip
"""{signature of a header: (place, bytes) of what it tells}: flags, method, CRC, sizes, lengths, attributes, offsets."""
NUMBERS = (
    0, 1, 2, 8, 9, 12, 14, 20, 45, 63, 0x20, 0x40, 0x800, 0x801, 0x808, 0xFFFF, 2**31, 2**32 - 1, 0xA1FF << 16, 0x11FF << 16,
    0x41FF << 16,
)  # fmt: skip
EXTRAS = (
    struct.pack("<HHQQ", 1, 16, 2**62, 2**62), struct.pack("<HH", 1, 8), struct.pack("<HHQ", 1, 8, 3), b"\1\0\xff\xff",
    struct.pack("<HHBL", 0x7075, 9, 1, 0) + b"../x", b"\x75\x70\x05\0\1\0\0\0\0", b"\x01", bytes(8),
)  # fmt: skip
"""Sizes of 64 bits that lie, another name, fields that are cut."""


@dataclass(frozen=True)
class Member:
    """A file in an archive; ``attributes``: its kind and rights; ``utf8``: whether its name is marked so."""

    name: bytes
    content: bytes
    method: int = zipfile.ZIP_STORED
    attributes: int = 0o100644 << 16
    utf8: bool = True
    extra: bytes = b""


def packed(members) -> bytes:
    """A zip archive of ``members``."""
    body, listing = b"", b""
    for member in members:
        data = member.content
        if member.method == zipfile.ZIP_DEFLATED:
            squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
            data = squeeze.compress(data) + squeeze.flush()
        both = struct.pack(
            "<5H3L2H", 20, 0x800 * member.utf8, member.method, 0, 33, zlib.crc32(member.content), len(data),
            len(member.content), len(member.name), len(member.extra),
        )  # fmt: skip
        where = struct.pack("<3H2L", 0, 0, 0, member.attributes, len(body))
        listing += b"PK\x01\x02\x14\x03" + both + where + member.name + member.extra
        body += b"PK\x03\x04" + both + member.name + member.extra + data
    end = struct.pack("<4H2LH", 0, 0, len(members), len(members), len(listing), len(body), 0)
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
    return packed(members)


def _other_member(member, rng, mutate_bytes, names):
    change = rng.randrange(8)
    if change < 3:
        return replace(member, name=rng.choice(names))
    if change == 3:
        return replace(member, name=mutate_bytes(member.name, rng, names)[:9000])
    if change == 4:
        return replace(member, method=zipfile.ZIP_DEFLATED - member.method)
    if change == 5:
        return replace(member, attributes=rng.choice(NUMBERS))
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

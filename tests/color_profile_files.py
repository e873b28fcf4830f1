"""ICC profiles (ICC.1:2001-04) made from numbers: ``rgb_profile``, ``grey_profile``, ``cmyk_profile``."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
PRIMARIES = {  # rows: X, Y, Z of red, green and blue, adapted to D50
    "sRGB": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
    "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "Display P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}


def rgb_profile(primaries="Adobe RGB", gamma=563 / 256):
    """A profile of three primaries and one exponent."""
    colours = {f"{name}XYZ": _xyz(values) for name, values in zip("rgb", PRIMARIES[primaries])}
    return _profile(b"mntr", b"RGB ", b"XYZ ", {**colours, **{f"{name}TRC": _exponent(gamma) for name in "rgb"}})


def grey_profile(gamma):
    return _profile(b"mntr", b"GRAY", b"XYZ ", {"kTRC": _exponent(gamma)})


def cmyk_profile():
    """A press on which any cyan gives a pure L*a*b* green, as no formula would have it: paper is white, all else in between."""
    corners = np.indices((2, 2, 2, 2)).reshape(4, -1).T  # the first ink varies slowest
    lightness = np.where(corners.any(1), np.where(corners[:, 0], 128, 60), 255)
    green = np.where(corners[:, 0], 70, 128)
    lab = np.stack([lightness, green, np.where(corners[:, 0], 180, 128)], 1).astype(np.uint8)
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + lab.tobytes() + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {"A2B0": table, "A2B1": table})


def to_srgb(pixels, primaries="Adobe RGB", gamma=563 / 256):
    """uint8 [N, 3] of rgb_profile in sRGB (IEC 61966-2-1), float [N, 3] of 0 to 255, by the formulas."""
    xyz = (pixels / 255.0) ** gamma @ np.array(PRIMARIES[primaries])
    linear = np.clip(xyz @ np.linalg.inv(np.array(PRIMARIES["sRGB"])), 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _profile(kind, space, connection, tags):
    tags = {"desc": _text(b"made by a test"), "cprt": b"text" + bytes(4) + b"none\0", "wtpt": _xyz(D50), **tags}
    table, data, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name.encode() + struct.pack(">II", place + len(data), len(content))
        data += content
    head = struct.pack(">I4xI4s4s4s", place + len(data), 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", *_fixed(D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def _fixed(values):
    return [round(value * 65536) for value in values]


def _xyz(values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *_fixed(values))


def _exponent(gamma):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def _text(text):
    return b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)

"""Photographs as they come from broken disks, careless programs and people who mean harm: ``damaged_photographs()``.

Each is a (file name, bytes) pair; the same ones every time. The names say what is wrong.
"""

import functools
import io
import random
import struct
import zlib

from conftest import random_photograph
from PIL import Image, ImageCms, features

try:
    import pillow_heif
except ImportError:  # users need not have it, nor has every Python a version of it
    pillow_heif = None

SIZE = (48, 40)
ENCODINGS = {  # name -> (suffix, options of PIL.Image.save)
    "baseline": (".jpg", {"quality": 90}),
    "progressive": (".jpg", {"quality": 90, "progressive": True}),
    "png": (".png", {}),
    "gif": (".gif", {}),
    "lossy": (".webp", {"quality": 90}),
    "lossless": (".webp", {"lossless": True}),
    "bmp": (".bmp", {}),
    "raw": (".tif", {}),
    "lzw": (".tif", {"compression": "tiff_lzw"}),
    "deflate": (".tiff", {"compression": "tiff_adobe_deflate"}),
}
if features.check("avif"):
    ENCODINGS["avif"] = (".avif", {"quality": 90})
if pillow_heif:
    pillow_heif.register_heif_opener()
    ENCODINGS["heic"] = (".heic", {"quality": 90})
KINDS = {
    ".jpg": "JPEG", ".png": "PNG", ".gif": "GIF", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
    ".avif": "AVIF", ".heic": "HEIF",
}  # fmt: skip
OTHER_FORMATS = {  # how files begin that photographs are taken for, or that Pillow would read
    "text": b"no photograph at all\n", "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "json": b'{"error": "not found"}', "zeros": bytes(4096), "ones": b"\xff" * 4096, "one byte": b"\xff",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file\n%%EOF\n",
    "eps in binary": b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", 32, 60, 0, 0, 0, 0, 0xFFFF) + b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n%%EOF\n",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>1</script></svg>',
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(18) + b"\x01\x00\t\x00" + bytes(64), "emf": b"\x01\x00\x00\x00" + bytes(36) + b" EMF",
    "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "avif": b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf",
    "canon raw": b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(64), "fuji raw": b"FUJIFILMCCD-RAW 0201" + bytes(64),
    "nikon raw": b"MM\x00*\x00\x00\x00\x08" + bytes(64), "mp4": b"\x00\x00\x00\x20ftypisom" + bytes(64),
    "zip": b"PK\x03\x04" + bytes(64), "gzip": b"\x1f\x8b\x08" + bytes(64), "program": b"\x7fELF" + bytes(64),
    "ppm": b"P6 4 4 255\n" + bytes(48), "xpm": b'/* XPM */\nstatic char *x[] = {"1 1 1 1","a c red","a"};',
    "psd": b"8BPS\x00\x01" + bytes(64), "ico": b"\x00\x00\x01\x00\x01\x00" + bytes(64),
    "jpeg 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "dds": b"DDS " + bytes(124), "tga": bytes(2) + b"\x02" + bytes(9) + b"\x04\x00\x04\x00\x18\x00" + bytes(48),
    "pcx": b"\n\x05\x01\x08" + bytes(124), "fits": b"SIMPLE  =                    T" + bytes(2850), "icns": b"icns" + bytes(60),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64), "pickle": b"cos\nsystem\n(S'true'\ntR.",
    "link": b"IntxLNK\x01/\x00e\x00t\x00c\x00",
}  # fmt: skip
BAD_EXIF = {
    "nothing": b"", "short": b"MM\x00*", "loop": b"MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x08",
    "exif loop": b"MM\x00*\x00\x00\x00\x08\x00\x01\x87\x69\x00\x04\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\x08",
    "offset": b"MM\x00*\xff\xff\xff\xf0" + bytes(32), "count": b"MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(32),
    "giant": b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x0e\x00\x02\xff\xff\xff\xff\x00\x00\x00\x08\x00\x00\x00\x00",
    "type": b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x63\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00",
    **{
        f"orientation {value}": b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01"
        + struct.pack(">HH", value, 0) + bytes(4)
        for value in (0, 6, 9, 65535)
    },
    "orientation x": b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x02\x00\x00\x00\x02x\x00\x00\x00\x00\x00\x00\x00",
    "two orientations": b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x02\x00\x06\x00\x03\x00\x00\x00\x00",
}  # fmt: skip


def encoded(image, suffix, **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, KINDS[suffix], **options)
    return file.getvalue()


def damaged_photographs():
    """Yield (file name, bytes) of more than 300 files."""
    for part in (
        cut_and_flipped,
        other_formats,
        unusual_shapes,
        unusual_pixels,
        several_frames,
        bad_exif,
        odd_jpegs,
        odd_tables,
    ):
        yield from part()


def cut_and_flipped():
    photo = random_photograph(1, SIZE)
    for name, (suffix, options) in ENCODINGS.items():
        whole = encoded(photo, suffix, **options)
        for tenth in (*range(10), 9.5, 9.9):
            yield f"{name} cut at {tenth}{suffix}", whole[: int(len(whole) * tenth / 10)]
        rng = random.Random(name)
        for number in range(10):
            places = [rng.randrange(len(whole) if number > 4 else min(200, len(whole))) for _ in range(1 + number % 5)]
            changed = bytearray(whole)
            for place in places:
                changed[place] ^= 1 << rng.randrange(8)
            yield f"{name} flipped {number}{suffix}", bytes(changed)
        yield f"{name} with more after it{suffix}", whole + b"<?php system('true'); ?>" * 40
        yield f"{name} twice{suffix}", whole + whole


def other_formats():
    photo = random_photograph(2, SIZE)
    for suffix in (".jpg", ".png", ".gif", ".webp", ".bmp", ".tif"):
        yield f"empty{suffix}", b""
        yield f"called otherwise{suffix}", encoded(photo, ".png" if suffix != ".png" else ".jpg")
    for number, (name, content) in enumerate(OTHER_FORMATS.items()):
        yield f"{name}{('.jpg', '.png', '.tif')[number % 3]}", content


def unusual_shapes():
    for suffix in (".jpg", ".png", ".gif", ".bmp", ".tif", ".webp"):
        long = 20000 if suffix != ".webp" else 16383
        for width, height in ((1, 1), (1, long), (long, 1), (2, 3), (7, 1)):
            yield f"{width}x{height}{suffix}", encoded(Image.new("RGB", (width, height), (9, 99, 199)), suffix)


def unusual_pixels():
    photo = random_photograph(3, SIZE)
    grey = photo.convert("L")
    sixteen = grey.convert("I").point(lambda value: value * 257).convert("I;16")
    for suffix in (".png", ".tif"):
        yield f"16 bits{suffix}", encoded(sixteen, suffix)
        yield f"black and white{suffix}", encoded(photo.convert("1"), suffix)
        yield f"transparent{suffix}", encoded(photo.convert("RGBA"), suffix)
        yield f"grey and transparent{suffix}", encoded(photo.convert("LA"), suffix)
    yield "16 bits a colour.png", png(SIZE, 16, 2, bytes(SIZE[1] * (1 + SIZE[0] * 6)))
    yield "16 bits and alpha.png", png(SIZE, 16, 6, bytes(SIZE[1] * (1 + SIZE[0] * 8)))
    yield "2 bits.png", png(SIZE, 2, 0, bytes(SIZE[1] * (1 + SIZE[0] // 4)))
    yield "32 bits.tif", encoded(grey.convert("I"), ".tif")
    yield "floats.tif", encoded(grey.convert("F"), ".tif")
    yield "lab.tif", encoded(ImageCms.profileToProfile(
        photo, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"), ".tif")  # fmt: skip
    for suffix in (".jpg", ".tif"):
        yield f"cmyk{suffix}", encoded(photo.convert("CMYK"), suffix)
    adobe = encoded(photo.convert("CMYK"), ".jpg")
    place = adobe.find(b"Adobe")
    yield "adobe ycck.jpg", adobe[: place + 11] + b"\x02" + adobe[place + 12 :] if place > 0 else adobe
    palette = photo.quantize(16)
    yield "palette.png", encoded(palette, ".png")
    yield "palette with a transparent colour.png", encoded(palette, ".png", transparency=3)
    yield "palette with many transparent colours.png", encoded(palette, ".png", transparency=bytes(range(16)))
    yield "palette with a transparent colour.gif", encoded(palette, ".gif", transparency=3)
    yield "palette without colours.png", png(SIZE, 8, 3, bytes(SIZE[1] * (1 + SIZE[0])))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "colour profile.jpg", encoded(photo, ".jpg", icc_profile=profile)
    yield "huge colour profile.jpg", encoded(photo, ".jpg", icc_profile=random.Random(1).randbytes(4 * 2**20))
    yield "huge colour profile.png", encoded(photo, ".png", icc_profile=random.Random(1).randbytes(3 * 2**20))
    yield "broken colour profile.webp", encoded(photo, ".webp", icc_profile=b"\xff" * 999)


def several_frames():
    frames = [random_photograph(seed, SIZE) for seed in range(5)]
    for suffix in (".gif", ".webp", ".png", ".tif"):
        yield f"five frames{suffix}", encoded(frames[0], suffix, save_all=True, append_images=frames[1:])
    many = [Image.new("P", (8, 8), number % 2) for number in range(999)]
    yield "many frames.gif", encoded(many[0], ".gif", save_all=True, append_images=many[1:])


def bad_exif():
    photo = random_photograph(4, SIZE)
    for name, tiff in BAD_EXIF.items():
        for suffix in (".jpg", ".png", ".webp"):
            exif = tiff if suffix == ".png" else b"Exif\x00\x00" + tiff
            yield f"exif {name}{suffix}", encoded(photo, suffix, exif=exif) if tiff else encoded(photo, suffix)
    for value in ("6", "9", "x", "66666"):
        xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="{value}"/></x:xmpmeta>'.encode()
        packet = b"http://ns.adobe.com/xap/1.0/\x00" + xmp
        whole = encoded(photo, ".jpg")
        yield f"xmp orientation {value}.jpg", whole[:2] + segment(0xE1, packet) + whole[2:]


def odd_jpegs():
    photo = random_photograph(5, SIZE)
    whole = encoded(photo, ".jpg")
    frame = whole.find(b"\xff\xc0")
    yield "restarts.jpg", encoded(random_photograph(6, (320, 320)), ".jpg", restart_marker_blocks=1)
    yield "comments.jpg", whole[:2] + segment(0xFE, bytes(65000)) * 40 + whole[2:]
    yield "empty segments.jpg", whole[:2] + segment(0xFE, b"") * 4000 + whole[2:]
    yield "segment too short.jpg", whole[:2] + b"\xff\xfe\x00\x00" + whole[2:]
    yield "no end.jpg", whole[:-2]
    yield "no tables.jpg", whole[:2] + whole[frame:]
    for kind in (1, 2, 3, 5, 9, 10, 11):
        yield f"frame of kind {kind}.jpg", whole[:frame] + bytes([0xFF, 0xC0 + kind]) + whole[frame + 2 :]
    for name, place, value in (
        ("12 bits", 4, b"\x0c"),
        ("no height", 5, b"\0\0"),
        ("no width", 7, b"\0\0"),
        ("9 colours", 9, b"\x09"),
    ):
        yield f"{name}.jpg", whole[: frame + place] + value + whole[frame + place + len(value) :]
    yield "sides of 65500.jpg", whole[: frame + 5] + struct.pack(">HH", 65500, 65500) + whole[frame + 9 :]
    yield "scans.jpg", many_scans(2000, 400)
    Image.init()
    if "MPO" in Image.SAVE_ALL:  # older versions of Pillow only read them
        mpo = io.BytesIO()
        photo.save(mpo, "MPO", save_all=True, append_images=[random_photograph(7, SIZE)])
        yield "two pictures.jpg", mpo.getvalue()


def odd_tables():
    """Headers that promise too much, or point at themselves."""
    giant = 60000
    yield "60000x60000.png", png((giant, giant), 8, 2, b"")
    yield "60000x60000.gif", b"GIF89a" + struct.pack("<HHBBB", giant, giant, 0, 0, 0) + (
        b"," + struct.pack("<HHHHB", 0, 0, giant, giant, 0) + b"\x02\x02\x4c\x01\x00;")  # fmt: skip
    canvas = struct.pack("<I", giant - 1)[:3] * 2
    lossy = encoded(random_photograph(8, SIZE), ".webp")[12:]
    yield "60000x60000.webp", riff(chunk(b"VP8X", b"\x00\x00\x00\x00" + canvas) + lossy)
    frame = bytes(6) + canvas + bytes(3) + b"\x00" + lossy
    yield "60000x60000 animated.webp", riff(
        chunk(b"VP8X", b"\x02\x00\x00\x00" + canvas) + chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", frame))  # fmt: skip
    yield "60000x60000.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, giant, giant, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "60000x60000 rle.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 58, 40, giant, giant, 1, 8, 1, 0, 0, 0, 1, 0)
    yield "negative.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, -9, -9, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "many colours.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, 9, 9, 1, 8, 0, 0, 0, 0, 2**31, 0)
    for name, changes in {
        "60000x60000": {256: giant, 257: giant}, "loop": {"next": 8}, "no width": {256: 0}, "rows": {278: 0},
        "strip far away": {273: 2**32 - 9}, "giant strip": {279: 2**32 - 1}, "bits": {258: 255}, "colours": {262: 99},
        "samples": {277: 65535}, "compression": {259: 65000}, "jpeg inside": {259: 7}, "fax inside": {259: 4},
    }.items():  # fmt: skip
        yield f"{name}.tif", tiff(changes)
    yield "zlib bomb in a text.png", png((1, 1), 8, 0, b"\0\0", (b"zTXt", b"Comment\0\0" + zlib_bomb()))
    yield "zlib bomb in an international text.png", png((1, 1), 8, 0, b"\0\0", (b"iTXt", b"Comment\0\1\0\0\0" + zlib_bomb()))
    yield "zlib bomb in a profile.png", png((1, 1), 8, 0, b"\0\0", (b"iCCP", b"icc\0\0" + zlib_bomb()))
    yield "zlib bomb in the pixels.png", png((1, 1), 8, 0, None)
    yield "chunk without end.png", png((9, 9), 8, 0, b"")[:33] + b"\xff\xff\xff\xffIDAT"
    yield "wrong checksum.png", encoded(random_photograph(9, SIZE), ".png").replace(b"IDAT", b"IDAT\0", 1)
    yield "no size.png", png((0, 0), 8, 0, b"")
    yield "no size.gif", b"GIF89a" + bytes(7) + b"," + bytes(9) + b"\x02\x00;"
    yield "code size.gif", b"GIF89a\x09\x00\x09\x00\x00\x00\x00," + bytes(4) + b"\x09\x00\x09\x00\x00\xff\x02\x4c\x01\x00;"
    yield "frame outside.gif", b"GIF89a\x09\x00\x09\x00\x00\x00\x00,\xff\xff\xff\xff\xff\xff\xff\xff\x00\x02\x02\x4c\x01\x00;"


def big_photographs():
    """Yield (file name, bytes) of small files just below the largest number of pixels that is read."""
    side = 13_000
    rows = zlib.compressobj(1)
    line = bytes(1 + side)
    packed = b"".join(rows.compress(line) for _ in range(side)) + rows.flush()
    yield "grey.png", png((side, side), 8, 0, packed, compressed=True)
    yield "palette.png", png((side, side), 8, 3, packed, (b"PLTE", bytes(6)), (b"tRNS", b"\x80"), compressed=True)
    yield "colour.jpg", encoded(Image.new("RGB", (side, side)), ".jpg")
    yield "progressive.jpg", encoded(Image.new("RGB", (side, side)), ".jpg", progressive=True)
    yield "scans.jpg", many_scans(side, 40)


def segment(kind, content):
    """A JPEG marker segment."""
    return bytes([0xFF, kind]) + struct.pack(">H", len(content) + 2) + content


def many_scans(side, count):
    """A progressive JPEG of ``count`` scans in which nothing is."""
    whole = encoded(Image.new("L", (side, side)), ".jpg", progressive=True)
    start = whole.rfind(b"\xff\xc4")  # the last scan, with its table
    return whole[:-2] + whole[start:-2] * count + whole[-2:]


def png(size, depth, colour, rows, *chunks, compressed=False):
    """A PNG file of its raw rows; None: a zlib bomb in their place."""
    data = zlib_bomb() if rows is None else rows if compressed else zlib.compress(rows)
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


@functools.cache
def zlib_bomb(megabytes=256):
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


def chunk(kind, content):
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(content):
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


def tiff(changes):
    """A TIFF file of 9 x 9 grey pixels with other values in some of its tags; "next": where the next page is said to be."""
    tags = {256: 9, 257: 9, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 9, 279: 81}
    tags.update({tag: value for tag, value in changes.items() if tag != "next"})
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", changes.get("next", 0))
    return head.ljust(200, b"\0") + bytes(81)

"""What a file is, by its first bytes: a photograph in a format that is read, in one that is not, or something else.

docs/formats.md lists the formats for users.
"""

import functools
import os
import warnings
from collections.abc import Iterable
from typing import Optional, Union

from machine.regular_file import open_regular

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jxl"}
)
"""Files with these suffixes are taken for photographs without a look into them; what is inside decides how they are read."""
RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw"}
    | {".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
OTHER_SUFFIXES = frozenset(
    {".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".html", ".htm", ".log"}
    | {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".3gp", ".mp3", ".wav", ".m4a", ".aac", ".zip", ".gz", ".tgz", ".tar"}
    | {".7z", ".rar", ".bz2", ".xz", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".svg", ".eps", ".ps", ".psd"}
    | {".ai", ".ico", ".py", ".ipynb", ".m", ".c", ".cpp", ".h", ".js", ".css", ".sh", ".bat", ".exe", ".dll", ".so", ".db"}
    | {".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pth", ".pt", ".ckpt", ".pdparams", ".pdopt", ".pdmodel"}
    | {".safetensors", ".onnx", ".tfrecord", ".lmdb", ".parquet", ".xmp", ".aae", ".thm", ".lnk", ".url", ".tmp", ".part"}
    | {".crdownload"}
)
"""Files with these suffixes are not even opened: they may be many and large, and nobody gives them to a photograph."""

FORMATS = {name: name for name in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "AVIF")} | {"WebP": "WEBP", "HEIC": "HEIF"}
"""The formats that are read -> Pillow's names of them. It tries no others: it would run Ghostscript on an EPS file."""

RAW, HEIC, AVIF = "camera RAW", "HEIC", "AVIF"
REMEDIES = {HEIC: "pip install pillow-heif", AVIF: 'pip install --upgrade "pillow>=11.3"', RAW: "convert them to JPEG"}
_HEAD = 64  # bytes that tell what a file is
_SIGNATURES = (  # place, bytes, what the file is
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WebP"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"CR\x02", RAW),  # Canon's .cr2, a TIFF for the rest
    *((0, start, "TIFF") for start in (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")),
    *((0, start, RAW) for start in (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"\0MRM", b"FOVb")),
    (6, b"HEAPCCDR", RAW),
    *((0, start, "JPEG 2000") for start in (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    *((0, start, "JPEG XL") for start in (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a")),
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop file"),
    *((0, start, "a PostScript drawing") for start in (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    *((0, start, "an archive") for start in (b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")),
    (0, b"BM", "BMP"),
)
_TEXTS = ((b"<svg", "an SVG drawing"), (b"<!doctype html", "a web page"), (b"<html", "a web page"))
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}  # brands of ISO/IEC 23008-12
_AV1 = {b"avif", b"avis"}
_EITHER = {b"mif1", b"msf1", b"miaf"}

warnings.filterwarnings("ignore", module=r"pillow_heif\b")  # some of its versions know fewer options


def kind_of(head: bytes) -> Optional[str]:
    """What a file with these first bytes (64 are enough) is: one of FORMATS, another name, or None where nothing is known."""
    if head[4:8] == b"ftyp":
        return _kind_of_brands(head)
    for place, signature, kind in _SIGNATURES:
        if head.startswith(signature, place):
            return kind
    if not head:
        return "an empty file"
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    return next(
        (kind for start, kind in _TEXTS if text.startswith(start) or (text.startswith(b"<?xml") and start in text)), None
    )


def read_kind(file) -> Optional[str]:
    """kind_of an open file, whose position is then its start."""
    head = file.read(_HEAD)
    file.seek(0)
    return kind_of(head)


def may_be_photograph(path: Union[str, os.PathLike]) -> bool:
    """Whether a file is worth reading as a photograph: by its suffix where that is telling, else by its first bytes.

    True as well for photographs that cannot be read, such as camera RAW, so that reading them names the reason. A file of an
    unknown suffix that cannot be opened is none.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES or suffix in RAW_SUFFIXES:
        return True
    if suffix in OTHER_SUFFIXES:
        return False
    try:
        with open_regular(path, 2**40) as file:
            kind = read_kind(file)
    except OSError:
        return False
    return kind in FORMATS or kind in (RAW, "JPEG 2000", "JPEG XL")


def why_unreadable(kind: Optional[str], path: Union[str, os.PathLike]) -> Optional[str]:
    """Why a file of this ``kind``, see kind_of, is not read, with the remedy; None if it is read."""
    suffix = os.path.splitext(path)[1].lower()
    if kind == RAW or (suffix in RAW_SUFFIXES and kind in ("TIFF", None)):
        return "camera RAW, which has no finished colours: convert it to JPEG"
    if kind in (HEIC, AVIF):
        if _can_read(kind):
            return None
        named = "" if suffix in (".heic", ".heif", ".hif", ".avif") else f", whatever its name says ({suffix or 'no suffix'})"
        return f"{kind}{named}: {REMEDIES[kind]}, or convert it to JPEG"
    if kind in FORMATS:
        return None
    if kind in ("JPEG 2000", "JPEG XL"):
        return f"{kind}, which is not read: convert it to JPEG or PNG"
    return f"not an image: {kind}" if kind else "not an image, or in a format that is not read"


def left_out_lines(reasons: Iterable[str]) -> list[str]:
    """One line for each format whose photographs were left out although the user can do something about all of them.

    ``reasons``: why files were left out, as PhotographError says it.
    """
    reasons = list(reasons)
    lines = []
    for kind, remedy in REMEDIES.items():
        count = sum(reason.startswith((f"{kind}:", f"{kind},")) for reason in reasons)
        if count:
            lines.append(f"{count} {kind} photograph{'s' * (count != 1)} left out: {remedy}")
    return lines


def _kind_of_brands(head):
    """The kind of a file in boxes, as MP4 has them: by its brands, which follow ``ftyp`` in its first box."""
    major, end = head[8:12], int.from_bytes(head[:4], "big")
    brands = {major, *(head[place : place + 4] for place in range(16, min(end, len(head)) - 3, 4))}
    if major == b"crx ":
        return RAW
    if major in _AV1 or (major in _EITHER and brands & _AV1):
        return AVIF
    if major in _HEVC or major in _EITHER or brands & _HEVC:
        return HEIC
    return "a video"


def _can_read(kind):
    return _register_heif() if kind == HEIC else _has_avif()


@functools.cache
def _register_heif():
    """Whether pillow-heif is installed; Pillow reads HEIC from then on."""
    try:
        import pillow_heif
    except ImportError:
        return False
    # One thread: photographs are read in several processes. No thumbnails: they might differ from the photograph
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    return True


@functools.cache
def _has_avif():
    try:
        from PIL import AvifImagePlugin
    except ImportError:
        return False
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # photographs are read in several processes
    return AvifImagePlugin.SUPPORTED

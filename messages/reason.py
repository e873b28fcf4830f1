"""Errors of the system and of Python's libraries in a user's words, without numbers, types and classes."""

import gzip
import json
import os
import tarfile
import zipfile
import zlib
from typing import Optional, Union

from messages.quoting import named


def reason_of(error: BaseException, path: Union[str, os.PathLike[str], None] = None) -> str:
    """Why something failed, in one line.

    ``path``: the file that the message names already; the system's errors name another one where they concern it.
    """
    text = _known(error)
    if text is None:
        text = " ".join(str(error).split()).removeprefix("Error while deserializing header: ")  # of safetensors
    elif isinstance(error, OSError) and error.filename is not None and str(error.filename) != str(path):
        text = f"{text}: {error.filename}"
    return named(text) if text else f"an error that says no more ({type(error).__name__})"


def _known(error: BaseException) -> Optional[str]:
    """The text for errors whose own is none for users, else None."""
    if isinstance(error, gzip.BadGzipFile):  # an OSError
        return "its checksum does not match" if "CRC" in str(error) or "length" in str(error) else "it is no gzip file"
    if isinstance(error, OSError):
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return f"its byte {error.start + 1} is not {error.encoding.upper()}"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON in line {error.lineno}, column {error.colno}"
    if isinstance(error, EOFError):
        return "its end is missing"
    if isinstance(error, zlib.error):
        return "its compressed bytes contradict each other"
    if isinstance(error, zipfile.BadZipFile):
        return _about_zip(str(error))
    if isinstance(error, tarfile.TarError):
        return _about_tar(str(error))
    if isinstance(error, MemoryError):
        return "it is too large for the memory"
    return None


def _about_tar(text):
    """In a user's words what tarfile says."""
    if "checksum" in text or "header" in text:
        return "a header in it is damaged"
    return "its end is missing" if "end of data" in text or "empty file" in text else "a part of it is damaged"


def _about_zip(text):
    """In a user's words what zipfile says."""
    if text.startswith("Bad CRC-32 for file"):
        return f"the checksum of{text[len('Bad CRC-32 for file') :]} does not match"
    if "not a zip file" in text or "central directory" in text:
        return "its table of contents, which is at its end, is missing or damaged"
    return "the names in its table of contents and before the files differ" if "differ" in text else text

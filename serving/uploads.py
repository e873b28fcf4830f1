"""The photographs in a request, in memory."""

from __future__ import annotations

import io
from typing import IO

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from data.photographs import PhotographBytes

MAX_PHOTOGRAPHS = 32  # in one request
MAX_NAME = 255  # letters


class UploadRequest(Request):
    """A request whose files stay in memory: Werkzeug would write large ones to the disk."""

    max_form_parts = 2 * MAX_PHOTOGRAPHS + 8  # more than MAX_PHOTOGRAPHS, so that the answer names that limit

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


def photographs_of(request: Request) -> list[PhotographBytes]:
    """The photographs of a multipart request, or the one that is the body; raises an HTTPException where there is none."""
    if request.mimetype == "multipart/form-data":
        files = [file for _, file in request.files.items(multi=True) if file.filename]
        found = [PhotographBytes((file.filename or "")[:MAX_NAME], file.read()) for file in files]
    else:
        body = request.get_data(cache=False, parse_form_data=False)
        found = [PhotographBytes("", body)] if body else []
    if not found:
        raise BadRequest("no photograph: send one as the body, or one or several as files of a multipart form")
    if len(found) > MAX_PHOTOGRAPHS:
        raise RequestEntityTooLarge(f"{len(found)} photographs, the most in one request are {MAX_PHOTOGRAPHS}: send several")
    return found

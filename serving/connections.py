"""The HTTP server: waitress, with limits against senders that are slow, that send too much, or that are too many.

waitress reads a request wholly before a thread of the application sees it, so slow senders occupy no thread. By itself it
closes a connection only where no byte comes for a while; here a request must also have come within ``REQUEST_SECONDS``. All
bodies stay in memory, and together within ``MAX_BODIES``; waitress would write large ones to temporary files. What counts is
what has come, not what a sender says will come: else a few that send nothing would keep all others out.
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import socket
import threading
import time
from typing import Any, Callable

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer, create_server
from waitress.task import ErrorTask
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from config import ConfigError
from messages.quoting import named
from messages.reason import reason_of

MAX_UPLOAD = 32 * 2**20  # bytes of a request's body
MAX_BODIES = 8 * MAX_UPLOAD  # bytes of all bodies that are in memory at once
MAX_DISCARDED = 8 * MAX_UPLOAD  # of a body that is too large, before the connection is cut off; browsers show no answer then
MAX_HEADER = 32 * 2**10
MAX_CONNECTIONS = 250
REQUEST_SECONDS = 60  # for a request to come wholly: 32 MB at 5 Mbit/s
IDLE_SECONDS = 15  # without a byte
THREADS_BESIDE = 8  # threads that answer, for instance, /healthz while all others wait for the network


class Overloaded(Error):
    """The answer where the bodies of other requests fill the memory that is set aside for them."""

    code, reason = 503, "Service Unavailable"


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on ``port``, or on a free one for 0; raises ConfigError where that is impossible."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=256)
    except (socket.gaierror, UnicodeError):
        raise ConfigError(
            f"host = {named(host)}: this machine knows no such address; 127.0.0.1 is the machine itself"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            remedy = "another program uses it: give another port, or 0 for any that is free"
        elif error.errno == errno.EACCES:
            remedy = "only the administrator may use it: give one from 1024 on"
        elif error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"host = {named(host)}: not an address of this machine; 0.0.0.0 stands for all of them") from None
        else:
            remedy = reason_of(error)
        raise ConfigError(f"port = {port}: {remedy}") from None


def serve_in_background(application: Callable, listener: socket.socket, waiting: int) -> None:
    """Answer requests that reach ``listener`` with the WSGI ``application``, in threads that end with the process.

    ``waiting``: requests that the application may keep waiting at once.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of each request that waits for a thread
    server = create_server(
        application,
        sockets=[listener],
        threads=waiting + THREADS_BESIDE,
        ident=None,
        connection_limit=MAX_CONNECTIONS,
        asyncore_use_poll=True,
        channel_timeout=IDLE_SECONDS,
        cleanup_interval=1,
        max_request_header_size=MAX_HEADER,
        max_request_body_size=MAX_DISCARDED + 1,  # _Parser has the limits of its own
        inbuf_overflow=MAX_UPLOAD + 1,
        recv_bytes=2**16,
        log_socket_errors=False,
        clear_untrusted_proxy_headers=True,
    )
    server.channel_class = _Channel
    threading.Thread(target=_loop, args=(server,), daemon=True, name="connections").start()


def _loop(server: TcpWSGIServer) -> None:
    server.asyncore.loop(timeout=1, map=server._map, use_poll=True)


class _Discarded:
    """Takes the place of a body that is refused: it counts the ``length`` bytes, so that the sender reads ``answer`` at their
    end."""

    completed, error = False, None

    def __init__(self, length: int, answer: Error):
        self.remaining, self.answer = length, answer

    def received(self, data: bytes) -> int:
        taken = min(len(data), self.remaining)
        self.remaining -= taken
        if not self.remaining:
            self.error = self.answer
        return taken

    def __len__(self) -> int:
        return 0

    def getbuf(self) -> _Discarded:
        return self

    def close(self) -> None:
        pass


class _Parser(HTTPRequestParser):
    """One request as it comes in."""

    content_length: int
    body_rcv: Any

    def __init__(self, adj: Any, room: Callable[[], int]):
        super().__init__(adj)
        self.started, self._room = time.monotonic(), room

    @property
    def kept(self) -> int:
        """The bytes of the body that are in memory, with what frames them."""
        if self.body_rcv is None or self.error:
            return 0
        return self.body_bytes_received if self.chunked else len(self.body_rcv)

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.content_length > MAX_UPLOAD:
            if self.expect_continue or self.content_length > MAX_DISCARDED:
                self._refuse(_too_large())
            else:
                self._discard(self.content_length, _too_large())
        elif self.content_length and self._room() <= 0:
            self._refuse(_overloaded())

    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        if self.error or not self.kept:
            return consumed
        if self.chunked and self.body_bytes_received > MAX_UPLOAD:
            self._refuse(_too_large())
        elif self.chunked and len(self.body_rcv.control_line) + len(self.body_rcv.trailer) > MAX_HEADER:
            # waitress would search all of it at every part that comes
            self._refuse(BadRequest("the chunks of the upload have no sizes"))
        elif self._room() < 0:  # the one that grows makes room for the others, so that they come to their end
            left = self.content_length - self.body_bytes_received
            if self.chunked or not left:
                self._refuse(_overloaded())
            else:
                self._discard(left, _overloaded())
        return consumed

    def _discard(self, length: int, answer: Error) -> None:
        if self.body_rcv is not None:
            self.body_rcv.getbuf().close()
        self.body_rcv, self.content_length = _Discarded(length, answer), 0

    def _refuse(self, error: Error) -> None:
        self.error, self.completed = error, True
        self.expect_continue = False
        self.content_length = 0
        if self.body_rcv is not None:
            self.body_rcv.getbuf().close()
            self.body_rcv = _Discarded(0, error)


class _JsonErrorTask(ErrorTask):
    """What waitress itself refuses is answered in the form of the application's errors."""

    def execute(self) -> None:
        error = self.request.error
        body = json.dumps({"reason": error.body}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        if error.code == Overloaded.code:
            self.response_headers.append(("Retry-After", "1"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    """One connection."""

    error_task_class = _JsonErrorTask

    def __init__(self, server: TcpWSGIServer, *arguments: Any, **named_arguments: Any):
        self.parser_class = functools.partial(_Parser, room=functools.partial(_room, server))
        super().__init__(server, *arguments, **named_arguments)

    def readable(self) -> bool:
        request = self.request  # waitress asks every connection at least once a second
        if request is not None and time.monotonic() - request.started > REQUEST_SECONDS:
            self.will_close = True
        return super().readable()


def _room(server: TcpWSGIServer) -> int:
    """The bytes that bodies may still take; below zero: there is one too many."""
    kept = 0
    for channel in list(server.active_channels.values()):
        coming = channel.request
        kept += sum(request.kept for request in (*channel.requests, *([coming] if coming else ())))
    return MAX_BODIES - kept


def _overloaded() -> Overloaded:
    return Overloaded("too many uploads at once: try again later")


def _too_large() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"the upload is larger than {MAX_UPLOAD // 2**20} MB: send fewer or smaller photographs")

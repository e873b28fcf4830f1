"""The names by which browsers may call the server, against DNS rebinding.

A page of a stranger can let its own name point to this machine and then read what the server answers. Its name is in the Host
header of each request, so only known names are answered. An address made of numbers is safe: no name was looked up for it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(:[0-9]{1,5})?")


class HostNames:
    """``host``: the address that the server listens on; ``more``: names that the user allows besides."""

    def __init__(self, host: str, more: Iterable[str] = ()):
        self._names = {name.lower().rstrip(".") for name in (host, "localhost", *more)}
        self._any_address = not is_loopback(host)
        if self._any_address:
            machine = socket.gethostname().lower()
            self._names |= {machine, f"{machine}.local"}

    def allow(self, host: str) -> bool:
        """Whether a request with this Host header is answered."""
        found = _HOST.fullmatch(host)
        if not found:
            return False
        name = found["name"].strip("[]").lower().rstrip(".")
        return name in self._names or is_loopback(name) or (self._any_address and _is_address(name))


def is_loopback(host: str) -> bool:
    """Whether an address or name stands for this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds a server that listens on ``host``."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


def _is_address(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""The network interface over which processes on several machines talk through Gloo.

Gloo listens on the address that this machine's name stands for, which on many systems is the loopback's: then no other machine
reaches it, and all wait. ``use_interface_of_launch`` has it listen where paddle.distributed.launch does.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"
"""Environment variable: the interface that Gloo uses."""
ENDPOINT = "PADDLE_CURRENT_ENDPOINT"
"""Environment variable of paddle.distributed.launch: this process's ADDRESS:PORT."""
SIOCGIFADDR = 0x8915  # Linux: the address of an interface


def use_interface_of_launch() -> None:
    """Before Paddle connects the processes: have Gloo use the interface of this process's address, unless a user chose one."""
    address = os.environ.get(ENDPOINT, "").rpartition(":")[0]
    if GLOO_INTERFACE in os.environ or not address:
        return
    found = next((name for name, its in _addresses() if its == address), None)
    if found:
        os.environ[GLOO_INTERFACE] = found


def _addresses() -> Iterator[tuple[str, str]]:
    """(name, IPv4 address) of each interface that has one."""
    try:
        import fcntl  # here: not on Windows
    except ImportError:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has none
                answer = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, struct.pack("256s", os.fsencode(name)[:15]))
                yield name, socket.inet_ntoa(answer[20:24])

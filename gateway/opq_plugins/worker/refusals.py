"""Words for what the sandbox refuses: which right a plug-in lacks, in place of "Operation not permitted".

The kernel refuses all the same; this only names the missing right to code in Python, and so in the errors of
its libraries. Code in C sees the kernel's errors.
"""

import errno
import socket
import sys
import threading
from collections.abc import Collection
from typing import Any

REFUSED = "not allowed:"
"""What every such error begins with."""
STREAM = "tcp:PORT or listen:PORT"
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_RAW = (*_INTERNET, getattr(socket, "AF_PACKET", None))


def name_refusals(network: Collection[str], place: str) -> None:
    """Names the right that a socket lacks, for as long as this process lives.

    Args:
        network: the rights that it has, as in `policy.NETWORK`.
        place: where it is set, such as `[plugins] network of rules.toml`.
    """
    kinds = {each.partition(":")[0] for each in network}
    looked_up = threading.local()
    """`port` of the name that a thread has looked up last, and `sockets`: one for each of its addresses is
    made before it is connected, and has that port."""

    def refuse_right(right: str) -> None:
        raise PermissionError(errno.EPERM, f"{REFUSED} {right} is not in {place}")

    def refuse(event: str, facts: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            looked_up.port, looked_up.sockets = facts[1], 1
        elif event == "socket.__new__":
            _, family, kind, _ = facts
            if kind & 0xF == socket.SOCK_RAW and family in _RAW:
                rights = "`tcp`, `listen`, `udp`, `unix` or `can`"
                raise PermissionError(errno.EPERM, f"{REFUSED} raw sockets; {place} can give {rights}")
            if (missing := _missing_kind(family, kind, kinds)) is not None:
                port = _next_port(looked_up) if missing == STREAM else None
                refuse_right(missing if port is None else f"tcp:{port}")
        elif event in ("socket.connect", "socket.bind"):
            opened, address = facts
            stream = opened.family in _INTERNET and opened.type == socket.SOCK_STREAM
            if opened.family == socket.AF_UNIX and "unix" not in kinds:
                refuse_right("unix")
            if stream and isinstance(address, tuple) and len(address) > 1:
                right = f"{'tcp' if event == 'socket.connect' else 'listen'}:{address[1]}"
                if right not in network:
                    refuse_right(right)

    sys.addaudithook(refuse)
    _watch_names(looked_up, kinds, place)


def _next_port(looked_up: Any) -> object:
    """The port that a thread's next socket is for; None where no name was looked up for it."""
    left = getattr(looked_up, "sockets", 0)
    looked_up.sockets = max(0, left - 1)
    return looked_up.port if left else None


def _missing_kind(family: int, kind: int, kinds: Collection[str]) -> str | None:
    """What `network` would need for such a socket; None where it may be made, as each pair of sockets."""
    if family in _INTERNET:
        if kind & 0xF == socket.SOCK_STREAM:
            return None if {"tcp", "listen"} & set(kinds) else STREAM
        return None if "udp" in kinds else "udp"
    if family == getattr(socket, "AF_CAN", None):
        return None if "can" in kinds else "can"
    return None


def _watch_names(looked_up: Any, kinds: Collection[str], place: str) -> None:
    """Counts the addresses of a name; the error of one that is not found says that names need udp."""
    found = socket.getaddrinfo

    def watched(*words: Any, **named: Any) -> Any:
        try:
            addresses = found(*words, **named)
        except socket.gaierror as error:
            looked_up.sockets = 0
            if "udp" in kinds:
                raise
            raise socket.gaierror(
                error.errno, f"{error.strerror}; names need udp, which is not in {place}"
            ) from error
        looked_up.sockets = len(addresses)
        return addresses

    socket.getaddrinfo = watched

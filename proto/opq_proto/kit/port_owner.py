"""Whose program listens at a port of this machine: asked before a secret is sent there.

Every user may listen at a free port, while the service that belongs there is down. The kernel states the user
of each socket that listens (proc(5), /proc/net/tcp), which no program can forge. Services run as the user of
the client, as root, or as a system account; another person's program gets nothing.
"""

import ipaddress
import os
import pwd
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from opq_proto.errors import OpqError

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
LISTENS = "0A"
"""TCP_LISTEN, as these tables write it."""
SYSTEM_USERS = range(1000)
"""Users of services (systemd, UIDS-GIDS)."""
DYNAMIC_USERS = range(61184, 65520)
"""Users that systemd gives to units with DynamicUser."""
LOOPBACK = ("127.0.0.1", "::1")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForeignListenerError(OpqError, OSError):
    """Another person's program listens at a port of this machine."""


class HasPeer(Protocol):
    """A connected socket, with TLS or without."""

    def getpeername(self) -> tuple[str, int]: ...


def check_peer(connected: HasPeer) -> None:
    """Raises ForeignListenerError where the program at the other end is another person's, on this machine."""
    try:
        address, port = connected.getpeername()[:2]
    except OSError:
        return  # it is not connected any more
    check_port_owner(address, port)


def check_port_owner(host: str, port: int) -> None:
    """Raises ForeignListenerError likewise; `host` is an address or a name.

    An address of another machine passes, and so does a port where nothing listens.
    """
    wanted = {_plain(each) for each in _addresses(host)}
    for address, owner in _listeners(port):
        meant = address in wanted or (address.is_unspecified and any(each.is_loopback for each in wanted))
        if meant and not _may_serve(owner):
            raise ForeignListenerError(
                f"port {port} of this machine is held by a program of {_user_name(owner)}, which is neither "
                "you nor root nor a system account: nothing was sent to it; run the service by one of these, "
                "or use TLS"
            )


def checked_before_login(host: str, port: int) -> Callable[..., None]:
    """A callback for paho-mqtt's `on_socket_open`, which is called before the password is sent."""

    def check(_client: object, _data: object, _socket: object) -> None:
        check_port_owner(host, port)

    return check


def _may_serve(owner: int) -> bool:
    return owner in (0, os.geteuid()) or owner in SYSTEM_USERS or owner in DYNAMIC_USERS


def _addresses(host: str) -> Iterator[Address]:
    """The loopback addresses that a host name or address stands for; none for another machine."""
    if host.lower().rstrip(".") == "localhost":
        yield from map(ipaddress.ip_address, LOOPBACK)
        return
    try:
        address = _plain(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        with suppress(OSError, UnicodeError):
            for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                named = ipaddress.ip_address(str(found[4][0]).partition("%")[0])
                if named.is_loopback:
                    yield named
        return
    if address.is_unspecified:
        yield from map(ipaddress.ip_address, LOOPBACK)
    elif address.is_loopback:
        yield address


def _listeners(port: int) -> Iterator[tuple[Address, int]]:
    """Yields address and user of each socket that listens at a port; none where there are no tables."""
    for table in TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            address, _, hexadecimal = words[1].partition(":")
            if words[3] == LISTENS and int(hexadecimal, 16) == port:
                yield _plain(_address(address)), int(words[7])


def _address(text: str) -> Address:
    """An address of these tables: words of 32 bits, each in this machine's order of bytes."""
    words = [int(text[k : k + 8], 16).to_bytes(4, sys.byteorder) for k in range(0, len(text), 8)]
    return ipaddress.ip_address(b"".join(words))


def _plain(address: Address) -> Address:
    """IPv4 where it is mapped into IPv6."""
    return getattr(address, "ipv4_mapped", None) or address


def _user_name(owner: int) -> str:
    with suppress(KeyError):
        return f"{pwd.getpwuid(owner).pw_name} (user {owner})"
    return f"user {owner}"

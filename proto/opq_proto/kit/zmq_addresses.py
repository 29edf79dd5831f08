"""Binds and connects ZeroMQ sockets by both families of IP; for back ends, Boxes and the uplink alike.

libzmq uses IPv4 alone unless a socket has the option IPV6, and with it takes only IPv6 of a name that
has both. A socket of both families sees IPv4 peers as ::ffff:192.0.2.1.
"""

import socket as tcp

import zmq

from opq_proto.kit.ports import PORT_PATTERN

CONNECTED = rf"^(tcp://(\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\s/:*\[\]]+):{PORT_PATTERN}|ipc://\S+)$"
"""Endpoints to which a socket can connect, as a pattern of a setting."""
BOUND = CONNECTED.replace("^(tcp://(", r"^(tcp://(\*|")
"""Those at which one can listen."""


def bind_endpoint(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Binds: `tcp://*:9880` and `tcp://[::]:9880` at both families. Raises zmq.ZMQError."""
    host = host_of(endpoint)
    if host == "*" or ":" in host:
        socket.setsockopt(zmq.IPV6, 1)
    socket.bind(endpoint)


def connect_endpoint(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Connects, to a name by IPv4 unless it only has IPv6. Raises zmq.ZMQError."""
    host = host_of(endpoint)
    if ":" in host or _has_only_ipv6(host):
        socket.setsockopt(zmq.IPV6, 1)
    socket.connect(endpoint)


def host_of(endpoint: str) -> str:
    """The host of `tcp://HOST:PORT` without brackets; empty for another transport."""
    transport, _, place = endpoint.partition("://")
    return place.rpartition(":")[0].strip("[]") if transport == "tcp" else ""


def connectable(endpoint: str) -> str:
    """Where to connect to for the `endpoint` of a bind: one at every address is reached on loopback."""
    place, mark, keys = endpoint.partition("?")
    host = host_of(place)
    own = "[::1]" if host == "::" else "127.0.0.1" if host in ("*", "0.0.0.0") else ""
    return f"tcp://{own}:{place.rpartition(':')[2]}{mark}{keys}" if own else endpoint


def _has_only_ipv6(host: str) -> bool:
    if not host or host == "*" or host.replace(".", "").isdigit():
        return False
    try:
        found = {each[0] for each in tcp.getaddrinfo(host, None, type=tcp.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False  # libzmq asks again until it is known
    return found == {tcp.AF_INET6}

"""Peer: which local user asks over TCP, from the kernel's table of sockets (Linux, /proc/net/tcp, tcp6)."""

import ipaddress
import struct
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

Address = Sequence[object]
"""Host and port, as ASGI's `client` and `server` have them."""
_LOCAL, _REMOTE, _UID = 1, 2, 7
PROC = Path("/proc/net")


def uid_of(client: Address, server: Address, proc: Path = PROC) -> int | None:
    """User of the socket at `client` that is connected to `server`; None where it is not of this machine."""
    for name in ("tcp", "tcp6"):
        ends = _end(client, name == "tcp6"), _end(server, name == "tcp6")
        if None in ends:
            continue
        try:
            lines = (proc / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if len(words) > _UID and (words[_LOCAL], words[_REMOTE]) == ends:
                return int(words[_UID])
    return None


def of_users(
    uids: Callable[[], Collection[int]],
) -> Callable[[Address | None, Address | None], bool]:
    """(client, server) -> whether the connection is one of these users'; without users nothing is read."""

    def asked(client: Address | None, server: Address | None) -> bool:
        wanted = uids()
        return bool(wanted and client and server) and uid_of(client or (), server or ()) in wanted

    return asked


def _end(address: Address, wide: bool) -> str | None:
    """As the table writes it: words of 32 bits as the machine reads them, and the port."""
    host, port = str(address[0]), int(str(address[1]))
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if wide and ip.version == 4:
        ip = ipaddress.IPv6Address(f"::ffff:{ip}")  # a socket of both worlds
    if (ip.version == 6) is not wide:
        return None
    words = struct.unpack(f"={len(ip.packed) // 4}I", ip.packed)
    return f"{''.join(f'{each:08X}' for each in words)}:{port:04X}"

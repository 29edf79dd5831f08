"""Host: what GetInfo tells of this machine: its addresses, as the original spells them."""

import fcntl
import socket
import struct
from pathlib import Path

SIOCGIFADDR = 0x8915  # <linux/sockios.h>
NETWORK = Path("/sys/class/net")
IF_INET6 = Path("/proc/net/if_inet6")


def addresses() -> str:
    """Every interface address, each followed by a newline: `a.b.c.d:0`, `[v6]:0` (opq-interop B.1)."""
    return "".join(f"{address}\n" for address in [*_ipv4(), *_ipv6()])


def mac_address() -> str:
    """Of the first interface that has one, by name; empty when none has."""
    try:
        paths = sorted(NETWORK.glob("*/address"))
        macs = [path.read_text().strip() for path in paths]
    except OSError:
        return ""
    return next((mac for mac in macs if mac and mac != "00:00:00:00:00:00"), "")


def _ipv4() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                reply = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # this interface has no IPv4 address
            found.append(f"{socket.inet_ntoa(reply[20:24])}:0")
    return found


def _ipv6() -> list[str]:
    try:
        lines = IF_INET6.read_text().splitlines()
    except OSError:
        return []
    return [f"[{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line[:32]))}]:0" for line in lines]

"""Every address where the processes of a tree listen, by the kernel's tables, so that a new one is in it."""

import re
from dataclasses import dataclass
from pathlib import Path

LISTENS = "0A"
"""State of a TCP socket in /proc/net/tcp."""
UNBOUND = "07"
"""State of a UDP socket without a peer."""
ACCEPTS = 0x10000
"""Flag of a listening socket in /proc/net/unix."""


@dataclass(frozen=True, slots=True)
class Listening:
    """`kind`: tcp, udp or unix; `address`: a port of loopback, or the path of a socket."""

    kind: str
    address: str
    pid: int
    """The process that holds it; of several the oldest."""


def tree_of(root: int) -> list[int]:
    """The process and its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            parents[int(path.parent.name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def listening_of(pids: list[int]) -> list[Listening]:
    """What these processes listen on, without sockets of the abstract name space that take datagrams."""
    by_inode = _tcp_and_udp() | _unix()
    found: dict[tuple[str, str], Listening] = {}
    for pid in sorted(pids):
        for path in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                link = re.fullmatch(r"socket:\[(\d+)\]", str(path.readlink()))
            except OSError:
                continue
            if link and (known := by_inode.get(link[1])):
                found.setdefault(known, Listening(*known, pid))
    return list(found.values())


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def resident_mb(pid: int) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) >> 10


def _tcp_and_udp() -> dict[str, tuple[str, str]]:
    found = {}
    for name, state in (("tcp", LISTENS), ("tcp6", LISTENS), ("udp", UNBOUND), ("udp6", UNBOUND)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state:
                found[fields[9]] = name[:3], str(int(fields[1].rpartition(":")[2], 16))
    return found


def _unix() -> dict[str, tuple[str, str]]:
    found = {}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and int(fields[3], 16) & ACCEPTS:
            found[fields[6]] = "unix", fields[7]
    return found

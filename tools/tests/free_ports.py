"""Free ports on loopback for tests that must name an address before somebody binds it.

Port 0 would give one of the range that the kernel also takes for outgoing connections: before the
service binds it, a connection of any process may have it. These lie below that range.
"""

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator, Sequence

from opq_proto.kit.ports import PORTS
from opq_sim.faults.parts.free_ports import OFFSETS, claim

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % WORKERS
"""Workers of one run never share a port."""
OWN_OFFSETS = OFFSETS[WORKER::WORKERS]
"""With them the default ports lie in the same range as the single ones, 12,080 to 32,000."""
SINGLE = [
    port
    for port in range(13_000, 31_000)
    if port % OFFSETS.step not in {(each + OFFSETS.start) % OFFSETS.step for each in PORTS.values()}
]
"""Below /proc/sys/net/ipv4/ip_local_port_range (32,768 on); no default port at any offset is among them."""


def _from_here(numbers: Sequence[int]) -> Iterator[int]:
    """All of them, again and again; test runs side by side begin elsewhere."""
    start = os.getpid() * 97 % len(numbers)
    return itertools.cycle([*numbers[start:], *numbers[:start]])


_ports = _from_here(SINGLE[WORKER::WORKERS])
_offsets = _from_here(OWN_OFFSETS)


def free_port() -> int:
    """A free port; not the same one twice for a long while."""
    return next(port for port in _ports if _free([port]))


def free_endpoint() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


def free_offset() -> int:
    """A `--port-offset` at which every default port is free, and which no other test run takes meanwhile."""
    free = (offset for offset in _offsets if _free([port + offset for port in PORTS.values()]))
    return next(offset for offset in free if claim(offset))


def _free(ports: Sequence[int]) -> bool:
    with contextlib.ExitStack() as held:
        try:
            for port in ports:
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

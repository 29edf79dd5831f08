"""Free ports on loopback for the default ports of a whole system."""

import contextlib
import os
import socket
from collections import deque
from collections.abc import Iterable

from opq_proto.errors import PortBusyError
from opq_proto.kit import ports
from opq_proto.kit.port_claims import claim_ports

OFFSETS = range(4_000, 20_000, 66)
"""With these offsets the default ports lie below the range that the kernel uses for outgoing connections.

No two default ports have the same remainder by the step: two offsets never have a port in common.
"""
OFFSETS_CLAIMED = 8
"""A process keeps the offsets that it took last; its services have bound their ports by then."""
_claims = deque[contextlib.ExitStack]()


def free_offset(number: int, count: int = 2) -> list[int]:
    """`--port-offset`s at which every default port is free; other worlds on this machine begin elsewhere.

    No other program gets one of them meanwhile, although nothing listens there yet: `claim`.

    Raises:
        PortBusyError: there are none.
    """
    start = (os.getpid() * 97 + number * 31) % len(OFFSETS)
    found = []
    for offset in [*OFFSETS[start:], *OFFSETS[:start]]:
        if _free([port + offset for port in ports.PORTS.values()]) and claim(offset):
            found.append(offset)
        if len(found) == count:
            return found
    raise PortBusyError("no free ports for a world of brokers; end programs that listen on 127.0.0.1")


def claim(offset: int) -> bool:
    """Claims the default ports at an offset for this process and what it starts; False: they are claimed."""
    held = contextlib.ExitStack()
    if claim_ports(held, [port + offset for port in ports.PORTS.values()]):
        return False
    _claims.append(held)
    if len(_claims) > OFFSETS_CLAIMED:
        _claims.popleft().close()
    return True


def held_ports(offsets: Iterable[int]) -> contextlib.ExitStack:
    """Reserves every default port at these offsets against other worlds, until it is closed.

    The ports are bound with SO_REUSEADDR and do not listen. So our programs, which use the same option, can
    still listen there; `free_offset` skips them.

    Raises:
        OSError: another process took one meanwhile.
    """
    with contextlib.ExitStack() as holding:
        for offset in offsets:
            for port in ports.PORTS.values():
                held = holding.enter_context(socket.socket())
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held.bind(("127.0.0.1", port + offset))
        return holding.pop_all()


def _free(wanted: list[int]) -> bool:
    with contextlib.ExitStack() as held:
        try:
            for port in wanted:
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

"""Ports claimed before anything listens there: two programs whose ports meet know it at once.

A service binds its port seconds after its start; another program that looked before that would find it free.
So a claim holds a name of the kernel (an abstract socket) for each port, which ends with its process. What a
program has claimed, one of the programs that it started may claim once more, beneath it:

    a test   --claims 9880-->  opq-port-9880
    its `up` --claims 9880-->  opq-port-9880-<process of the test>

If the test ends while its `up` runs, opq-port-9880 is free, and only the port itself shows that it is in use.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

CREDENTIALS = struct.Struct("3i")
"""struct ucred: process, user, group (unix(7), SO_PEERCRED)."""
PROBES = 4096
"""Connections that no program accepts, by which others learn whose a name is."""


def claim_ports(held: ExitStack, ports: Iterable[int]) -> list[int]:
    """Claims all ports until `held` closes and returns none, or returns those that cannot be had, and claims
    none."""
    with ExitStack() as claims:
        taken = [port for port in ports if not (_is_claimed(claims, port) and _is_free(port))]
        if not taken:
            held.push(claims.pop_all())
        return taken


def _is_claimed(claims: ExitStack, port: int) -> bool:
    """Claims the name of a port; False: another program has it, or this one."""
    if sys.platform != "linux":
        return True  # elsewhere a port counts as free until it is bound
    name = f"\0opq-port-{port}"
    while True:
        with ExitStack() as made:
            own = made.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                own.bind(name)
                own.listen(PROBES)
            except OSError:
                holder = _holder(name)
                if holder is None or holder not in _ancestors():
                    return False
                name = f"{name}-{holder}"
                continue
            claims.push(made.pop_all())
            return True


def _holder(name: str) -> int | None:
    """The process that holds a name; None: it ended meanwhile, or the kernel does not say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(name)
            found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        except OSError:
            return None
    process: int = CREDENTIALS.unpack(found)[0]
    return process


def _ancestors() -> Iterator[int]:
    """Parent, its parent, and so on."""
    process = os.getppid()
    while process > 0:
        yield process
        try:
            fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return
        process = int(fields[1])


def _is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True

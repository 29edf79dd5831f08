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
import sys
from collections.abc import Iterable, Iterator, Set
from contextlib import ExitStack, suppress
from pathlib import Path

NAMES = Path("/proc/net/unix")
"""Names of this machine's sockets, of this network namespace: the inode is the seventh field (proc(5))."""


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
            except OSError:
                holder = _holding_ancestor(name)
                if holder is None:
                    return False
                name = f"{name}-{holder}"
                continue
            claims.push(made.pop_all())
            return True


def _holding_ancestor(name: str) -> int | None:
    """Returns the process that holds a name, if it started this one, or one that did.

    It reads the kernel's tables and leaves nothing at the holder, however often others ask. Of several that
    share a socket, the eldest made it.
    """
    shown = name.replace("\0", "@")
    rows = (line.split() for line in NAMES.read_text(errors="replace").splitlines())
    wanted = {f"socket:[{row[6]}]" for row in rows if row[7:] == [shown]}
    found = [process for process in _ancestors() if _has_file(process, wanted)]
    return found[-1] if found else None


def _has_file(process: int, wanted: Set[str]) -> bool:
    """Whether a process has one of these files open; one whose files may not be read has none."""
    with suppress(OSError):
        for each in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):  # it was closed meanwhile
                if str(each.readlink()) in wanted:
                    return True
    return False


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

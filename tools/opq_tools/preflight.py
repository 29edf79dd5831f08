"""Looks before the start whether every address is free, and finds an offset where all are."""

import socket
from collections.abc import Mapping

from opq_proto.errors import PortBusyError

OFFSET_STEP = 100
OFFSET_LIMIT = 40_000
"""Beyond it the highest default port would pass 65,535."""


def busy(ports: Mapping[str, int], host: str = "127.0.0.1") -> dict[str, int]:
    """Those of `ports` (name -> number) that something listens on already."""
    found = {}
    for name, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                found[name] = port
    return found


def require_free(ports: Mapping[str, int], offset: int, command: str) -> None:
    """Check the default ports moved by `offset`.

    Raises:
        PortBusyError: one is taken; its text names it and the command to type instead.
    """
    taken = busy({name: port + offset for name, port in ports.items()})
    if not taken:
        return
    free = free_offset(ports, unlike=offset)
    names = ", ".join(f"{port} ({name})" for name, port in sorted(taken.items(), key=lambda item: item[1]))
    noun = "port" if len(taken) == 1 else "ports"
    advice = f"; this is free: {command} --port-offset {free}" if free else ""
    raise PortBusyError(f"{noun} {names} busy{advice}")


def free_offset(ports: Mapping[str, int], unlike: int = 0) -> int | None:
    """The smallest offset other than `unlike` at which all of `ports` are free; None: there is none."""
    for offset in range(OFFSET_STEP, OFFSET_LIMIT, OFFSET_STEP):
        if offset != unlike and not busy({name: port + offset for name, port in ports.items()}):
            return offset
    return None

"""Places: ports on loopback that nobody has, and the configuration files of a world."""

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import tomli_w

from opq_proto import ports
from opq_proto.errors import PortBusyError

OFFSETS = range(4_000, 20_000, 25)
"""With them the default ports lie below the range that the kernel takes for outgoing connections."""
RELAYED = ("triggering_box", "command_box", "response_box")
MEASUREMENT_CYCLES = 6
"""Ten Measurements a second: as many in a scaled minute as make a backlog."""
UPLINK = {"unacknowledged_s": 2.0, "resend_s": 1.0, "in_flight_s": 0.3, "heartbeat_s": 0.5}
"""Time-outs on the scaled clock, as far as the time-outs of TCP, which are not scaled, allow."""


def free_offset(number: int, count: int = 2) -> list[int]:
    """`--port-offset`s at which every default port is free; worlds side by side begin elsewhere.

    Raises:
        PortBusyError: there are none.
    """
    start = (os.getpid() * 97 + number * 31) % len(OFFSETS)
    found = []
    for offset in [*OFFSETS[start:], *OFFSETS[:start]]:
        if _free([port + offset for port in ports.PORTS.values()]):
            found.append(offset)
        if len(found) == count:
            return found
    raise PortBusyError("no free ports for a world of brokers; end what listens on 127.0.0.1")


def held_ports(offsets: Iterable[int]) -> contextlib.ExitStack:
    """Every default port at these offsets, kept from other worlds until it is closed.

    Bound and not listening, with SO_REUSEADDR: who listens there with the same option, as all of ours do,
    still can; `free_offset` passes it over.

    Raises:
        OSError: somebody took one meanwhile.
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


def write_gateway(
    path: Path, data_dir: Path, keys: Path, offset: int, boxes: Mapping[str, Path]
) -> list[str]:
    """gateway.toml; the command's arguments."""
    told = {
        "data_dir": str(data_dir),
        "measurement_cycles": MEASUREMENT_CYCLES,
        "keys": {"folder": str(keys)},
        "uplink": UPLINK,
        "box": [{"id": box_id, "port": str(port)} for box_id, port in boxes.items()],
    }
    path.write_text(tomli_w.dumps(told), encoding="utf-8")
    return ["opq_gateway", "run", "--config", str(path), "--port-offset", str(offset)]


def write_cloud(path: Path, data_dir: Path, keys: Path, offset: int) -> list[str]:
    """cloud.toml, its time-outs on the scaled clock; the command's arguments."""
    told = {
        "data_dir": str(data_dir),
        "keys": {"folder": str(keys)},
        "triggering_service": {"ack_interval_s": 0.1, "batch_ms": 50},
    }
    path.write_text(tomli_w.dumps(told), encoding="utf-8")
    return ["opq_cloud", "all", "--config", str(path), "--port-offset", str(offset)]

"""The ports of a run, claimed before anything starts: two runs whose ports meet know it at once."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from opq_proto.errors import PortBusyError
from opq_proto.kit.port_claims import claim_ports
from opq_proto.kit.ports import PORTS
from opq_proto.kit.service_sockets import SOCKETS
from opq_proto.kit.shared_options import MAX_OFFSET

NOT_OF_UP = {
    *SOCKETS.values(),  # its services meet at Unix sockets of the folder
    "acquisition_broker_health",  # in `opq-cloud all` mauka_health answers for all services
    "event_service_health",
    "health",
    "notifications_health",
    "shares",  # one triggering service serves all Boxes
    "triggering_broker_health",
    "triggering_service_health",
    "update",
}
"""Ports of opq_proto.kit.ports that `up` does not bind, so that e.g. a web server may use 8080."""
PORTS_OF_UP = {name: port for name, port in PORTS.items() if name not in NOT_OF_UP}
OFFSET_STEP = 100
INCIDENT_IDS = "incident_ids"


def ports_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Returns the ports of a run with this configuration of `up`.

    In a MongoDB the port for numbers of incidents may be that of the original's service.
    """
    cloud = config.get("cloud", {})
    stated = cloud.get("mauka", {}).get("incident_id_endpoint")
    moved = isinstance(stated, str) and not stated.endswith(f":{PORTS[INCIDENT_IDS]}")
    others = moved or bool(cloud.get("store", {}).get("mongo_uri"))
    return {name: port for name, port in PORTS_OF_UP.items() if name != INCIDENT_IDS or not others}


@contextmanager
def claimed_ports(ports: Mapping[str, int], offset: int | None, command: str) -> Iterator[int]:
    """Claims the ports, moved by `offset`, until the end; yields the offset. None: the first that is free.

    Raises:
        PortBusyError: one is in use, or another run's; the text names it and the command to type instead.
    """
    with ExitStack() as held:
        if offset is None:
            offset = next((each for each in _offsets() if not _claim(held, _moved(ports, each))), None)
            if offset is None:
                raise PortBusyError(f"no --port-offset up to {MAX_OFFSET} has all ports free")
        elif taken := _claim(held, _moved(ports, offset)):
            names = ", ".join(
                f"{port} ({name})" for name, port in sorted(taken.items(), key=lambda item: item[1])
            )
            noun = "port" if len(taken) == 1 else "ports"
            raise PortBusyError(f"{noun} {names} busy; this finds free ones: {command} --free-ports")
        yield offset


def free_offset(ports: Mapping[str, int]) -> int | None:
    """An offset above 0 at which all ports are free now, for processes that claim none."""
    for offset in _offsets():
        with ExitStack() as held:
            if offset and not _claim(held, _moved(ports, offset)):
                return offset
    return None


def _offsets() -> range:
    return range(0, MAX_OFFSET + 1, OFFSET_STEP)


def _moved(ports: Mapping[str, int], offset: int) -> dict[str, int]:
    return {name: port + offset for name, port in ports.items()}


def _claim(held: ExitStack, ports: Mapping[str, int]) -> dict[str, int]:
    """Claims all of `ports` and returns nothing, or none of them and returns those that cannot be had."""
    taken = claim_ports(held, ports.values())
    return {name: port for name, port in ports.items() if port in taken}

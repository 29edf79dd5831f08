"""Default port numbers, by service and duty; `--port-offset K` adds K to every one of them.

Source: the original services (9880 to 10001, 8080, 8151, 8888, 8911) and docs/reference/contracts.md, Health.
Here too: the forms of addresses that settings have, and the hosts in them that no TCP connection reaches.
"""

import ipaddress
import re
import socket
from types import MappingProxyType

TRIGGERING_BOX = 9880
"""Box PUB -> triggering broker SUB (CURVE)."""
TRIGGERING_BACKEND = 9881
"""Triggering broker PUB -> subscribers, in clear."""
COMMAND_BOX = 8194
"""Acquisition broker XPUB (CURVE) -> Box SUB."""
RESPONSE_BOX = 8196
"""Box PUSH -> acquisition broker PULL (CURVE)."""
COMMAND_BACKEND = 9884
"""Client PUSH -> acquisition broker PULL."""
RESPONSE_BACKEND = 9899
"""Acquisition broker PUB -> clients SUB."""
EVENTS = 10000
"""Event service PUB: one message per finished event."""
EVENT_IDS = 10001
"""Event service REP: the next event id."""
MAUKA_IN = 9882
"""Mauka plug-ins PUB -> bus."""
MAUKA_OUT = 9883
"""Bus PUB -> Mauka plug-ins SUB."""
INCIDENT_IDS = 9777
PLUGIN_MANAGER = 12000
TRIGGERING_SERVICE_HEALTH = 8080
UPDATE = 8151
VIEW = 8888
MAUKA_HEALTH = 8911
"""In `up` and `opq-cloud all` it answers for the whole."""
HEALTH = 8912
GATEWAY_HEALTH = 8913
TRIGGERING_BROKER_HEALTH = 8914
ACQUISITION_BROKER_HEALTH = 8915
EVENT_SERVICE_HEALTH = 8916
NOTIFICATIONS = 8917
"""POST /notify: rows of stream rules."""
NOTIFICATIONS_HEALTH = 8918
RULES = 9081

PORT_PATTERN = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
"""A port from 0 to 65535. `\\d` would take the digits of every script, which no socket does."""
HOST_PORT = rf"^(\*|\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\s/:*\[\]]*):{PORT_PATTERN}$"
"""An address of HTTP or mail, as a pattern of a setting."""
WEB_ADDRESS = rf"^https?://([^\s/@]+@)?(\[[0-9A-Fa-f:.]+\]|[^\s/:?#@\[\]]+)(:{PORT_PATTERN})?([/?]\S*)?$"
"""The address of a page or of REST, as a pattern of a setting."""

PORTS = MappingProxyType(
    {
        "triggering_box": TRIGGERING_BOX,
        "triggering_backend": TRIGGERING_BACKEND,
        "command_box": COMMAND_BOX,
        "response_box": RESPONSE_BOX,
        "command_backend": COMMAND_BACKEND,
        "response_backend": RESPONSE_BACKEND,
        "events": EVENTS,
        "event_ids": EVENT_IDS,
        "mauka_in": MAUKA_IN,
        "mauka_out": MAUKA_OUT,
        "incident_ids": INCIDENT_IDS,
        "plugin_manager": PLUGIN_MANAGER,
        "triggering_service_health": TRIGGERING_SERVICE_HEALTH,
        "update": UPDATE,
        "view": VIEW,
        "mauka_health": MAUKA_HEALTH,
        "health": HEALTH,
        "gateway_health": GATEWAY_HEALTH,
        "triggering_broker_health": TRIGGERING_BROKER_HEALTH,
        "acquisition_broker_health": ACQUISITION_BROKER_HEALTH,
        "event_service_health": EVENT_SERVICE_HEALTH,
        "notifications": NOTIFICATIONS,
        "notifications_health": NOTIFICATIONS_HEALTH,
        "rules": RULES,
    }
)
"""Every default port under its name."""


def with_offset(name: str, offset: int = 0) -> int:
    """The port called `name`, moved by `offset`.

    Raises:
        KeyError: no port of that name.
        ValueError: the moved port is outside 1 .. 65535.
    """
    port = PORTS[name] + offset
    if not 1 <= port <= 65535:
        raise ValueError(f"port offset {offset}: {name} would be {port}; want 1 to 65535")
    return port


def endpoint(name: str, offset: int = 0, host: str = "127.0.0.1") -> str:
    """`tcp://host:port` of the port called `name`; raises as `with_offset`."""
    return f"tcp://{host}:{with_offset(name, offset)}"


def host_problem(address: str) -> str:
    """What is wrong with the hosts of `tcp://HOST:PORT`, a URL, HOST:PORT or HOST; empty: nothing.

    No name is looked up. Linux lets a server listen at a multicast or broadcast address, where no client
    reaches it. Source: RFC 9293, 3.9.2.3 (TCP refuses these); RFC 4291, 2.7; RFC 919, 7.
    """
    place = re.split("[/?#]", address.partition("://")[2] or address, maxsplit=1)[0].rpartition("@")[2]
    for each in place.split(","):  # MongoDB has several
        host = each.partition(":")[0] if each.count(":") == 1 else re.sub(r"^\[(.*)\](:.*)?$", r"\1", each)
        if kind := _kind_of_many(host.partition("%")[0]):
            return f"{host} is for {kind}; want the name or address of one machine, e.g. 127.0.0.1 or [::1]"
    return ""


def _kind_of_many(host: str) -> str:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        try:
            found = ipaddress.IPv4Address(socket.inet_aton(host))  # also 224.1 and 0xe0000001
        except (OSError, ValueError):
            return ""
    address = getattr(found, "ipv4_mapped", None) or found
    if str(address) == "255.255.255.255":
        return "broadcast"
    return "multicast" if address.is_multicast else ""

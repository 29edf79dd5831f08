"""Ports in the addresses of a configuration: read from one, missing from one, moved in all."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from opq_proto.config.fields import fields_of, table_of
from opq_proto.config.problems import Problem
from opq_proto.errors import ConfigError
from opq_proto.kit.ports import HOST_PORT, PORTS
from opq_proto.kit.zmq_addresses import BOUND, host_of

T = TypeVar("T")
OURS = frozenset(PORTS.values())
WANTED_OF_SERVICES = "want tcp://host:port or ipc://name, e.g. tcp://127.0.0.1:9881 or tcp://[::1]:9881"
WANTED_OF_HTTP = "want host:port, e.g. 127.0.0.1:8888 or [::1]:8888"
LISTENED = frozenset(
    {"box_endpoint", "command_endpoint", "response_endpoint", "http_endpoint", "whole_endpoint"}
)
EVERY_HOST = frozenset({"*", "0.0.0.0", "::"})
_SCHEME_OF_HTTP = re.compile("^(https?|tcp)://")


def port_of(endpoint: str) -> int | None:
    """Returns 8080 for `tcp://host:8080` or `host:8080`; None where the text has no numeric port."""
    try:
        return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").port
    except ValueError:
        return None


def address_problems(
    cls: type[Any], table: Mapping[str, Any], path: tuple[str | int, ...] = ()
) -> list[Problem]:
    """Returns a problem for every address in `table`, keys and values of a `cls`, that has another form than
    its services can use: those of ZeroMQ have a transport, those of HTTP may have one."""
    problems: list[Problem] = []
    for name, info in fields_of(cls).items():
        value, inner = table.get(name), table_of(info.annotation)
        if inner is not None and isinstance(value, Mapping):
            problems += address_problems(inner, value, (*path, name))
        elif name.endswith("_endpoint") and isinstance(value, str) and value.strip():
            if "://" in str(info.default):
                right, wanted = _can_be_bound(value), WANTED_OF_SERVICES
            else:
                right = re.match(HOST_PORT, _SCHEME_OF_HTTP.sub("", value)) is not None
                wanted = WANTED_OF_HTTP
            if not right:
                problems.append(Problem((*path, name), f"is {value!r:.60}; {wanted}"))
    return problems


def _can_be_bound(endpoint: str) -> bool:
    any_port = endpoint.removesuffix(":*") + ":0" if endpoint.endswith(":*") else endpoint
    return re.match(BOUND, any_port) is not None


def open_ports(section: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields (key, problem) of addresses with any free port, which no other program can know."""
    for item in fields(section):  # type: ignore[arg-type]
        value = getattr(section, item.name)
        if is_dataclass(value):
            yield from open_ports(value, f"{path}{item.name}.")
        elif (
            item.name.endswith(("endpoint", "server"))
            and isinstance(value, str)
            and value.endswith((":0", ":*"))
        ):
            yield (
                f"{path}{item.name}",
                f"is {value!r}; want a port from 1 to 65535, which other programs can know",
            )


def shared_addresses(config: object) -> Iterator[tuple[str, str]]:
    """Yields (key, problem) of each address at which another service of `opq-cloud all` listens too."""
    found: list[tuple[str, str, int]] = []
    for key, endpoint in _listened(config):
        host, port = host_of(f"tcp://{_SCHEME_OF_HTTP.sub('', endpoint)}"), port_of(endpoint)
        for other, other_host, other_port in found:
            if port and port == other_port and _overlap(host, other_host):
                yield key, f"is {endpoint!r}, where {other} listens too; give one of them another port"
        found += [(key, host, port)] if port else []


def _overlap(one: str, other: str) -> bool:
    """Whether listeners of one port at these hosts meet. 0.0.0.0 has no address of IPv6."""
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one, other)}
    if "0.0.0.0" in hosts and any(":" in host and host != "::" for host in hosts):
        return False
    return len(hosts) == 1 or bool(hosts & EVERY_HOST)


def _listened(section: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields (key, address) where a service of `opq-cloud all` listens; those of one apart may be equal."""
    for item in fields(section):  # type: ignore[arg-type]
        value, key = getattr(section, item.name), f"{path}{item.name}"
        if is_dataclass(value) and getattr(value, "enabled", True):
            yield from _listened(value, f"{key}.")
        elif item.name in LISTENED and isinstance(value, str) and key != "health.http_endpoint":
            yield key, value


def with_port_offset(section: T, offset: int) -> T:
    """Moves every address in `section` (and below it) that has a default port of ours by `offset`.

    A port of any other number stays: it was chosen. `opq-tools config check --port-offset` names these.

    Raises ConfigError when a port leaves 1 .. 65535.
    """
    changes: dict[str, Any] = {}
    for item in fields(section):  # type: ignore[arg-type]
        value = getattr(section, item.name)
        if is_dataclass(value):
            changes[item.name] = with_port_offset(value, offset)
        elif item.name.endswith("_endpoint") and isinstance(value, str):
            port = port_of(value)
            if port is not None and port in OURS:
                if not 1 <= port + offset <= 65535:
                    raise ConfigError(
                        f"port offset {offset}: {item.name} would have port {port + offset}; want 1 to 65535"
                    )
                changes[item.name] = f"{value[: value.rindex(':')]}:{port + offset}"
    return replace(section, **changes)  # type: ignore[type-var]

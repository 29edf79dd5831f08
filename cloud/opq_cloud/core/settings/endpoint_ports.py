"""Ports in the addresses of a configuration: read from one, missing from one, moved in all."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from opq_proto.config.fields import fields_of, table_of
from opq_proto.config.problems import Problem
from opq_proto.errors import ConfigError
from opq_proto.kit.ports import PORTS

T = TypeVar("T")
OURS = frozenset(PORTS.values())


def port_of(endpoint: str) -> int | None:
    """Returns 8080 for `tcp://host:8080` or `host:8080`; None where the text has no numeric port."""
    try:
        return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").port
    except ValueError:
        return None


def address_problems(
    cls: type[Any], table: Mapping[str, Any], path: tuple[str | int, ...] = ()
) -> list[Problem]:
    """Returns a problem for every address in `table`, keys and values of a `cls`, that names no port."""
    problems: list[Problem] = []
    for name, info in fields_of(cls).items():
        value, inner = table.get(name), table_of(info.annotation)
        if inner is not None and isinstance(value, Mapping):
            problems += address_problems(inner, value, (*path, name))
        elif name.endswith("_endpoint") and isinstance(value, str) and not _names_a_port(value):
            wanted = "want host:port, e.g. 127.0.0.1:8888, [::1]:8888 or tcp://127.0.0.1:9881"
            problems.append(Problem((*path, name), f"is {value!r:.60}; {wanted}"))
    return problems


def _names_a_port(address: str) -> bool:
    of_another_kind = "://" in address and not address.startswith(("tcp://", "http://", "https://"))
    return of_another_kind or not address or address.endswith(":*") or port_of(address) is not None


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

"""The addresses between services, and whether they have keys: `[backend_keys]` of the configuration.

    [backend_keys]
    enabled = true             # all of them, on every machine
    folder = "D/backend"       # made by `opq-tools keys add --backend cloud`
    name = "cloud"             # whose key this process connects with

`with_backend_keys` puts the key folder into each address (`opq_proto.keys.backend_keys`), where binding and
connecting finds it. Addresses of Boxes have other keys, and those over HTTP have no keys.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_cloud.core.backend.sockets import beyond_loopback
from opq_cloud.core.settings.config import CloudConfig
from opq_proto.errors import KeyFileError
from opq_proto.keys.backend_keys import FOLDER, BackendAddress, backend_address

BOUND = {
    "triggering_broker": ("backend_endpoint",),
    "acquisition_broker": ("request_endpoint", "answer_endpoint"),
    "event_service": ("event_endpoint", "event_id_endpoint"),
    "mauka": ("bus_sub_endpoint", "bus_pub_endpoint", "plugin_manager_endpoint", "incident_id_endpoint"),
}
"""By section, the addresses that its command binds."""
CONNECTED = {
    "triggering_service": ("measurement_endpoint", "request_endpoint"),
    "event_service": ("answer_endpoint", "request_endpoint"),
    "mauka": (
        "event_endpoint",
        "measurement_endpoint",
        "event_id_endpoint",
        "request_endpoint",
        "answer_endpoint",
    ),
    "view": ("measurement_endpoint", "bus_endpoint"),
    "notifications": ("bus_endpoint",),
}
"""By section, the addresses that its command connects to; `mauka` also connects to those in BOUND."""


def with_backend_keys(config: CloudConfig, data_dir: Path) -> CloudConfig:
    """Returns the configuration with the key folder in each address; unchanged where keys are off.

    An address that names a folder itself keeps it.
    """
    wanted = config.backend_keys
    if not wanted.enabled:
        return config
    folder = (wanted.folder or data_dir / FOLDER).absolute()

    def with_keys(old: Any, keys: Iterable[str]) -> Any:
        new = {}
        for key in keys:
            address = backend_address(getattr(old, key))
            if address.folder is None:
                new[key] = str(BackendAddress(address.endpoint, folder, wanted.name))
        return replace(old, **new)

    changes = {
        section: with_keys(getattr(config, section), (*BOUND.get(section, ()), *CONNECTED.get(section, ())))
        for section in BOUND.keys() | CONNECTED.keys()
    }
    return replace(config, **changes)


def _bound(command: str, config: CloudConfig) -> Iterator[tuple[str, BackendAddress]]:
    for section, keys in BOUND.items():
        if command in ("all", section.replace("_", "-")):
            for key in keys:
                yield f"{section}.{key}", backend_address(getattr(getattr(config, section), key))


def _connected(command: str, config: CloudConfig) -> Iterator[tuple[str, BackendAddress]]:
    for section, keys in CONNECTED.items():
        if command in ("all", section.replace("_", "-")):
            for key in keys:
                yield f"{section}.{key}", backend_address(getattr(getattr(config, section), key))


def in_clear(command: str, config: CloudConfig) -> str | None:
    """Returns which bound addresses of this command other machines can reach without a key; None: none."""
    found = [
        f"{key} {address.endpoint}"
        for key, address in _bound(command, config)
        if address.folder is None and beyond_loopback(address.endpoint)
    ]
    return f"in clear, without a key, beyond loopback: {', '.join(found)}" if found else None


def missing_backend_keys(command: str, config: CloudConfig) -> Iterator[tuple[str, str]]:
    """Yields (key of the configuration, problem) of missing keys that would end the command."""
    reported = set()
    for key, address in _bound(command, config):
        if address.folder is not None:
            try:
                address.server_keys()
            except KeyFileError as error:
                if str(error) not in reported:
                    yield key, str(error)
                reported.add(str(error))
    for key, address in _connected(command, config):
        if address.folder is not None:
            try:
                address.client_keys()
            except KeyFileError as error:
                if str(error) not in reported:
                    yield key, str(error)
                reported.add(str(error))

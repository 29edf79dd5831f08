"""The addresses between services: which of them meet, and whether they have keys.

They are Unix sockets of the data folder where the configuration states nothing (`kit/service_sockets.py`).
A setting of a service that connects follows that of the one that binds, unless it is stated itself.

    [backend_keys]
    enabled = true             # all of them, on every machine; not stated: those that other machines reach
    folder = "D/backend"       # made by `opq-tools keys add --backend cloud`
    name = "cloud"             # whose key this process connects with

`placed` puts the key folder into each address (`opq_proto.keys.backend_keys`), where binding and connecting
finds it. Addresses of Boxes have other keys, and those over HTTP have no keys.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from opq_cloud.core.backend.sockets import beyond_loopback
from opq_cloud.core.meant_service import WHOLE
from opq_cloud.core.settings.config import BackendKeysSection, CloudConfig
from opq_proto.errors import KeyFileError
from opq_proto.keys.backend_keys import FOLDER, BackendAddress, BackendKeyFolder, backend_address
from opq_proto.kit.service_sockets import in_data_dir
from opq_proto.kit.zmq_addresses import connectable

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


def placed(config: CloudConfig, data_dir: Path) -> CloudConfig:
    """Returns the configuration with its addresses between services as they are bound and connected to.

    Each has its place in the data folder, or follows what the other side states, and has the key folder where
    it has keys. An address that names a folder of keys itself keeps it.
    """
    defaults, stated = CloudConfig(), {}
    for section, keys in BOUND.items():
        for key in keys:
            address = getattr(getattr(config, section), key)
            if address != (usual := getattr(getattr(defaults, section), key)):
                stated[usual] = address
    with_keys = _WithKeys(config.backend_keys, data_dir, stated.values())
    changes = {}
    for section in BOUND.keys() | CONNECTED.keys():
        old, new = getattr(config, section), {}
        for key in BOUND.get(section, ()):
            new[key] = with_keys.bound(in_data_dir(getattr(old, key), data_dir))
        for key in CONNECTED.get(section, ()):
            address = getattr(old, key)
            address = connectable(stated[address]) if address in stated else address
            new[key] = with_keys.connected(in_data_dir(address, data_dir))
        changes[section] = replace(old, **new)
    return replace(config, **changes)


class _WithKeys:
    """Puts the key folder into addresses that have keys."""

    def __init__(self, wanted: BackendKeysSection, data_dir: Path, bound: Iterable[str]) -> None:
        """`bound`: the addresses that a service of this configuration binds, where it states them."""
        self._enabled, self._name = wanted.enabled, wanted.name
        self._folder = (wanted.folder or data_dir / FOLDER).absolute()
        self._reached = {connectable(each) for each in bound if self._has_keys(each)}

    def bound(self, address: str) -> str:
        return self._in_folder(address) if self._has_keys(address) else address

    def connected(self, address: str) -> str:
        """An address elsewhere has keys where the folder has what it takes to use them."""
        if self._enabled is None and beyond_loopback(address) and address not in self._reached:
            with suppress(KeyFileError):
                BackendAddress(address, self._folder, self._name).client_keys()
                return self._in_folder(address)
            return address
        return self._in_folder(address) if self._enabled or address in self._reached else address

    def _has_keys(self, address: str) -> bool:
        """Whether a service that binds it asks for keys."""
        return beyond_loopback(backend_address(address).endpoint) if self._enabled is None else self._enabled

    def _in_folder(self, text: str) -> str:
        address = backend_address(text)
        if address.folder is not None:
            return text
        return str(BackendAddress(address.endpoint, self._folder, self._name))


def make_missing_keys(config: CloudConfig, data_dir: Path) -> None:
    """Makes the pairs of addresses that have keys because other machines reach them.

    `config`: as `placed` returns it. Where the configuration states whether there are keys, or in which
    folder, it makes none.

    Raises:
        KeyFileError: a file cannot be read or written.
    """
    wanted, folder = config.backend_keys, own_folder(config, data_dir)
    if folder and any(address.folder == folder for _, address in _bound(WHOLE[0], config)):
        BackendKeyFolder(folder).ensure([wanted.name])


def own_folder(config: CloudConfig, data_dir: Path) -> Path | None:
    """Returns the folder in which a start makes missing keys; None: none."""
    wanted = config.backend_keys
    return (data_dir / FOLDER).absolute() if wanted.enabled is None and wanted.folder is None else None


def _bound(command: str, config: CloudConfig) -> Iterator[tuple[str, BackendAddress]]:
    for section, keys in BOUND.items():
        if command in (*WHOLE, section.replace("_", "-")):
            for key in keys:
                yield f"{section}.{key}", backend_address(getattr(getattr(config, section), key))


def _connected(command: str, config: CloudConfig) -> Iterator[tuple[str, BackendAddress]]:
    for section, keys in CONNECTED.items():
        if command in (*WHOLE, section.replace("_", "-")):
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

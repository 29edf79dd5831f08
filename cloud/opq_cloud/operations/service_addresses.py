"""The addresses of the services that View's pages of administration request, from the configuration.

Not part of `config.py`, because only View uses the sections of other services in this way.
"""

from dataclasses import dataclass
from pathlib import Path

from opq_cloud.core.notification_channels import CHANNELS
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.operations.rule_engine import EngineAddress
from opq_proto.kit.http_server import url_of
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.system_record import GATEWAY, SystemIdentity, identity_of


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """Addresses of services; an empty one means that the service is not requested."""

    health: tuple[tuple[str, str], ...] = ()
    """(name, URL of its health) of services that are watched and are in no record of this machine's."""
    system: SystemIdentity | None = None
    """The data folder whose record says what is meant to run; None: only `health` is requested."""
    plugin_manager: str = ""
    """Mauka's endpoint for commands about plug-ins (ZeroMQ)."""
    bus: str = ""
    """The endpoint where Mauka's bus receives messages (ZeroMQ)."""
    commands: str = ""
    """The acquisition broker's endpoint for commands to Boxes (ZeroMQ); `answers` is that for the answers."""
    answers: str = ""
    engines: tuple[EngineAddress, ...] = ()
    """Rule engines, by name."""
    unset_channels: frozenset[str] = frozenset()
    """Channels of notifications for which nothing is configured (`core/notification_channels.py`)."""
    folder: Path | None = None
    """The folder of the embedded store; None where the store is not a folder of this machine."""


def service_addresses(config: CloudConfig) -> ServiceAddresses:
    """The addresses of services, both in `opq-cloud all` and each in a process of its own."""
    data_dir = config.data_dir or default_data_dir()
    watched = [(each.name, each.url) for each in config.health.services]
    if config.health.gateway_endpoint:
        watched.append((GATEWAY, url_of(config.health.gateway_endpoint)))
    own = EngineAddress("makai", health_url(config.triggering_service.rules.http_endpoint))
    named = [EngineAddress(each.name, each.url, each.token_file) for each in config.view.rule_engines]
    folder = config.store.data_dir or data_dir
    return ServiceAddresses(
        health=tuple(watched),
        system=identity_of(data_dir),
        plugin_manager=reachable(config.mauka.plugin_manager_endpoint),
        bus=reachable(config.mauka.bus_sub_endpoint),
        commands=reachable(config.acquisition_broker.request_endpoint),
        answers=reachable(config.acquisition_broker.answer_endpoint),
        engines=tuple(named) or (own,),
        unset_channels=frozenset(name for name, each in CHANNELS.items() if not each.is_set(config)),
        folder=None if config.store.mongo_uri else folder,
    )


def health_url(endpoint: str) -> str:
    """The URL `http://127.0.0.1:8911` of `127.0.0.1:8911` or `*:8911`; a named host stays."""
    plain = endpoint.rpartition("://")[2].rstrip("/")
    return f"http://{_from_here(plain)}"


def reachable(endpoint: str) -> str:
    """The address by which a client on this machine connects to a bound endpoint."""
    scheme, mark, rest = endpoint.rpartition("://")
    return endpoint if scheme == "ipc" else f"{scheme}{mark}{_from_here(rest)}"


def _from_here(address: str) -> str:
    host, colon, port = address.rpartition(":")
    return f"127.0.0.1{colon}{port}" if host in ("", "*", "0.0.0.0", "[::]") else address

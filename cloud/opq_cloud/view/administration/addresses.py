"""Where View finds the services that its pages of administration ask, as the configuration has them.

Short, and not in `config.py`: what View makes of other services' sections is View's own.
"""

from dataclasses import dataclass
from pathlib import Path

from opq_cloud.config import CloudConfig
from opq_cloud.view.administration.rule_engine import EngineAddress
from opq_proto.config import default_data_dir


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """Empty: nobody is asked."""

    health: tuple[tuple[str, str], ...] = ()
    """(name, URL of its health), the whole first: where that answers, nobody else is asked."""
    plugin_manager: str = ""
    """Mauka's, for commands about plug-ins (ZeroMQ)."""
    commands: str = ""
    """The acquisition broker's, for commands to Boxes (ZeroMQ); `answers` likewise."""
    answers: str = ""
    engines: tuple[EngineAddress, ...] = ()
    """Rule engines, by name."""
    mqtt_broker: str = ""
    """Host of the broker that notifications go to; empty: none is set."""
    folder: Path | None = None
    """Folder of the embedded store; None: it is no folder of this machine."""


WHOLE = "opq"


def service_addresses(config: CloudConfig) -> ServiceAddresses:
    """Addresses in `opq-cloud all`, and of the same services each in a process of its own."""
    sections = (
        (WHOLE, config.health.whole_endpoint),
        ("triggering-broker", config.triggering_broker.health_endpoint),
        ("acquisition-broker", config.acquisition_broker.health_endpoint),
        ("makai", config.triggering_service.health_endpoint),
        ("event-service", config.event_service.health_endpoint),
        ("mauka", config.mauka.health_endpoint),
        ("notifications", config.notifications.health_endpoint),
        ("gateway", config.health.gateway_endpoint),
    )
    own = EngineAddress("makai", health_url(config.triggering_service.rules.http_endpoint))
    named = [EngineAddress(each.name, each.url, each.token_file) for each in config.view.rule_engines]
    folder = config.store.data_dir or config.data_dir or default_data_dir()
    return ServiceAddresses(
        health=tuple((name, health_url(endpoint)) for name, endpoint in sections),
        plugin_manager=reachable(config.mauka.plugin_manager_endpoint),
        commands=reachable(config.acquisition_broker.request_endpoint),
        answers=reachable(config.acquisition_broker.answer_endpoint),
        engines=tuple(named) or (own,),
        mqtt_broker=config.notifications.mqtt.host or "",
        folder=None if config.store.mongo_uri else folder,
    )


def health_url(endpoint: str) -> str:
    """`http://127.0.0.1:8911` of `127.0.0.1:8911`, `*:8911`, `http://host:8911`."""
    plain = endpoint.rpartition("://")[2].rstrip("/")
    return f"http://{_from_here(plain)}"


def reachable(endpoint: str) -> str:
    """An address that was bound, as a client on this machine connects to it."""
    scheme, mark, rest = endpoint.rpartition("://")
    return f"{scheme}{mark}{_from_here(rest)}"


def _from_here(address: str) -> str:
    host, colon, port = address.rpartition(":")
    return f"127.0.0.1{colon}{port}" if host in ("", "*", "0.0.0.0", "[::]") else address

"""Makai's services, made from the cloud's configuration; each can run in a process of its own."""

from collections.abc import Callable, Collection, Iterator, Mapping

from opq_cloud.core.service import CloudContext, CloudService, Retention
from opq_cloud.core.settings.config import CloudConfig, CloudKeys
from opq_cloud.makai.acquisition_broker import AcquisitionBroker
from opq_cloud.makai.brokers.broker_traffic import TrafficRecorder
from opq_cloud.makai.brokers.command_numbers import FILE_NAME, CommandNumbers
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store.store import CloudStore
from opq_proto.kit.system_place import default_data_dir

NAMES = ("triggering-broker", "acquisition-broker", "event-service", "triggering-service")
"""In the order of their start: services that bind start before services that connect."""


def services(
    config: CloudConfig, context: CloudContext, names: Collection[str] = NAMES
) -> list[CloudService]:
    """Makes the services of these names, in the order of NAMES. Raises ConfigError or KeyFileError."""
    makers = {
        "triggering-broker": _triggering_broker,
        "acquisition-broker": _acquisition_broker,
        "event-service": _event_service,
        "triggering-service": _triggering_service,
    }
    return [service for name in NAMES if name in names for service in makers[name](config, context)]


def _triggering_broker(config: CloudConfig, context: CloudContext) -> Iterator[CloudService]:
    section = config.triggering_broker
    broker = TriggeringBroker(section, _keys(config), _registry(config, context))
    yield broker
    yield from _traffic(broker, "tb", {"bytes": "passed_bytes"}, section.metrics_interval_s, context)


def _acquisition_broker(config: CloudConfig, context: CloudContext) -> Iterator[CloudService]:
    section = config.acquisition_broker
    numbers = CommandNumbers((config.data_dir or default_data_dir()) / FILE_NAME)
    broker = AcquisitionBroker(section, _keys(config), numbers, _registry(config, context))
    yield broker
    names = {"sent": "sent_bytes", "recv": "received_bytes"}
    yield from _traffic(broker, "ab", names, section.metrics_interval_s, context)


def _event_service(config: CloudConfig, context: CloudContext) -> Iterator[CloudService]:
    yield EventService(config.event_service, context)
    yield Retention(context)


def _triggering_service(config: CloudConfig, context: CloudContext) -> Iterator[CloudService]:
    data_dir = config.data_dir or default_data_dir()
    own, bus = config.triggering_service, config.mauka.bus_pub_endpoint
    yield TriggeringService(own, context, config.nominal, data_dir, bus)


def _keys(config: CloudConfig) -> CloudKeys:
    return CloudKeys(config.keys, config.data_dir or default_data_dir())


def _registry(config: CloudConfig, context: CloudContext) -> Callable[[], CloudStore] | None:
    """Returns the store whose Boxes' keys are admitted, if configured."""
    return (lambda: context.store) if config.keys.white_list else None


def _traffic(
    broker: TriggeringBroker | AcquisitionBroker,
    row_name: str,
    names: Mapping[str, str],
    interval_s: float,
    context: CloudContext,
) -> Iterator[CloudService]:
    """Yields the service that records the broker's traffic in `makai_metrics`, if configured."""
    if interval_s:
        yield TrafficRecorder(broker.name, row_name, broker.counters, names, interval_s, context)

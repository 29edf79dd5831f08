"""Layout: which gateways, Boxes and services of the cloud a world has, and how each is configured. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import tomli_w

from opq_proto.kit import ports
from opq_sim.faults.schedule import DrawnDip, RestartedBox
from opq_sim.foreign.host import COUNTS_PER_VOLT

SERVICES: Final = ("triggering-broker", "acquisition-broker", "triggering-service", "event-service", "mauka")
BROKERS: Final = SERVICES[:2]
MAKAI: Final = ("triggering-service", "event-service")
GUESTS: Final = ("second", "other")
"""Makais that join and leave: on the same store, and with their own store."""
SLOW_NETWORK: Final = -1
"""Number of the network of a slow Box, which lies before network 0."""
RELAYED: Final = ("triggering_box", "command_box", "response_box")
"""Ports of the cloud that Boxes connect to."""
UPLINK_KEYS: Final = dict(
    zip(RELAYED, ("trigger_endpoint", "command_endpoint", "response_endpoint"), strict=True)
)
MODULES: Final = (
    "opq_cloud.__main__",
    "opq_cloud.serving",
    "opq_cloud.makai.makai_service",
    "opq_cloud.makai.triggering_broker",
    "opq_cloud.makai.acquisition_broker",
    "opq_cloud.makai.brokers.broker_traffic",
    "opq_cloud.makai.brokers.command_numbers",
    "opq_cloud.makai.triggering_service",
    "opq_cloud.makai.event_service",
    "opq_cloud.mauka.mauka_service",
)
"""What a process of the cloud loads."""
VIEW_MODULES: Final = (
    "opq_cloud.view.view_service",
    "opq_cloud.view.app",
    "opq_cloud.notifications.notification_service",
)
GATEWAY_MODULES: Final = ("opq_gateway.__main__", "opq_gateway.gateway")

SENT_INTERVALS: Final = ("3s", "10s", "10min", "2h", "disturbances")
"""All that a gateway can send: a world is shorter than ten minutes."""

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a world consists of; each gateway and each service is a process."""

    gateways: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Number -> ids of its Boxes on cables."""
    gateway: Settings = field(default_factory=dict)
    """Settings of each gateway beside its places."""
    services: tuple[str, ...] = SERVICES
    """Commands of `opq-cloud`."""
    cloud: Settings = field(default_factory=dict)
    """Settings of the cloud beside its places."""
    networks: frozenset[int] = frozenset()
    """Networks that can fail, by the number of their gateway; 0: a fleet's."""
    suffers: Literal["", "gateway0", "cloud"] = ""
    """What has the disk that becomes full, and the clock that is stepped."""
    with_gps: frozenset[str] = frozenset()
    in_1970: frozenset[str] = frozenset()
    """Boxes on cables that know the time; that do not even know the year."""
    ahead_s: Mapping[int, float] = field(default_factory=dict)
    """Gateway -> how far its clock is ahead at the start; no time daemon synchronises it."""
    synchronised: frozenset[int] = frozenset()
    """Gateways whose clock a time daemon synchronises."""
    fleet: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Network -> ids of Boxes in closed form."""
    dips: tuple[DrawnDip, ...] = ()
    """Dips that the fleet sees."""
    original: Mapping[str, str] = field(default_factory=dict)
    """Id of a Box of the original -> its generation."""
    box_ahead_s: Mapping[str, float] = field(default_factory=dict)
    """Box with NTP, or of the original -> how far its own clock is ahead at the start."""
    has_peers: bool = False
    """There are hostile peers, which also note what the triggering broker passes on."""
    has_guests: bool = False
    boxes_first: bool = False
    """Boxes on cables have processors of their own: their gateways, which read the lines, have fewer then."""
    by_seed: tuple[RestartedBox, ...] = ()
    """Boxes on cables, and of the original, that start again and again with the same samples."""
    has_view: bool = False
    """What is stored is read from View's API, whatever the store is."""
    has_mongo: bool = False
    """The store is FerretDB."""
    every_sample: bool = False
    """At the end each sample of the Boxes on cables is accounted for."""

    @property
    def on_cables(self) -> tuple[str, ...]:
        return tuple(box_id for box_ids in self.gateways.values() for box_id in box_ids)

    @property
    def in_fleet(self) -> tuple[str, ...]:
        return tuple(box_id for box_ids in self.fleet.values() for box_id in box_ids)

    @property
    def modules(self) -> tuple[str, ...]:
        """What its processes load."""
        more = (GATEWAY_MODULES if self.gateways else (), VIEW_MODULES if self.has_view else ())
        return (*MODULES, *more[0], *more[1])


SCALED_GATEWAY: Final[Settings] = {
    "measurement_cycles": 6,  # ten Measurements a second: in a scaled minute they become a backlog
    # as short as TCP's own time-outs, which are not scaled, allow
    "uplink": {"unacknowledged_s": 2.0, "resend_s": 1.0, "in_flight_s": 0.3, "heartbeat_s": 0.5},
}
"""Time-outs on the scaled clock."""
SCALED_ALL: Final[Settings] = {"triggering_service": {"ack_interval_s": 0.1, "batch_ms": 50}}
SCALED_CLOUD: Final[Settings] = {
    "triggering_service": {
        "ack_interval_s": 0.2,
        "batch_ms": 50,
        "alive_s": 2.0,
        "pre_ms": 500,
        "post_ms": 500,
    },
    "event_service": {"answer_timeout_s": 7.0, "ask_again_s": 2.0, "grouping_s": 2.0},
    "mauka": {"heartbeat_s": 1.0},
}
"""Waveforms are shorter, too, as five Boxes and their world share a process."""
WITHOUT_FLICKER: Final[Settings] = {"measuring": {"flicker": False}}
CLOUD_OF_MANY: Final[Settings] = {
    "triggering_service": {"asking": {"most_boxes": 1}},  # a gateway's dips are its own
    "event_service": {"v_per_lsb_fallback": 1 / COUNTS_PER_VOLT},
}


def write_settings(path: Path, settings: Settings, data_dir: Path, keys: Path) -> list[str]:
    """Writes a configuration; returns the arguments that name it."""
    places = {"data_dir": str(data_dir), "keys": {"folder": str(keys)}}
    path.write_text(tomli_w.dumps({**settings, **places}), encoding="utf-8")
    return ["--config", str(path)]


def gateway_settings(settings: Settings, boxes: Mapping[str, Path], brokers: int) -> Settings:
    """Settings of a gateway with these Boxes' ports.

    Args:
        brokers: port offset of the brokers that it connects to.
    """
    addresses = {key: ports.endpoint(name, brokers) for name, key in UPLINK_KEYS.items()}
    return {
        **settings,
        "uplink": {**settings.get("uplink", {}), **addresses},
        "measuring": {"intervals": SENT_INTERVALS, **settings.get("measuring", {})},
        "box": [{"id": box_id, "port": str(port)} for box_id, port in boxes.items()],
    }


def cloud_settings(settings: Settings) -> Settings:
    """Settings of the cloud whose brokers have ports, where a second Makai and hostile programs find them."""
    more = {
        "triggering_broker": {"backend_endpoint": ports.endpoint("triggering_backend")},
        "acquisition_broker": {
            "request_endpoint": ports.endpoint("command_backend"),
            "answer_endpoint": ports.endpoint("response_backend"),
        },
    }
    return {**settings, **{name: {**settings.get(name, {}), **each} for name, each in more.items()}}


def guest_settings(settings: Settings, brokers: int) -> Settings:
    """Settings of a second Makai at the brokers of that port offset."""
    more = {
        "triggering_service": {
            "measurement_endpoint": ports.endpoint("triggering_backend", brokers),
            "request_endpoint": ports.endpoint("command_backend", brokers),
        },
        "event_service": {
            "answer_endpoint": ports.endpoint("response_backend", brokers),
            "request_endpoint": ports.endpoint("command_backend", brokers),
        },
    }
    return {**settings, **{name: {**settings.get(name, {}), **each} for name, each in more.items()}}

"""Metrics: what `/metrics` shows, for Prometheus: counters per Box, gauges per Box and thread, the process.

Everything is read when it is asked for; the hot paths only count.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain

from opq_gateway.counters import MEANING, Counters
from opq_gateway.local.exposition import Family, exposition
from opq_gateway.local.process import process
from opq_gateway.status import Status
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS

Read = Callable[[], Mapping[str, float | None]]
"""The value per Box or thread; None: not known, left out."""


class Metrics:
    """Counters and gauges; `add` from any thread, at any time."""

    def __init__(self, statuses: Mapping[str, Status], counters: Mapping[str, Counters]) -> None:
        self._counters = counters
        self._gauges: dict[str, tuple[str, str, Read]] = {}
        for name, (meaning, of) in GAUGES.items():
            self.add(name, meaning, partial(_per_box, statuses, of))

    def add(self, name: str, meaning: str, read: Read, label: str = "box_id") -> None:
        """A gauge `opq_gateway_<name>`; `read` is called at each scrape."""
        self._gauges = {**self._gauges, name: (meaning, label, read)}

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return exposition(chain(self._families(), process()))

    def _families(self) -> Iterator[Family]:
        snapshots = {box_id: counters.snapshot() for box_id, counters in self._counters.items()}
        for name, meaning in MEANING.items():
            counts = {box_id: snapshot[name] for box_id, snapshot in snapshots.items()}
            yield Family(f"opq_gateway_{name}_total", "counter", meaning, "box_id", counts)
        for name, (meaning, label, read) in self._gauges.items():
            known = {key: value for key, value in read().items() if value is not None}
            yield Family(f"opq_gateway_{name}", "gauge", meaning, label, known)


def _per_box(statuses: Mapping[str, Status], of: Callable[[Status], float | None]) -> dict[str, float | None]:
    return {box_id: of(status) for box_id, status in statuses.items()}


def _ok(status: Status) -> float:
    return float(status.problem(time.monotonic()) is None)


def _age_s(status: Status) -> float | None:
    return None if status.sample_monotonic_s is None else time.monotonic() - status.sample_monotonic_s


def _held(status: Status) -> float:
    return (
        0.0 if status.held_sequences is None else float(status.held_sequences[1] - status.held_sequences[0])
    )


def _uncertainty_s(status: Status) -> float | None:
    found_ns = status.sample_uncertainty_ns
    return None if found_ns is None or found_ns >= UNKNOWN_UNCERTAINTY_NS else found_ns / 1e9


def _source(status: Status) -> float | None:
    return None if status.sample_source is None else float(status.sample_source)


GAUGES: Mapping[str, tuple[str, Callable[[Status], float | None]]] = {
    "box_ok": ("1 when the Box samples and its uplink stands", _ok),
    "box_sample_age_seconds": ("time since the newest samples came", _age_s),
    "box_uplink_connected": ("1 when all three uplink connections stand", lambda one: float(one.connected)),
    "box_acknowledging": ("1 when the cloud acknowledges what it gets", lambda one: float(one.acknowledging)),
    "box_measurements_held": ("Measurements on disk that are not acknowledged", _held),
    "box_time_uncertainty_seconds": ("bound of the newest sample's time; absent: unknown", _uncertainty_s),
    "box_time_source": ("of that time: 0 free, 1 NTP, 2 holdover, 3 GPS", _source),
    "box_satellites": (
        "satellites that its receiver uses",
        lambda one: one.gps.satellites if one.gps else None,
    ),
    "box_supply_volts": ("the Box's supply", lambda one: one.health.supply_v if one.health else None),
    "box_battery_volts": ("the Box's battery", lambda one: one.health.battery_v if one.health else None),
    "box_temperature_celsius": (
        "inside the Box",
        lambda one: one.health.temperature_c if one.health else None,
    ),
    "box_uptime_seconds": (
        "since the Box's start",
        lambda one: one.health.uptime_ms / 1000 if one.health else None,
    ),
}
"""Name -> its help and what it reads of a Box's status."""

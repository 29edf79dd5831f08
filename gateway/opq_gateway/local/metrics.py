"""Metrics: the text of `/metrics`, for Prometheus: counters per Box, gauges per Box and thread, the process.

Everything is read on request; the hot paths only count.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from opq_gateway.counters import MEANING, BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measured_shares import SPANS, MeasuredShares
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.gps_comparison import GpsComparison, GpsComparisonState
from opq_proto.kit.watchdog import Heartbeats
from opq_proto.link.box_losses import LOSS_WORDS
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS

Read = Callable[[], Mapping[str, float | None]]
"""Returns the value per Box or thread; None: not known, left out."""


class GatewayMetrics:
    """Counters and gauges; `add` from any thread, at any time."""

    def __init__(self, statuses: Mapping[str, BoxStatus], counters: Mapping[str, BoxCounters]) -> None:
        self._counters = counters
        self._gauges: dict[str, tuple[str, str, Read]] = {}
        for name, (meaning, of) in GAUGES.items():
            self.add(name, meaning, partial(_per_box, statuses, of))
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add(self, name: str, meaning: str, read: Read, label: str = "box_id") -> None:
        """Adds a gauge `opq_gateway_<name>`; `read` is called at each scrape."""
        self._gauges = {**self._gauges, name: (meaning, label, read)}

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yields the metrics; prometheus_client calls this on every scrape."""
        snapshots = {box_id: counters.snapshot() for box_id, counters in self._counters.items()}
        for name, meaning in MEANING.items():
            counts = CounterMetricFamily(f"opq_gateway_{name}", meaning, labels=["box_id"])
            for box_id, snapshot in snapshots.items():
                counts.add_metric([box_id], snapshot[name])
            yield counts
        for name, (meaning, label, read) in self._gauges.items():
            gauge = GaugeMetricFamily(f"opq_gateway_{name}", meaning, labels=[label])
            for key, value in read().items():
                if value is not None:
                    gauge.add_metric([key], value)
            yield gauge


def _per_box(
    statuses: Mapping[str, BoxStatus], of: Callable[[BoxStatus], float | None]
) -> dict[str, float | None]:
    return {box_id: of(status) for box_id, status in statuses.items()}


def _ok(status: BoxStatus) -> float:
    return float(status.problem(time.monotonic()) is None)


def _age_s(status: BoxStatus) -> float | None:
    return None if status.sample_monotonic_s is None else time.monotonic() - status.sample_monotonic_s


def measurements_held(status: BoxStatus) -> float:
    """Measurements on disk that the cloud has not acknowledged."""
    return (
        0.0 if status.held_sequences is None else float(status.held_sequences[1] - status.held_sequences[0])
    )


def _uncertainty_s(status: BoxStatus) -> float | None:
    found_ns = status.sample_uncertainty_ns
    return None if found_ns is None or found_ns >= UNKNOWN_UNCERTAINTY_NS else found_ns / 1e9


def _source(status: BoxStatus) -> float | None:
    return None if status.sample_source is None else float(status.sample_source)


def _lost(name: str, status: BoxStatus) -> float | None:
    return status.lost.get(name)


GAUGES: Mapping[str, tuple[str, Callable[[BoxStatus], float | None]]] = {
    "box_ok": ("1 when the Box samples and its uplink is connected", _ok),
    "box_sample_age_seconds": ("time since the newest samples came", _age_s),
    "box_uplink_connected": ("1 when all three uplink connections are up", lambda one: float(one.connected)),
    "box_acknowledging": ("1 when the cloud acknowledges what it gets", lambda one: float(one.acknowledging)),
    "box_measurements_held": ("Measurements on disk that are not acknowledged", measurements_held),
    "box_time_uncertainty_seconds": (
        "uncertainty of the newest sample's time, if known",
        _uncertainty_s,
    ),
    "box_time_source": ("source of that time: 0 free, 1 NTP, 2 holdover, 3 GPS", _source),
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
    **{f"box_lost_{name}": (words, partial(_lost, name)) for name, words in LOSS_WORDS.items()},
}
"""For each name its help text, and what it reads from a Box's status."""


SAMPLE_BYTES = 2


def show_rings(metrics: GatewayMetrics, rings: Mapping[str, Ring], statuses: Mapping[str, BoxStatus]) -> None:
    """Adds bytes, span and compression of each ring."""

    def span_s(ring: Ring) -> float | None:
        span = ring.span()
        return None if span is None else (span.end_ns - span.start_ns) / 1e9

    def ratio(box_id: str, ring: Ring) -> float | None:
        hello, seconds, held_bytes = statuses[box_id].hello, span_s(ring), ring.file_bytes()
        if hello is None or not seconds or not held_bytes:
            return None
        return seconds * hello.rate_millihz / 1000 * SAMPLE_BYTES / held_bytes

    metrics.add(
        "ring_bytes",
        "what the ring takes of the disk",
        lambda: {box_id: float(ring.file_bytes()) for box_id, ring in rings.items()},
    )
    metrics.add(
        "ring_span_seconds",
        "from the oldest to the newest sample held",
        lambda: {box_id: span_s(ring) for box_id, ring in rings.items()},
    )
    metrics.add(
        "ring_compression_ratio",
        "bytes of the span as raw samples, over what the ring takes; gaps count as samples",
        lambda: {box_id: ratio(box_id, ring) for box_id, ring in rings.items()},
    )


def show_gps(metrics: GatewayMetrics, gps: GpsComparison) -> None:
    """Adds the difference of this machine's clocks from GPS, by the Box that is followed; without such a Box
    adds nothing."""

    def of(read: Callable[[GpsComparisonState], float | None]) -> Read:
        def values() -> dict[str, float | None]:
            state = gps.refresh_state()
            return {} if state.box_id is None else {state.box_id: read(state)}

        return values

    def seconds(found_ns: int | None) -> float | None:
        return None if found_ns is None or found_ns >= UNKNOWN_UNCERTAINTY_NS else found_ns / 1e9

    metrics.add(
        "gps_uncertainty_seconds",
        "uncertainty of the GPS time that this Box gives to Boxes without GPS",
        of(lambda state: seconds(state.uncertainty_ns)),
    )
    metrics.add(
        "gps_held",
        "1 while no Box has GPS time, by the last rate",
        of(lambda state: float(state.held)),
    )
    metrics.add(
        "system_clock_offset_seconds",
        "the machine's clock minus GPS time",
        of(lambda state: None if state.system_off_ns is None else state.system_off_ns / 1e9),
    )
    metrics.add(
        "system_clock_drift_ppm",
        "rate of the machine's monotonic clock minus the rate of GPS; absent for the first minute",
        of(lambda state: state.drift_ppm),
    )


def show_shares(metrics: GatewayMetrics, shares: MeasuredShares) -> None:
    """Adds the measured share of the samples of the last hour and day."""
    for span in SPANS:
        meaning = f"measured share of the samples of the last {span}, 0 to 1"
        metrics.add(f"box_measured_share_{span}", meaning, partial(shares.shares, span))


def show_threads(metrics: GatewayMetrics, heartbeats: Heartbeats) -> None:
    """Adds the time since the last turn of each thread's loop."""
    metrics.add("thread_age_seconds", "since the last turn of the thread's loop", heartbeats.ages_s, "thread")


def show_feed(metrics: GatewayMetrics, feed: MeasuredFeed) -> None:
    """Adds what waits for each reader of the feed, and what it lost because it was too slow."""
    metrics.add(
        "feed_waiting",
        "values that wait for this reader",
        lambda: {channel.name: float(len(channel)) for channel in feed.channels},
        "reader",
    )
    metrics.add(
        "feed_dropped",
        "values lost because this reader was too slow; for the set-up page: because no browser showed it",
        lambda: {channel.name: float(channel.dropped) for channel in feed.channels},
        "reader",
    )

"""The stream: makes frames from phasors and disturbances of the feed; without a socket, clocks are handed
in."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from opq_gateway.config import Config
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import DisturbanceNotice, Item, PhasorReport
from opq_gateway.phasors import configuration as configurations
from opq_gateway.phasors.alignment import Alignment, Instant
from opq_gateway.phasors.configuration import PmuStream, data
from opq_gateway.phasors.phasor_frames import Frame, FrameKind, FrameTime, Order, frame_bytes
from opq_gateway.phasors.quality import PhasorTrigger, PmuStatus, in_sync
from opq_measure.synchrophasor.filter import PmuClass
from opq_measure.synchrophasor.pmu import Pmu
from opq_proto.errors import ConfigError
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS

CHANGE_REPORTED_S = 60.0
"""STAT reports a changed configuration for this long."""
TRIGGERS = {
    "dip": PhasorTrigger.MAGNITUDE_LOW,
    "interruption": PhasorTrigger.MAGNITUDE_LOW,
    "swell": PhasorTrigger.MAGNITUDE_HIGH,
}
LOWEST_HZ = 50.0
"""Nominal frequency for which the stream's latency is reported, because it has the longer latency."""
ANSWERS: Mapping[int, FrameKind] = {
    Order.SEND_CONFIGURATION_1: FrameKind.CONFIGURATION_1,
    Order.SEND_CONFIGURATION_2: FrameKind.CONFIGURATION_2,
    Order.SEND_CONFIGURATION_3: FrameKind.CONFIGURATION_3,
}


def stream_of(
    config: Config, statuses: Mapping[str, BoxStatus], counters: Mapping[str, BoxCounters]
) -> "PhasorStream":
    """The stream of a gateway's configuration.

    Raises:
        ConfigError: too many Boxes for the frames of one stream.
    """
    section = config.phasors
    pmu_class = PmuClass(section.pmu_class)
    phases = {box_id: number for group in config.group for number, box_id in enumerate(group.boxes)}
    stations = configurations.stations_of([box.id for box in config.box], phases)
    if len(stations) > configurations.MAX_STATIONS:
        raise ConfigError(
            f"phasors: {len(stations)} Boxes; want at most {configurations.MAX_STATIONS} in one stream"
        )
    latency_s = Pmu(LOWEST_HZ, section.reports_per_s, pmu_class).latency_s
    stream = PmuStream(section.id_code, section.reports_per_s, pmu_class, latency_s, stations)

    def nominal_hz(box_id: str) -> float | None:
        hello = statuses[box_id].hello
        return None if hello is None else hello.nominal_hz

    return PhasorStream(stream, section.wait_s, nominal_hz, lambda name, box_id: counters[box_id].add(name))


class PhasorStream:
    """One C37.118 stream of all Boxes.

    `nominal_hz(box_id)` returns what the Box declared (None: not yet known); `count(name, box_id)` counts
    what is left out.
    """

    def __init__(
        self,
        stream: PmuStream,
        wait_s: float,
        nominal_hz: Callable[[str], float | None],
        count: Callable[[str, str], None],
    ) -> None:
        self.stream = stream
        self._alignment = Alignment([station.box_id for station in stream.stations], wait_s, count)
        self._nominal_hz = nominal_hz
        self._synced_s: dict[str, float] = {}
        self._disturbed: dict[str, set[str]] = {}
        self._changed_s = -math.inf
        self._next_check_s = -math.inf

    def accept_items(self, items: Sequence[Item], now_s: float) -> list[bytes]:
        """Accepts items of the feed; returns the data frames to send now, in order of time."""
        self._check_configuration(now_s)
        for item in items:
            if isinstance(item, PhasorReport):
                self._alignment.accept_phasor(item, now_s)
            elif isinstance(item, DisturbanceNotice):
                self._accept_notice(item)
        return [frame_bytes(self._data(instant, now_s)) for instant in self._alignment.due(now_s)]

    def next_s(self) -> float | None:
        """Monotonic time at which `accept_items` must be called again even without items."""
        return self._alignment.next_s()

    def answer(self, order: int) -> bytes | None:
        """The frame that answers an order; None: the order is not known, or needs no frame."""
        if order == Order.SEND_HEADER:
            return frame_bytes(configurations.header(self.stream, self._now()))
        kind = ANSWERS.get(order)
        if kind is None:
            return None
        return frame_bytes(configurations.configuration(self.stream, kind, self._now()))

    def _now(self) -> FrameTime:
        """Time for a frame without data: the present time of this machine's clock."""
        seconds, rest_ns = divmod(time.time_ns(), 10**9)
        return FrameTime(seconds, rest_ns * self.stream.time_base // 10**9)

    def _check_configuration(self, now_s: float) -> None:
        """Checks once a second for a Box that declares another nominal frequency, which changes the
        configuration."""
        if now_s < self._next_check_s:
            return
        self._next_check_s = now_s + 1.0
        stations = tuple(
            replace(station, nominal_hz=self._nominal_hz(station.box_id) or station.nominal_hz)
            for station in self.stream.stations
        )
        if [station.fnom for station in stations] != [station.fnom for station in self.stream.stations]:
            self.stream = replace(self.stream, stations=stations, change=self.stream.change + 1)
            self._changed_s = now_s

    def _accept_notice(self, notice: DisturbanceNotice) -> None:
        ongoing = self._disturbed.setdefault(notice.box_id, set())
        if notice.entering:
            ongoing.add(notice.kind)
        else:
            ongoing.discard(notice.kind)

    def _data(self, instant: Instant, now_s: float) -> Frame:
        reports = [
            self._report(station.box_id, station.nominal_hz, instant.phasors, now_s)
            for station in self.stream.stations
        ]
        return data(self.stream, instant.t_ns, reports)

    def _report(
        self, box_id: str, nominal_hz: float, phasors: Mapping[str, PhasorReport], now_s: float
    ) -> tuple[PhasorReport | None, PmuStatus]:
        phasor = phasors.get(box_id)
        synced = phasor is not None and in_sync(phasor.source, phasor.uncertainty_ns, nominal_hz)
        if synced:
            self._synced_s[box_id] = now_s
        kinds = [TRIGGERS[kind] for kind in self._disturbed.get(box_id, ()) if kind in TRIGGERS]
        standing = PmuStatus(
            there=phasor is not None and phasor.known,
            in_sync=synced,
            uncertainty_ns=UNKNOWN_UNCERTAINTY_NS if phasor is None else phasor.uncertainty_ns,
            unlocked_s=now_s - self._synced_s.get(box_id, -math.inf),
            trigger=min(kinds, default=None),
            configuration_changed=now_s - self._changed_s < CHANGE_REPORTED_S,
        )
        return phasor, standing

"""One Box's uplink and its queue over real sockets, for tests."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from in_thread import in_thread
from waiting import wait_for

from opq_gateway.config import IdleSection
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.uplink.box_uplink import BoxUplink, UplinkTimeouts
from opq_gateway.uplink.connection import Endpoints, Timing, UplinkPlace, UplinkPlaces
from opq_gateway.uplink.queue import Queue
from opq_gateway.uplink.uplink import Uplink
from opq_proto.keys.key_files import KeyFolder, read_key_file, read_secret_file
from opq_proto.link.messages import Crossing, CrossingKind
from opq_proto.messages import Measurement, Metric, TimeSource

SECOND_NS = 10**9
DIP = Crossing(5, 1_800_000_100 * SECOND_NS, 7, TimeSource.GPS, CrossingKind.DIP, True, 80.0, 108.0)
NEVER_S = 600.0
"""Longer than any test: a machine that stops for seconds is not a broker that says nothing."""
PATIENT = UplinkTimeouts(unacknowledged_s=NEVER_S, resend_s=NEVER_S, in_flight_s=0.1)


def measurement(number: int) -> Measurement:
    """The window of second `number`."""
    metrics = {
        "rms": Metric(119.9, 120.1, 120.0),
        "f": Metric(59.99, 60.01, 60.0),
        "thd": Metric(0.02, 0.021, 0.0205),
        "trans": Metric(1.0, 1.5, 1.2),
    }
    start_ns = 1_800_000_000 * SECOND_NS + number * SECOND_NS
    end_ns = start_ns + SECOND_NS
    return Measurement(
        "1",
        end_ns // 10**6,
        metrics,
        start_ns,
        end_ns,
        1000,
        TimeSource.GPS,
        nominal_v=120.0,
        nominal_hz=60.0,
    )


class Bench:
    """One Box's uplink and its queue; a second `start` is a restart of the gateway."""

    def __init__(
        self,
        folder: Path,
        makai: Any,
        keys: KeyFolder,
        endpoints: Mapping[str, str] | None = None,
        idle: IdleSection | None = None,
        timing: Timing | None = None,
        crossings: str = "auto",
        timeouts: UplinkTimeouts = PATIENT,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._makai, self._keys = folder, makai, keys
        self._endpoints, self._idle = endpoints or makai.endpoints, idle
        self._timing, self._crossings = timing or Timing(0.3, NEVER_S), crossings
        self._timeouts = timeouts
        self.counters, self.status = BoxCounters(), BoxStatus("1", 60)
        self.queue, self.uplink = self._made()

    def _made(self) -> tuple[Queue, Uplink]:
        queue = Queue(self._folder / "queue.sqlite", {"1": self.counters}, now_ms=1000, hold_s=1.0)
        names = self._endpoints
        endpoints = Endpoints(
            names["trigger_endpoint"], names["command_endpoint"], names["response_endpoint"]
        )
        server_key = read_key_file(self._keys.server_public).public
        uplink = Uplink(
            UplinkPlaces(UplinkPlace(endpoints, server_key), lambda box_id: self._folder),
            queue,
            100,
            lambda box_id, data: None,
            self._timing,
            self._timeouts,
            200.0,
            self._idle,
            self._crossings,
        )
        uplink.add("1", read_secret_file(self._keys.box_secret("1")), self.counters, self.status)
        return queue, uplink

    @contextmanager
    def running(self, connected: bool = True) -> Iterator["Bench"]:
        with in_thread(self.uplink.run):
            if connected:
                wait_for(lambda: self.status.connected)
            yield self

    @property
    def line(self) -> BoxUplink:
        return self.uplink._lines["1"]

    @property
    def crossings_sent(self) -> int:
        return self.counters["crossings_sent"]

    def restart(self, crossings: str = "auto") -> None:
        self._crossings = crossings
        self.uplink.close()
        self.queue.close()
        self.queue, self.uplink = self._made()

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            self.uplink.publish("1", measurement(number))

    def first_tries(self) -> int:
        return sum(self.counters[f"measurements_{what}"] for what in ("sent", "unheard", "delayed"))

    def numbers(self, backfilled: bool | None = None) -> list[int]:
        """The seconds that arrived, in order of arrival."""
        first = measurement(0).start_ns or 0
        return [
            ((m.start_ns or 0) - first) // SECOND_NS
            for m in self._makai.decoded()
            if backfilled is None or m.backfilled == backfilled
        ]

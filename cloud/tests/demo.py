"""A View with data to show: the sag of the default scenario, and three Boxes that go on measuring.

It needs no Box, no broker and no network. The per-cycle figures are those published with event 9354
(openpowerquality/article2020, dissertation-negrashov): Box 1 falls to 85 % for nine cycles under the limit,
Box 4 to 93 %; Box 2 is made up.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq
from numpy.typing import NDArray

from opq_cloud.core.backend.waits import PollableEvent
from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.incidents.join_plan import JoinPlan, KnownFinding
from opq_cloud.view.view_service import View
from opq_cloud.view.web import dear_work
from opq_measure.events.disturbances import find_disturbances
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.measurement.wire import measurement_to_wire
from opq_proto.messages import (
    Finding,
    Incident,
    Measurement,
    Metric,
    StoredFinding,
    TimeSource,
    Trigger,
    Waveform,
)
from opq_proto.wire import frames as wire
from opq_proto.wire import mauka_pb2

dear_work.NICENESS = 0
"""As what tests beside it do: on a busy machine View's processes for dear work would get no time."""
RATE_HZ = 12_000.0
NOMINAL_V, NOMINAL_HZ, GRID_HZ = 120.0, 60.0, 59.983
UNCERTAINTY_NS = 1_200_000
# fmt: off
DIP_BOX_1 = (112.35, 106.43, 104.38, 103.47, 102.93, 102.41, 102.22, 102.36, 105.35,
             107.29, 116.49, 119.61, 120.99)
# fmt: on
DIP_BOX_4 = (115.38, 113.90, 113.03, 112.44, 112.13, 111.85, 111.61, 111.88, 113.16, 114.77, 119.64, 120.87)
"""Vrms of each cycle of the dip, from the recordings' README."""


@dataclass(frozen=True, slots=True)
class DemoOutlet:
    """A Box and the voltage at its outlet."""

    box_id: str
    name: str
    steady_v: float
    thd: float
    harmonics: tuple[tuple[int, float], ...]
    """(order, share of the fundamental)"""
    dip_v: tuple[float, ...] = ()


OUTLETS = (
    DemoOutlet("1", "Box 1", 122.20, 0.0298, ((3, 0.0198), (5, 0.0199), (9, 0.008)), DIP_BOX_1),
    DemoOutlet("2", "workshop", 119.85, 0.0214, ((3, 0.012), (5, 0.017))),
    DemoOutlet("4", "Box 4", 122.37, 0.0272, ((3, 0.0233), (9, 0.0106), (7, 0.0049)), DIP_BOX_4),
)


def volts_of(outlet: DemoOutlet, seconds: float, dip_cycle: int) -> NDArray[np.float64]:
    """(n,) volts: steady, with the dip from `dip_cycle` on; each cycle has exactly its given rms."""
    turns = np.arange(round(seconds * RATE_HZ)) * (GRID_HZ / RATE_HZ)
    per_cycle = np.full(int(turns[-1]) + 2, outlet.steady_v)
    per_cycle[dip_cycle : dip_cycle + len(outlet.dip_v)] = outlet.dip_v
    shape = np.sin(2 * np.pi * turns)
    for order, share in outlet.harmonics:
        shape += share * np.sin(2 * np.pi * order * turns + order)
    shape *= math.sqrt(2.0 / (1.0 + sum(share**2 for _, share in outlet.harmonics)))
    volts: NDArray[np.float64] = shape * per_cycle[turns.astype(int)]
    return volts


def waveform_of(outlet: DemoOutlet, start_ns: int, seconds: float = 2.0, dip_cycle: int = 60) -> Waveform:
    """The volts of `volts_of` with noise, as counts of a Box, 6.8 mV each."""
    v_per_lsb = 0.0068
    noise = np.random.default_rng(int(outlet.box_id)).normal(0.0, 0.15, round(seconds * RATE_HZ))
    counts = np.round((volts_of(outlet, seconds, dip_cycle) + noise) / v_per_lsb).astype(np.int16)
    return Waveform(
        outlet.box_id, start_ns, UNCERTAINTY_NS, TimeSource.NTP, round(RATE_HZ * 1000), v_per_lsb, 0, counts
    )


def findings_in(waves: Sequence[Waveform]) -> list[Finding]:
    """The disturbances that the measurement core finds, as Mauka stores them."""
    return [
        Finding(
            kind=item.kind,
            box_id=wave.box_id,
            start_ns=wave.time_ns(item.start_sample),
            end_ns=wave.time_ns(item.end_sample),
            uncertainty_ns=wave.uncertainty_ns,
            closed=not item.open,
            residual_v=item.residual_v,
            residual_percent=item.residual_percent,
            duration_cycles=item.duration_cycles,
            ieee1159=item.ieee1159,
            itic=item.itic,
            semi_f47=item.semi_f47,
            confidence=item.confidence,
            because=item.because,
        )
        for wave in waves
        for item in find_disturbances(wave.volts, wave.rate_hz, NOMINAL_V, NOMINAL_HZ)
    ]


def put_together(store: CloudStore, event_id: int, findings: Sequence[Finding]) -> Sequence[StoredFinding]:
    """Stores all findings as one new incident: Mauka, which joins them, is not in this room."""
    known = tuple(
        KnownFinding(-number, -1, (event_id,), one, leads=number == 1)
        for number, one in enumerate(findings, start=1)
    )
    while True:
        done = store.carry_out(JoinPlan(store.join_revision(), event_id, written=known, answer=known))
        if done is not None:
            return done.stored


def put_event(
    store: CloudStore,
    waves: Sequence[Waveform],
    token: str,
    put: Callable[[CloudStore, int, Sequence[Finding]], Sequence[StoredFinding]] = put_together,
) -> Incident | None:
    """Stores an event with waveforms and findings, as Makai and Mauka do; `put` stores the findings."""
    box_ids = tuple(wave.box_id for wave in waves)
    because = "threshold: rms 102.2 V at Box 1, limit 108.0 V"
    first, last = waves[0].start_ns, waves[0].end_ns
    event_id = store.open_event(Trigger(token, first, last, box_ids, box_ids[0], because), because)
    for wave in waves:
        store.put_waveform(event_id, wave)
    store.finish_event(event_id)
    stored = put(store, event_id, findings_in(waves))
    store.mark_analysed(event_id)
    return store.incident(stored[0].incident_id) if stored else None


def measurement_of(outlet: DemoOutlet, t_ms: int, sequence: int, low_v: float | None = None) -> Measurement:
    """One second of an outlet that varies a little; `low_v` is the lowest half cycle of a dip in it."""
    wander = 0.25 * math.sin(t_ms / 41_000 + len(outlet.name)) + 0.1 * math.sin(t_ms / 7_300)
    rms_v = outlet.steady_v + wander
    f_hz = GRID_HZ + 0.012 * math.sin(t_ms / 53_000) + 0.003 * math.sin(t_ms / 3_100)
    thd = outlet.thd * (1 + 0.03 * math.sin(t_ms / 67_000))
    return Measurement(
        box_id=outlet.box_id,
        timestamp_ms=t_ms,
        metrics={
            "rms": Metric(low_v or rms_v - 0.12, rms_v + 0.11, rms_v if low_v is None else rms_v - 2.6),
            "f": Metric(f_hz - 0.004, f_hz + 0.004, f_hz),
            "thd": Metric(thd * 0.98, thd * 1.02, thd),
            "trans": Metric(1.1, 2.4, 1.6),
        },
        start_ns=(t_ms - 1000) * 1_000_000,
        end_ns=t_ms * 1_000_000,
        uncertainty_ns=UNCERTAINTY_NS,
        source=TimeSource.NTP,
        sequence=sequence,
    )


def fill(store: CloudStore, now_ns: int, minutes: int = 60) -> Incident | None:
    """Stores Boxes, an hour of measurements, and the sag, which is two minutes old."""
    sag_ns = now_ns - 120_000_000_000
    for outlet in OUTLETS:
        store.put_box(BoxRecord(outlet.box_id, outlet.name, calibration_constant=1 / 0.0068))
    now_ms, sag_ms = now_ns // 1_000_000, sag_ns // 1_000_000
    count = minutes * 60
    for outlet in OUTLETS:
        times = [now_ms - (count - k) * 1000 for k in range(count)]
        dip_v = min(outlet.dip_v, default=None)
        store.append_measurements(
            measurement_of(outlet, t_ms, k + 1, dip_v if 0 <= t_ms - sag_ms - 2000 < 1000 else None)
            for k, t_ms in enumerate(times)
        )
    return put_event(store, [waveform_of(outlet, sag_ns) for outlet in OUTLETS], "demo-sag")


class Scene:
    """A View over a store in `folder` or MongoDB, with sockets as a broker and Mauka's bus have them."""

    def __init__(
        self,
        folder: Path,
        http_endpoint: str = "127.0.0.1:0",
        poll_s: float = 1.0,
        keys: KeyFolder | None = None,
        addresses: ServiceAddresses | None = None,
        mongo_uri: str | None = None,
    ) -> None:
        self.store = open_store(mongo_uri, folder)
        self.keys = keys
        self._zmq = zmq.Context()
        self._stop = PollableEvent()
        self._ready = threading.Event()
        self._measurements, measurement_endpoint = self._publisher()
        self._bus, bus_endpoint = self._publisher()
        self.config = ViewSection(
            http_endpoint=http_endpoint,
            measurement_endpoint=measurement_endpoint,
            bus_endpoint=bus_endpoint,
            poll_s=poll_s,
        )
        shared = CloudContext(lambda: self.store)
        self.view = View(self.config, shared, keys=keys, addresses=addresses)
        self.view.seeded_s = 240.0  # the first page has what the store has, however busy the machine is
        self._thread = threading.Thread(target=self._run, name="view")
        self.failure: BaseException | None = None

    @property
    def url(self) -> str:
        return self.view.url or ""

    def __enter__(self) -> "Scene":
        """Starts View. Raises what `View.run` raised when it could not start."""
        self._thread.start()
        while not self._ready.wait(0.02):
            if not self._thread.is_alive():
                self.close()
                raise self.failure or RuntimeError("View ended before it was ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> float:
        """Stops View. Returns the seconds that it needed."""
        began = time.monotonic()
        self._stop.set()
        self._thread.join(240)
        return time.monotonic() - began

    def close(self) -> None:
        self.stop()
        self._zmq.destroy(linger=0)
        self.store.close()

    def publish(self, *measurements: Measurement) -> None:
        """Sends Measurements like the triggering broker on 9881."""
        for item in measurements:
            self._measurements.send_multipart([wire.topic(item.box_id), measurement_to_wire(item)])

    def publish_frames(self, frames: list[bytes]) -> None:
        """Sends any frames on the measurements' socket."""
        self._measurements.send_multipart(frames)

    def announce(self, finding_id: int) -> None:
        """Announces a finding like Mauka after storing one (docs/reference/opq-interop.md E.2)."""
        message = mauka_pb2.MaukaMessage(timestamp_ms=time.time_ns() // 1_000_000, source="demo")
        message.laha.gc_update.from_domain = mauka_pb2.INCIDENTS
        message.laha.gc_update.id = finding_id
        self._bus.send_multipart([b"laha_gc", message.SerializeToString()])

    def publish_notice(self, notice: str) -> None:
        """Sends a notice like Mauka on topic `incident`."""
        message = mauka_pb2.MaukaMessage(source="demo", incident_json=notice)
        self._bus.send_multipart([b"incident", message.SerializeToString()])

    def _publisher(self) -> "tuple[zmq.Socket[bytes], str]":
        socket = self._zmq.socket(zmq.PUB)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        return socket, f"tcp://127.0.0.1:{port}"

    def _run(self) -> None:
        try:
            self.view.run(self._stop, self._ready)
        except OpqError as error:
            self.failure = error

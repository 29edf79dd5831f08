"""Waveforms of events on Mauka's bus, as the original's plug-ins read them.

On `MakaiEvent`: per Box and contiguous piece one payload each on `AdcSamples` (counts), `RawVoltage`
(volts), `RmsWindowedVoltage` (volts, per 200 samples; a shorter last piece counts as a value) and
`windowed_frequency` (hertz, per whole 200 samples; NaN where there is no sine: a single NaN empties the
original's whole list). An event of ours is complete when it is announced: it waits half a second instead
of the original's 10 s, while its incident is made. An event of an original event service is waited for
(`original_events`), and a late Box is sent alone. Source: docs/reference/opq-interop.md E.3, MakaiEvent; B.2,
Payload.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from numpy.typing import NDArray

from opq_cloud.mauka.bus.bus_messages import (
    ADC_SAMPLES,
    MAKAI_EVENT,
    RAW_VOLTAGE,
    RMS_WINDOWED_VOLTAGE,
    WINDOWED_FREQUENCY,
    payload,
)
from opq_cloud.mauka.bus_plugins.other_mauka import OtherMauka
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.mauka.running.events.waiting_events import OriginalEvents
from opq_cloud.store.store import CloudStore
from opq_measure.original.cycles import fitted_cycles_hz, window_rms_v
from opq_proto.messages import Waveform
from opq_proto.wire import mauka_pb2
from opq_proto.wire.mauka_pb2 import MaukaMessage

AFTER_S = 0.5
"""Payloads of 3 s take 17 ms of the processor that AnalysisRunner shares; an incident has priority."""
MAX_WAITING = 1000
"""Events that wait; beyond this number the oldest is sent at once."""


class MakaiEventPlugin(MaukaPlugin):
    """The original's plug-in of this name."""

    NAME = "MakaiEventPlugin"
    GIVES = (ADC_SAMPLES, RAW_VOLTAGE, RMS_WINDOWED_VOLTAGE, WINDOWED_FREQUENCY)

    def __init__(
        self, config: PluginConfig, store: Callable[[], CloudStore], other: OtherMauka | None = None
    ) -> None:
        """`other`: where its MakaiEventPlugin is alive, that one publishes, and this one does not."""
        super().__init__(config, [MAKAI_EVENT], MakaiEventPlugin.NAME)
        self._store = store
        self._other = other or OtherMauka()
        self._waiting: deque[tuple[float, int, Collection[str]]] = deque()
        """When it is due, event id, Boxes."""
        self._originals = OriginalEvents(store, self.counters)

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Queues an event; one that is not in the store yet is an original event service's, or unknown."""
        event_id = mauka_message.makai_event.event_id
        record = self._store().event_record(event_id)
        if record is None or record.original:
            self._originals.add_event(event_id)
        else:
            self._waiting.append((time.monotonic() + AFTER_S, event_id, record.boxes_received))

    def on_idle(self) -> bool:
        """Publishes the event that has waited, and new Boxes of original events."""
        now_s = time.monotonic()
        if self._waiting and (self._waiting[0][0] <= now_s or len(self._waiting) > MAX_WAITING):
            _, waited_id, boxes = self._waiting.popleft()
            self._produce_event(waited_id, boxes)
        for event_id, box_ids in self._originals.ready():
            self._produce_event(event_id, box_ids)
        return bool(self._waiting) and self._waiting[0][0] <= now_s

    def idle_due_s(self) -> float:
        """Returns the seconds until an event has waited, or an original one may be complete."""
        waited_s = self._waiting[0][0] - time.monotonic() if self._waiting else math.inf
        return min(waited_s, self._originals.due_s)

    def _produce_event(self, event_id: int, box_ids: Collection[str]) -> None:
        if self.name in self._other.names():
            self.counters.add("left_to_another")
            return
        event = self._store().event(event_id)
        for wave in event.waveforms if event is not None else ():
            if wave.box_id in box_ids:
                for run in wave.runs():
                    self._produce_run(event_id, run)

    def _produce_run(self, event_id: int, run: Waveform) -> None:
        volts = run.volts
        parts: tuple[tuple[str, mauka_pb2.PayloadType, NDArray[Any]], ...] = (
            (ADC_SAMPLES, mauka_pb2.ADC_SAMPLES, run.counts),
            (RAW_VOLTAGE, mauka_pb2.VOLTAGE_RAW, volts),
            (RMS_WINDOWED_VOLTAGE, mauka_pb2.VOLTAGE_RMS_WINDOWED, window_rms_v(volts)),
            (WINDOWED_FREQUENCY, mauka_pb2.FREQUENCY_WINDOWED, fitted_cycles_hz(volts, run.rate_hz)),
        )
        if not run.gain_known:  # an original plug-in judges these volts
            parts = tuple(part for part in parts if part[0] not in (RAW_VOLTAGE, RMS_WINDOWED_VOLTAGE))
        span_ms = (run.start_ns // 1_000_000, run.end_ns // 1_000_000)
        for topic, kind, data in parts:
            self.produce(topic, payload(event_id, run.box_id, data, kind, span_ms, self.name))

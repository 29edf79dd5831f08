"""Waveforms on the bus, so that plug-ins of the original form have something to work on.

On `MakaiEvent`: per Box and contiguous piece one payload each on `AdcSamples` (counts),
`RawVoltage` (volts) and `RmsWindowedVoltage` (volts, per 200 samples; a shorter last piece
counts as a value). The event is complete when it is announced, so nothing waits the original's
10 s. Source: opq-interop E.3, MakaiEvent; B.2, Payload.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_cloud.mauka.messages import ADC_SAMPLES, MAKAI_EVENT, RAW_VOLTAGE, RMS_WINDOWED_VOLTAGE, payload
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.store.store import CloudStore
from opq_proto import mauka_pb2
from opq_proto.mauka_pb2 import MaukaMessage
from opq_proto.messages import Waveform
from opq_proto.wire import CYCLE_SAMPLES


class MakaiEventPlugin(MaukaPlugin):
    """The original's plug-in of this name, without its frequency fits."""

    NAME = "MakaiEventPlugin"

    def __init__(self, config: PluginConfig, store: Callable[[], CloudStore]) -> None:
        super().__init__(config, [MAKAI_EVENT], MakaiEventPlugin.NAME)
        self._store = store

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Unknown events are counted; one that an original event service announces too early is unknown."""
        event = self._store().event(mauka_message.makai_event.event_id)
        if event is None:
            self.counters.add("unknown_events")
            return
        for wave in event.waveforms:
            for run in wave.runs():
                self._produce_run(event.event_id, run)

    def _produce_run(self, event_id: int, run: Waveform) -> None:
        volts = run.volts
        parts: tuple[tuple[str, mauka_pb2.PayloadType, NDArray[Any]], ...] = (
            (ADC_SAMPLES, mauka_pb2.ADC_SAMPLES, run.counts),
            (RAW_VOLTAGE, mauka_pb2.VOLTAGE_RAW, volts),
            (RMS_WINDOWED_VOLTAGE, mauka_pb2.VOLTAGE_RMS_WINDOWED, window_rms_v(volts)),
        )
        span_ms = (run.start_ns // 1_000_000, run.end_ns // 1_000_000)
        for topic, kind, data in parts:
            self.produce(topic, payload(event_id, run.box_id, data, kind, span_ms, self.name))


def window_rms_v(volts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(ceil(n / 200),) float64, volts: rms per fixed 200 samples, the last of what is left."""
    starts = np.arange(0, len(volts), CYCLE_SAMPLES)
    sums = np.add.reduceat(volts * volts, starts) if len(starts) else np.zeros(0)
    lengths = np.diff(np.append(starts, len(volts)))
    return np.asarray(np.sqrt(sums / lengths), dtype=np.float64)

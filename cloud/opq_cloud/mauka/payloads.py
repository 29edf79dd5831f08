"""Waveforms on the bus, so that plug-ins of the original form have something to work on.

On `MakaiEvent`: per Box and contiguous piece one payload each on `AdcSamples` (counts),
`RawVoltage` (volts), `RmsWindowedVoltage` (volts, per 200 samples; a shorter last piece
counts as a value) and `windowed_frequency` (hertz, per whole 200 samples; NaN where there is no sine: one of
them empties the original's whole list). An event of ours is complete when it is announced, so nothing waits
the original's 10 s; one of an original event service is awaited (`original_events`), and a late Box is sent
alone. Source: opq-interop E.3, MakaiEvent; B.2, Payload.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_cloud.mauka.messages import (
    ADC_SAMPLES,
    MAKAI_EVENT,
    RAW_VOLTAGE,
    RMS_WINDOWED_VOLTAGE,
    WINDOWED_FREQUENCY,
    payload,
)
from opq_cloud.mauka.original_events import OriginalEvents
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.store.store import CloudStore
from opq_proto import mauka_pb2
from opq_proto.mauka_pb2 import MaukaMessage
from opq_proto.messages import Waveform
from opq_proto.wire import CYCLE_SAMPLES

STEPS = 8
"""Steps of Gauss and Newton; a sine with 5 % of harmonics is at its end after 4."""
FARTHEST_HZ = 20.0
LEAST_PU = 0.05
"""Below this share of the median amplitude there is no sine to be fitted."""
LOWEST_HZ, HIGHEST_HZ = 40.0, 70.0


class MakaiEventPlugin(MaukaPlugin):
    """The original's plug-in of this name."""

    NAME = "MakaiEventPlugin"
    GIVES = (ADC_SAMPLES, RAW_VOLTAGE, RMS_WINDOWED_VOLTAGE, WINDOWED_FREQUENCY)

    def __init__(self, config: PluginConfig, store: Callable[[], CloudStore]) -> None:
        super().__init__(config, [MAKAI_EVENT], MakaiEventPlugin.NAME)
        self._store = store
        self._originals = OriginalEvents(store, self.counters)

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """An event that is not there yet is an original event service's, or nobody's."""
        event_id = mauka_message.makai_event.event_id
        record = self._store().event_record(event_id)
        if record is None or record.original:
            self._originals.add_event(event_id)
        else:
            self._produce_event(event_id, record.boxes_received)

    def on_idle(self) -> bool:
        """What has come of original events since."""
        for event_id, box_ids in self._originals.ready():
            self._produce_event(event_id, box_ids)
        return False

    def _produce_event(self, event_id: int, box_ids: Collection[str]) -> None:
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
        span_ms = (run.start_ns // 1_000_000, run.end_ns // 1_000_000)
        for topic, kind, data in parts:
            self.produce(topic, payload(event_id, run.box_id, data, kind, span_ms, self.name))


def window_rms_v(volts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(ceil(n / 200),) float64, volts: rms per fixed 200 samples, the last of what is left."""
    starts = np.arange(0, len(volts), CYCLE_SAMPLES)
    sums = np.add.reduceat(volts * volts, starts) if len(starts) else np.zeros(0)
    lengths = np.diff(np.append(starts, len(volts)))
    return np.asarray(np.sqrt(sums / lengths), dtype=np.float64)


def fitted_cycles_hz(volts: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """(n // 200,) float64, hertz: the frequency of the sine and constant that fit each 200 samples best.

    NaN where there is none: an amplitude below LEAST_PU of the median one, or a fit that does not settle.
    Error: one cycle with noise of 30 dB has a standard deviation of 0.09 Hz (test_mauka_payloads.py).
    Source: opq-interop E.3, MakaiEvent; IEEE 1057-2017, 5.3 (four parameters).
    """
    count = len(volts) // CYCLE_SAMPLES
    if not count:
        return np.zeros(0)
    windows = volts[: count * CYCLE_SAMPLES].reshape(count, CYCLE_SAMPLES)
    at_s = (np.arange(CYCLE_SAMPLES) - (CYCLE_SAMPLES - 1) / 2) / rate_hz
    start_hz = _strongest_hz(volts, rate_hz)
    omega = np.full((count, 1), 2 * np.pi * start_hz)
    change = np.zeros_like(omega)
    amplitude, found = np.zeros(count), np.zeros((count, 3))
    for step in range(STEPS):
        cosine, sine = np.cos(omega * at_s), np.sin(omega * at_s)
        columns = [cosine, sine, np.ones_like(cosine)]
        if step:
            columns.append(at_s * (found[:, 1:2] * cosine - found[:, 0:1] * sine))
        design = np.stack(columns, axis=2)
        gram = np.swapaxes(design, 1, 2) @ design
        gram += np.eye(gram.shape[1]) * 1e-12 * np.trace(gram, axis1=1, axis2=2)[:, None, None]
        found = np.linalg.solve(gram, (np.swapaxes(design, 1, 2) @ windows[:, :, None]))[:, :, 0]
        amplitude = np.hypot(found[:, 0], found[:, 1])
        if step:
            change = np.clip(found[:, 3:4], -2 * np.pi * 5, 2 * np.pi * 5)
            omega = omega + change
    hz = omega[:, 0] / (2 * np.pi)
    settled = (np.abs(change[:, 0]) < 0.05) & (np.abs(hz - start_hz) < FARTHEST_HZ)
    there = amplitude > LEAST_PU * np.median(amplitude)
    return np.where(settled & there, hz, np.nan)


def _strongest_hz(volts: NDArray[np.float64], rate_hz: float) -> float:
    """The strongest line of the whole piece where mains are, to within a bin: where the fits begin."""
    spectrum = np.abs(np.fft.rfft((volts - volts.mean()) * np.hanning(len(volts)), 4 * len(volts)))
    bins_hz = np.fft.rfftfreq(4 * len(volts), 1 / rate_hz)
    mains = (bins_hz >= LOWEST_HZ) & (bins_hz <= HIGHEST_HZ)
    return float(bins_hz[mains][np.argmax(spectrum[mains])]) if mains.any() else 60.0

"""One of two events that lie over one another: what its incident was at one Box, and how it is laid."""

from dataclasses import dataclass

from opq_cloud.store.incidents.box_events import naming_event
from opq_cloud.view.pages.drawing.charts import ChartLine
from opq_cloud.view.pages.examine import drawing, signal_figures
from opq_cloud.view.pages.examine.signals import BoxSignal
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_measure.waveform.over_one_another import last_rising_crossing
from opq_proto.messages import Incident

RMS_POINTS = 20_000
STEADY_CYCLES = 4.0
"""So long before the event the phase is read, where the disturbance does not bend it."""


@dataclass(frozen=True, slots=True)
class LaidEvent:
    """What an incident was at one Box, with the moment that is 0 ms of the axis."""

    incident: Incident
    box: ShownBox
    signal: BoxSignal
    origin_ns: int
    label: str

    @property
    def length_s(self) -> float:
        return naming_event(self.incident).length_ns / 1e9

    def wave(self, start_ms: float, end_ms: float, scale: float) -> list[ChartLine]:
        found = signal_figures.wave_lines(self.signal, start_ms, end_ms, self.origin_ns, 2 * drawing.POINTS)
        return [ChartLine(each.t_ms, each.values * scale / self.box.nominal_v) for each in found]

    def rms(self, start_ms: float, end_ms: float) -> list[ChartLine]:
        """In parts of the nominal voltage."""
        found = signal_figures.rms_lines(self.signal, start_ms, end_ms, self.origin_ns, RMS_POINTS)
        return [ChartLine(each.t_ms, each.values / self.box.nominal_v) for each in found]


def crossing_ns(signal: BoxSignal, begun_ns: int, nominal_hz: float) -> int:
    """The last rising zero crossing before an event; its beginning if none is known."""
    at_ms = -STEADY_CYCLES * 1e3 / nominal_hz
    read = signal_figures.reading(signal, at_ms, begun_ns)
    if read.phase_deg is None:
        return begun_ns
    return begun_ns + round(
        last_rising_crossing(at_ms, read.phase_deg, 1e3 / (read.f_hz or nominal_hz)) * 1e6
    )

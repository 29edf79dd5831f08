"""SampledStretch: class A of a Box while something changes at its outlet, measured from its samples.

samples -> BoxMeter (the gateway's) -> windows with their flags, dips, swells, interruptions
        -> Sensation (the flickermeter's) -> Pinst
"""

from collections.abc import Callable

import numpy as np

from opq_gateway.measuring.box_meter import BoxMeter, cut_all
from opq_gateway.measuring.feed import DISTURBANCES, DisturbanceNotice, Values
from opq_gateway.measuring.measuring_plan import MeasuringPlan, Sinks
from opq_gateway.measuring.window_figures import figures_of
from opq_measure.flicker.lamps import lamp_for
from opq_measure.flicker.meter import KEPT_HZ
from opq_measure.flicker.sensation import SETTLE_S, Sensation
from opq_measure.timebase.window import Window
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.source import SampleSource
from opq_sim.mains.profiles import FloatArray


class SampledStretch:
    """One run of samples; call `push_until` as time advances, and `end` once.

    Attributes:
        next_sample: the first one that was not pushed.
        windows: measured since they were taken; `pinst` likewise, with the UTC of its first value.
        disturbances: as the gateway's ledger has them, those under way too.
        under_way: whether a dip, swell or interruption goes on.
    """

    def __init__(self, box_id: str, source: SampleSource, stamps: BoxStamps, first_sample: int) -> None:
        self.next_sample = first_sample
        self.windows: list[Values] = []
        self.disturbances: list[Values] = []
        self.pinst: list[tuple[int, FloatArray]] = []
        self._source, self._stamps, self._first = source, stamps, first_sample
        self._open: set[str] = set()
        plan = MeasuringPlan(box_id, source.nominal_v, source.nominal_hz, flicker=False)
        self._meter = BoxMeter(plan, _sinks(self._accept, self._notice))
        rate_hz = source.rate_millihz / 1000
        self._sensation = Sensation(rate_hz, lamp_for(source.nominal_v, source.nominal_hz))
        self._values = 0

    @property
    def under_way(self) -> bool:
        return bool(self._open)

    def push_until(self, sample: int) -> None:
        """Measures the samples before `sample`."""
        if sample <= self.next_sample:
            return
        block = self._stamps.block(self._source, self.next_sample, sample - self.next_sample)
        self.next_sample = sample
        self._meter.push_blocks([block])
        self._measure()
        self._keep(self._sensation.push_volts(block.counts * block.v_per_lsb))

    def end(self) -> None:
        """Ends the run: the last windows and values come."""
        self._meter.gap()
        self._measure()
        self._keep(self._sensation.end())

    def _measure(self) -> None:
        cut_all([self._meter])
        steps = self._meter.steps()
        windows = [step for step in steps if isinstance(step, Window)]
        figures = figures_of(windows, [self._source.nominal_v] * len(windows))
        self._meter.finish(steps, iter(figures))

    def _keep(self, pinst: FloatArray) -> None:
        """Keeps each value of the classifier's rate, without those of the time that the filters need."""
        sensation, first = self._sensation, self._values
        self._values += len(pinst)
        step = max(1, round(sensation.work_hz / KEPT_HZ))
        numbers = np.arange(first, self._values)
        kept = (numbers % step == 0) & (numbers >= round(SETTLE_S * sensation.work_hz))
        if kept.any():
            number = int(numbers[kept][0])
            at_ns = self._stamps.stamp(self._first + sensation.group * number).t_ns
            self.pinst.append((at_ns, pinst[kept]))

    def _accept(self, values: Values) -> None:
        if values.kind == "window":
            self.windows.append(values)
        elif values.kind in DISTURBANCES:
            self.disturbances.append(values)

    def _notice(self, notice: DisturbanceNotice) -> None:
        (self._open.add if notice.entering else self._open.discard)(notice.kind)


def _sinks(values: Callable[[Values], None], notice: Callable[[DisturbanceNotice], None]) -> Sinks:
    def nothing(*_: object) -> None:
        return

    return Sinks(
        measured=nothing,
        values=values,
        notice=notice,
        window=nothing,
        phasor=nothing,
        phasors_wanted=lambda: False,
    )

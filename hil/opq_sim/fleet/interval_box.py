"""IntervalBox: class A of one Box of a fleet: in closed form, or from samples around each change."""

import cmath
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from opq_gateway.measuring.feed import Values
from opq_measure.aggregation.aggregator import TEN_MINUTES_NS
from opq_measure.aggregation.instants import INSTANTS_PER_INTERVAL, STEP_NS, is_good_clock
from opq_measure.frequency.per_window import WINDOW_S
from opq_proto.measurement.intervals import AT_INSTANTS
from opq_proto.messages import TimeSource
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.source import RunClock
from opq_sim.fleet.interval_sums import AtInstants, IntervalSums
from opq_sim.fleet.outlets import FleetGrid, FleetOutlet
from opq_sim.fleet.quiet_windows import QuietWindows, quiet_pinst, quiet_windows
from opq_sim.fleet.sampled_stretch import SampledStretch
from opq_sim.mains.profiles import FloatArray
from opq_sim.power_system.box_voltage import SteadyVoltage
from opq_sim.power_system.power_source import PowerSource

LEAD_S = 3.0
"""Samples before a change: the flickermeter needs two seconds, a detector one."""
STEADY_S = 15.0
"""Samples after a change: Pinst falls to the noise's within this time."""
STEP_S = 1.0
"""A stretch ends with a whole second, however its time was passed in."""
BEHIND_NS = 5 * 10**9
"""Windows and Pinst of samples come this much later at most."""
UNCERTAINTY_NS = 100


class WindowHertz:
    """The frequency of windows of a grid; Boxes share what they ask for alike."""

    def __init__(self, grid: FleetGrid) -> None:
        self._phase = grid.phase
        self._asked: tuple[float, float] = (0.0, 0.0)
        self._hz: FloatArray = np.empty(0)

    def of(self, begin_s: float, end_s: float) -> FloatArray:
        """(n,) of windows of some WINDOW_S from `begin_s` to `end_s`."""
        if self._asked != (begin_s, end_s):
            edges_s = np.linspace(begin_s, end_s, 1 + max(1, round((end_s - begin_s) / WINDOW_S)))
            self._hz = np.diff(self._phase.cycles(edges_s)) / (edges_s[1] - edges_s[0])
            self._asked = begin_s, end_s
        return self._hz


class IntervalBox:
    """One Box: the time up to which it was measured, and the stretch that is sampled now."""

    def __init__(
        self,
        outlet: FleetOutlet,
        clock: RunClock,
        hertz: WindowHertz,
        from_s: float,
        deliver: Callable[[Values], None],
    ) -> None:
        self._outlet, self._voltage, self._clock, self._hertz = outlet, outlet.voltage, clock, hertz
        self._source = outlet.samples()
        self._stamps = BoxStamps(clock, self._source)
        self._deliver = deliver
        nominals = outlet.voltage.nominal_v, outlet.voltage.nominal_hz
        self._sums = IntervalSums(outlet.box_id, *nominals, deliver, self._at_instants)
        self._from_s = self._at_s = from_s
        """All before is measured, up to the windows of the stretch."""
        self._known_ns = self._ns(from_s)
        """Spans up to here are in the sums."""
        self._stretch: SampledStretch | None = None
        self._stretch_from_s, self._window_came = from_s, False
        self._begun = False
        supply = self._stamps.supply
        self._silent_s = () if supply is None else supply.silent_s
        dead_s = () if supply is None else supply.dead_s
        self._edges_s = sorted({edge for span in (*self._silent_s, *dead_s) for edge in span})
        self._closed_form = outlet.closed_form or isinstance(self._source, PowerSource)

    def advance(self, until_s: float) -> None:
        if not self._begun:
            self._begun = True
            first_ns = self._known_ns // TEN_MINUTES_NS * TEN_MINUTES_NS
            self._sums.add_gap(first_ns, self._known_ns)
        while self._at_s < until_s:
            silent = next((span for span in self._silent_s if span[0] <= self._at_s < span[1]), None)
            if silent is not None:
                self._be_silent(min(until_s, silent[1]))
            elif self._stretch is not None:
                self._sample(until_s)
            else:
                self._be_quiet(until_s)
        self._sums.close_before(min(self._known_ns, self._ns(until_s) - BEHIND_NS))

    def end(self) -> None:
        self._end_stretch()
        self._sums.end(self._known_ns)

    def _at_instants(self, start_ns: int) -> AtInstants:
        """The fundamental at the instants of ten minutes as the gateway has it; NaN where it changes."""
        begin_s = (start_ns + STEP_NS // 2 - self._clock.start_ns) / 1e9
        moments_s = [begin_s + number * STEP_NS / 1e9 for number in range(INSTANTS_PER_INTERVAL)]
        throughout = self._steady(moments_s[0] - WINDOW_S, moments_s[-1] + WINDOW_S)
        worst = UNCERTAINTY_NS, TimeSource.GPS
        measured: dict[int, float] = {}
        """Place of an instant -> volts."""
        for place, at_s in enumerate(moments_s):
            is_measured = self._from_s <= at_s <= self._at_s
            if not is_measured or any(from_s <= at_s < to_s for from_s, to_s in self._silent_s):
                continue
            steady = throughout or self._steady(at_s - WINDOW_S, at_s + WINDOW_S)
            if steady is None:
                continue
            stamp = self._stamps.stamp(self._stamps.taken(self._clock.monotonic_ns + round(at_s * 1e9)))
            worst = max(worst[0], stamp.uncertainty_ns), min(worst[1], stamp.source)
            if is_good_clock(self._voltage.nominal_hz, stamp.uncertainty_ns):
                measured[place] = steady.fundamental_v * abs(steady.ratios[0]) * self._outlet.gain
        cycles = self._voltage.cycles(np.array([moments_s[place] for place in measured]))
        phasors = [complex(math.nan, math.nan)] * INSTANTS_PER_INTERVAL
        for (place, volts), turned in zip(measured.items(), cycles.tolist(), strict=True):
            phasors[place] = volts * cmath.exp(2j * math.pi * (turned % 1.0 - 0.25))  # 0: the cosine's top
        if not measured:
            return {}, worst
        angles = tuple(math.degrees(cmath.phase(each)) for each in phasors)
        return dict(zip(AT_INSTANTS, (angles, tuple(map(abs, phasors))), strict=True)), worst

    def _ns(self, t_s: float) -> int:
        return self._clock.start_ns + round(t_s * 1e9)

    def _changes(self, begin_s: float, end_s: float) -> list[float]:
        own = [edge for edge in self._edges_s if begin_s <= edge < end_s]
        return sorted([*self._voltage.changes(begin_s, end_s), *own])

    def _steady(self, begin_s: float, end_s: float) -> SteadyVoltage | None:
        if not self._closed_form or self._changes(begin_s, end_s):
            return None
        return self._voltage.steady(begin_s, end_s)

    def _be_silent(self, until_s: float) -> None:
        self._end_stretch()
        until_ns = self._ns(until_s)
        self._sums.add_gap(self._known_ns, until_ns)
        self._known_ns, self._at_s = until_ns, until_s
        if all(not begin_s <= until_s < end_s for begin_s, end_s in self._silent_s):
            self._begin_stretch()  # it boots

    def _be_quiet(self, until_s: float) -> None:
        """Measures in closed form up to `until_s`, or to some seconds before the next change."""
        begin_s = self._at_s
        changes = self._changes(begin_s, until_s + LEAD_S)
        end_s = max(begin_s, changes[0] - LEAD_S) if changes else until_s
        steady = self._steady(begin_s, min(end_s + LEAD_S, changes[0]) if changes else end_s)
        if steady is None or end_s <= begin_s:
            self._begin_stretch()
            return
        self._add_quiet(self._read(steady), min(end_s, until_s))
        self._at_s = min(end_s, until_s)
        if end_s < until_s:
            self._begin_stretch()

    def _add_quiet(self, steady: SteadyVoltage, until_s: float) -> None:
        first_ns, until_ns = self._known_ns, self._ns(until_s)
        ticks = range(first_ns // TEN_MINUTES_NS + 1, -(-until_ns // TEN_MINUTES_NS))
        edges_ns = [first_ns, *(tick * TEN_MINUTES_NS for tick in ticks), until_ns]
        floor = quiet_pinst(self._outlet.noise_v, steady.rms_v)
        for begin_ns, end_ns in pairwise(edges_ns):
            if end_ns > begin_ns:
                self._sums.add_quiet(begin_ns, end_ns, self._windows(steady, begin_ns, end_ns), floor)
        self._known_ns = max(first_ns, until_ns)

    def _windows(self, steady: SteadyVoltage, begin_ns: int, end_ns: int) -> QuietWindows:
        spans_s = ((at_ns - self._clock.start_ns) / 1e9 for at_ns in (begin_ns, end_ns))
        hertz = self._hertz.of(*spans_s) / self._outlet.speed
        voltage = self._voltage
        return quiet_windows(steady, self._outlet.noise_v, voltage.nominal_v, voltage.nominal_hz, hertz)

    def _read(self, steady: SteadyVoltage) -> SteadyVoltage:
        """The voltage as the Box reads it."""
        gain = self._outlet.gain
        return SteadyVoltage(
            steady.fundamental_v * gain, steady.ratios, steady.dc_v * gain + self._outlet.offset_v
        )

    def _begin_stretch(self) -> None:
        taken = self._stamps.taken(self._clock.monotonic_ns + round(self._at_s * 1e9))
        self._stretch = SampledStretch(self._outlet.box_id, self._source, self._stamps, taken)
        self._stretch_from_s, self._window_came = self._at_s, False

    def _sample(self, until_s: float) -> None:
        """Measures from samples; the stretch ends where the voltage was steady for long, and stays so."""
        stretch = self._stretch
        assert stretch is not None
        ends_s = [span[0] for span in self._silent_s if span[0] > self._at_s]
        until_s = min([until_s, math.floor(self._at_s) + STEP_S, *ends_s])
        stretch.push_until(self._stamps.taken(self._clock.monotonic_ns + round(until_s * 1e9)))
        self._at_s = until_s
        self._take(stretch)
        since_s = until_s - STEADY_S
        if stretch.under_way or since_s < self._stretch_from_s:
            return
        if self._steady(since_s, until_s + LEAD_S) is not None:
            self._end_stretch()

    def _take(self, stretch: SampledStretch) -> None:
        """Takes what was measured; before the first window it was as quiet as in it."""
        if stretch.windows and not self._window_came:
            self._window_came = True
            first_ns = stretch.windows[0].start_ns
            begin_s, first_s = ((at_ns - self._clock.start_ns) / 1e9 for at_ns in (self._known_ns, first_ns))
            steady = self._voltage.steady(begin_s, first_s) if first_s > begin_s else None
            if steady is not None:
                self._add_quiet(self._read(steady), first_s)
        for window in stretch.windows:
            self._sums.add_window(window)
            self._known_ns = max(self._known_ns, window.end_ns)
        for at_ns, pinst in stretch.pinst:
            self._sums.add_pinst(at_ns, pinst)
        for each in stretch.disturbances:
            self._deliver(each)
        stretch.windows.clear()
        stretch.pinst.clear()
        stretch.disturbances.clear()

    def _end_stretch(self) -> None:
        if self._stretch is not None:
            self._stretch.end()
            self._take(self._stretch)
            self._stretch = None
            # the rest of a window is as quiet as what follows, or is lost in the silence
            self._at_s = max(self._at_s, (self._known_ns - self._clock.start_ns) / 1e9)

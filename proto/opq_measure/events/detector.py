"""Dips, swells and interruptions of a stream, reported when they begin and when they end.

A dip begins when Urms(1/2) falls below its threshold and ends when it is back at the threshold plus the
hysteresis. A Detector accepts one run of samples with its half-cycle edges in blocks of any size and reports
the same events, to the last bit, as with the whole run at once. Its memory does not grow, however long an
event lasts.

Source: IEC 61000-4-30:2015, 5.4 (thresholds, hysteresis, sliding reference) and 5.5.
"""

import math
from dataclasses import dataclass

from opq_measure.cycle_starts import MEDIAN_SIDE_HALF_CYCLES, cycles_from, usual_length
from opq_measure.events.crossings import Crossings, ThresholdCrossing
from opq_measure.events.disturbance import Disturbance, MeasuredRmsEvent
from opq_measure.events.ends import REACH_HALF_EDGES, Surroundings
from opq_measure.events.limits import Limits
from opq_measure.events.quiet import Extent, Quiet, quiet
from opq_measure.events.rapid_change import RapidChange, RapidChanges, RapidLimits
from opq_measure.events.recent import Recent
from opq_measure.rms import one_cycle_rms
from opq_measure.signal import FloatArray, SignalArray
from opq_measure.timebase.windows import Window

KEPT_HALF_CYCLES = 3 * REACH_HALF_EDGES
"""Half cycles that are kept, for both ends of a short event, the cycles around them and undecided values."""
MIN_EDGES = 8
"""Least number of half edges outside an event from which the length of a cycle is measured."""


@dataclass(frozen=True, slots=True)
class Onset:
    """A dip or swell has begun at `start_sample`, accurate to a cycle; its Disturbance has a finer start.

    `percent` is the first Urms(1/2) beyond the threshold, in percent of the reference.
    """

    number: int
    kind: str
    start_sample: float
    percent: float


Notice = Onset | Disturbance | RapidChange


class Detector:
    """Events of one run of samples.

    Args:
        rate_hz: samples per second.
        nominal_v: Udin, the declared voltage to which `limits` refer.
        v_per_lsb: volts per count, when the samples are counts.
        sliding: thresholds follow the sliding reference (4-30, 5.4.4) instead of Udin; its 10/12 cycles are
            counted from the run's beginning and do not restart at ten minutes.
        rapid_change: limits of rapid voltage changes; None detects none.
    Raises:
        ValueError: `nominal_v`, `rate_hz`, `nominal_hz` or `v_per_lsb` is not a positive number.

    Latency: 5 cycles after the newest half edge for an Onset, 8 for the Disturbance after its end.

    Error: rectangular dips and swells from 1.6 cycles on, 45 to 66 Hz, 3 % of harmonics, noise 55 dB or more
    below: residual 0.03 % of nominal (0.3 % at 40 dB: the lowest of noisy values), start and end 0.13 ms
    (0.4 ms at 40 dB); the ends 1 ms with phase jumps up to 1 rad, 1.4 ms with ramps (test_measure_events.py).
    The residual is the lowest Urms(1/2), as in the standard (`cycle_starts`): that of a cycle across a phase
    jump can truly be lower than those on either side.
    """

    def __init__(
        self,
        rate_hz: float,
        nominal_v: float = 120.0,
        nominal_hz: float = 60.0,
        limits: Limits | None = None,
        v_per_lsb: float = 1.0,
        sliding: bool = False,
        rapid_change: RapidLimits | None = None,
    ) -> None:
        for name, value in (("rate_hz", rate_hz), ("nominal_v", nominal_v), ("nominal_hz", nominal_hz)):
            _check_positive(name, value)
        _check_positive("v_per_lsb", v_per_lsb)
        self._rate_hz, self._nominal_v, self._nominal_hz = rate_hz, nominal_v, nominal_hz
        self._limits = limits or Limits()
        self._v_per_lsb = v_per_lsb
        self._crossings = Crossings(self._limits, nominal_v, nominal_hz, sliding)
        self._rapid_limits = rapid_change
        self._begin_run(0)

    def _begin_run(self, first_sample: int) -> None:
        self._recent = Recent(first_sample)
        self._crossings.begin_run()
        self._rapid = RapidChanges(self._rapid_limits, self._nominal_hz) if self._rapid_limits else None
        self._decided = 0
        self._waiting: list[ThresholdCrossing] = []
        self._ended = False
        self._quiet: Quiet | None = None

    @property
    def reference_v(self) -> float:
        """The voltage that percentages refer to now: Udin, or the sliding reference."""
        return self._crossings.reference_v

    def push_volts(self, volts: SignalArray, half_edges: FloatArray) -> list[Notice]:
        """Accepts the next samples and the half-cycle edges that became final; returns their notices.

        Args:
            volts: (n,) the next samples of the run; may be empty.
            half_edges: (m,) rising, fractional sample positions, counted from the run's first sample, that
                follow those of the last call; they may lie well before the newest sample.
        Raises:
            ValueError: edges do not rise or lie after the samples; the run has ended.
        """
        if self._ended:
            raise ValueError("the run has ended; make a new Detector for a new run")
        self._recent.add(volts, half_edges)
        return self._advance()

    def push_window(self, window: Window, extent: Extent | None = None) -> list[Notice]:
        """Accepts the next 10/12-cycle window, in volts (instead of `push_volts`); it may overlap the last.

        The first window of a run ends the run before it: there is a gap. Positions then count on the Box's
        axis, and samples after the last whole window of a run are not used.

        `extent` saves time where the caller has it: Urms(1/2) is not computed while a window stays so far
        within the thresholds that it cannot be beyond them.

        Raises:
            ValueError: samples are missing before it.
        """
        notices: list[Notice] = []
        if window.index == 0 or not self._recent.stop_edge:
            notices = self.end() if self._recent.stop_edge else []
            self._begin_run(window.first_sample)
        recent = self._recent
        known = recent.stop_sample - window.first_sample
        if known < 0:
            raise ValueError(
                f"window {window.index} does not follow the one before, {-known} samples are missing"
            )
        before, self._quiet = self._quiet, None
        if extent is not None and self._previews and recent.goes_on(window):
            self._quiet = quiet(extent, self._limits, self._nominal_v)
        if before is not None and self._quiet is not None and before.agrees_with(self._quiet):
            recent.hold(window)
            self._decided = max(self._decided, recent.stop_edge - 2 - MEDIAN_SIDE_HALF_CYCLES)
            recent.discard_before(recent.stop_edge - KEPT_HALF_CYCLES)
            return notices
        edges = window.first_sample + window.half_edges
        if recent.stop_edge:
            edges = edges[edges > recent.last_edge + self._rate_hz / self._nominal_hz / 8]
        return notices + self.push_volts(window.volts[known:], edges)

    @property
    def _previews(self) -> bool:
        """Whether a quiet Urms(1/2) has no effect.

        No event is open or waits, and there is neither a sliding reference nor a search for rapid changes.
        """
        follows = self._crossings.sliding or self._crossings.is_open or self._rapid is not None
        return not (follows or self._waiting or self._ended)

    def under_way(self) -> list[Disturbance]:
        """The events that have not ended, as far as they are known; their Disturbance comes at their end."""
        open_ones = (each for each in self._waiting if each.stop is None and each.start_sample is not None)
        return [self._finish(each) for each in open_ones]

    def end(self) -> list[Notice]:
        """Ends the run and returns the notices that were still waiting; an event under way is open."""
        if self._ended:
            return []
        self._ended = True
        return self._advance()

    def _advance(self) -> list[Notice]:
        edges = self._recent.stop_edge
        stop = edges - 2 if self._ended else edges - 2 - MEDIAN_SIDE_HALF_CYCLES
        if not self._ended and edges < 2 * MEDIAN_SIDE_HALF_CYCLES + 3:
            return []
        notices: list[Notice] = []
        first = self._decided
        if stop > first:
            rms_v = self._rms_v(first, stop)
            notices += self._decide(rms_v, first)
            self._decided = stop
        notices += self._finished_events()
        self._recent.discard_before(edges - KEPT_HALF_CYCLES)
        return notices

    def _rms_v(self, first: int, stop: int) -> FloatArray:
        """Of the cycles at half edges `first` .. `stop`: away from jumps each begins at its edge and lasts
        the median length."""
        recent = self._recent
        origin = recent.first_edge
        begin = recent.first_sample
        starts, lengths, _ = cycles_from(recent.volts, recent.edges - begin, first - origin, stop - origin)
        ends = (starts + begin) + lengths - begin  # the same bits wherever the kept samples begin
        return one_cycle_rms(recent.volts, starts, ends) * self._v_per_lsb

    def _decide(self, rms_v: FloatArray, first: int) -> list[Notice]:
        """Onsets and rapid changes of the next values; an event that begins waits for its ends."""
        begun, beyond = self._crossings.push_rms(rms_v, first)
        self._waiting += begun
        notices: list[Notice] = [self._onset(each) for each in begun]
        if self._rapid is not None:
            stop = first + len(rms_v)
            middles = (self._recent.positions(first, stop) + self._recent.positions(first + 2, stop + 2)) / 2
            notices += self._rapid.push_percent(rms_v * (100 / self._nominal_v), middles, beyond)
        return notices

    def _onset(self, event: ThresholdCrossing) -> Onset:
        start, _, stop = self._recent.positions(event.first, event.first + 3)
        kind = "sag" if event.sign < 0 else "swell"
        return Onset(event.number, kind, float((start + stop) / 2), event.first_percent)

    def _finished_events(self) -> list[Notice]:
        """The events, in order, whose ends have enough half edges after them."""
        found: list[Notice] = []
        while self._waiting:
            event = self._waiting[0]
            if event.start_sample is None and self._reached(event.first):
                self._find_start(event)
            if not (self._ended or (event.stop is not None and self._reached(event.stop))):
                break
            found.append(self._finish(self._waiting.pop(0)))
        return found

    def _reached(self, half_edge: int) -> bool:
        return self._ended or self._recent.stop_edge > half_edge + REACH_HALF_EDGES

    def _finish(self, event: ThresholdCrossing) -> Disturbance:
        assert event.start_sample is not None
        start, cycle = event.start_sample, event.cycle
        if event.stop is None:
            end = self._recent.last_edge
        else:
            end, cycle_behind = self._find_end(event, event.stop)
            cycle = (cycle + cycle_behind) / 2
            if event.short() and event.first > 0:
                start, end = self._find_both(event, event.stop, start, end)
            if end <= start:  # an impulse: too short to have two ends, so the standard's coarse ones
                start, end = (
                    float(self._recent.positions(half, half + 1)[0]) for half in (event.first, event.stop)
                )
        return MeasuredRmsEvent(
            number=event.number,
            sign=event.sign,
            reference_v=event.reference_v,
            start_sample=start,
            end_sample=end,
            cycles=(end - start) / cycle,
            residual_percent=event.worst_percent,
            open=event.stop is None,
            open_at_start=event.first == 0,
        ).named(self._rate_hz, self._nominal_hz, self._limits)

    def _find_start(self, event: ThresholdCrossing) -> None:
        around, begin = self._surroundings(event.first, event.first, event.first)
        event.cycle = around.cycle
        if event.first == 0:
            event.start_sample = float(self._recent.positions(0, 1)[0])
            return
        level = self._level(event, self._limits.threshold_percent(event.sign))
        event.start_sample = begin + around.passing(level, event.sign, 0)

    def _find_end(self, event: ThresholdCrossing, stop: int) -> tuple[float, float]:
        """Position of the end, and samples per cycle after it."""
        around, begin = self._surroundings(stop - 1, stop, stop)
        level = self._level(event, self._limits.back_percent(event.sign))
        return begin + around.passing(level, event.sign, -1), around.cycle

    def _find_both(
        self, event: ThresholdCrossing, stop: int, start: float, end: float
    ) -> tuple[float, float]:
        """Both ends of a short event, found together where possible, else as given."""
        around, begin = self._surroundings(event.first, stop, event.first)
        found = around.dip(start - begin, end - begin)
        return (start, end) if found is None else (begin + found[0], begin + found[1])

    def _surroundings(self, window: int, last: int, change: int) -> tuple[Surroundings, int]:
        """The stretch around the half edges `window` .. `last`, and its first sample.

        The length of a cycle is measured outside the event: before its start, or after its end.
        """
        volts, edges, begin, half = self._recent.around(window - REACH_HALF_EDGES, last + REACH_HALF_EDGES)
        outside = edges[: change - half + 1] if change == window else edges[change - half :]
        cycle = usual_length(outside if len(outside) >= MIN_EDGES else edges)
        return Surroundings(volts, edges, window - half, cycle), begin

    def _level(self, event: ThresholdCrossing, percent: float) -> float:
        return event.reference_v * percent / 100 / self._v_per_lsb


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}, want a positive number")

"""BoxMeter: all measuring of one Box's samples, from blocks to Values and Measurements.

    blocks -> pieces -> [windows of many Boxes] -> steps -> [figures of many Boxes] -> Measurements -> uplink
                     -> Flickermeter, Pmu                                           -> Disturbances -> notices
                                                                                    -> Intervals    -> Values

`push_blocks`, `cut_all`, `figures_of` and `finish` are separate calls, so that the pieces and windows of all
Boxes are computed together. The results depend only on the samples and their time stamps, not on how they
were handed in. Pure except for its sinks.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.box_intervals import Intervals, flickermeter_of, half_cycles_of
from opq_gateway.measuring.edge_detectors import EdgeDetectors, EdgeFinding, edge_measurement
from opq_gateway.measuring.feed import DisturbanceNotice, Values
from opq_gateway.measuring.measured_disturbances import Disturbances
from opq_gateway.measuring.measurements import Measurements
from opq_gateway.measuring.measuring_plan import MeasuringPlan, Sinks
from opq_gateway.measuring.phasor_source import PhasorSource, phasors_of
from opq_gateway.measuring.runs import Piece, RunEnd, Runs
from opq_gateway.measuring.window_figures import WindowFigures, rest_figures, samples_after
from opq_measure.frequency.rocof import Rocof
from opq_measure.timebase.window import Window, WindowTime
from opq_measure.timebase.windows import Windows, push_samples_of_all
from opq_proto.messages import TimeSource

Step = Window | RunEnd
FLICKER_BEHIND_NS = 5 * 10**9
"""Pst is known up to two seconds after its ten minutes. With this delay it is always in the same Measurement.
"""


class BoxMeter:
    """Measures one Box; every method runs in the measuring thread."""

    def __init__(self, plan: MeasuringPlan, sinks: Sinks, before: SampleBlock | None = None) -> None:
        """`before`: the Box's last block before this meter."""
        self._plan, self._sinks = plan, sinks
        self.nominal_v, self.nominal_hz = plan.nominal_v, plan.nominal_hz
        self.cutter = Windows(plan.nominal_hz)
        self._runs = Runs(sinks.broken, before)
        self._disturbances: Disturbances | None = None
        self.measurements = Measurements(
            plan.box_id,
            plan.nominal_v,
            plan.nominal_hz,
            plan.cycles,
            plan.send,
            self._runs.clock.over,
            tuple(plan.nominal_v * plan.limits.threshold_percent(sign) / 100 for sign in (-1, 1)),
        )
        self._intervals = Intervals(
            plan.box_id, plan.nominal_v, plan.nominal_hz, signalling=plan.signalling_hz > 0
        )
        self._rocof = Rocof()
        self._wants_rocof = plan.local or "rocof" in plan.send
        self._flicker = flickermeter_of(plan.nominal_v, plan.nominal_hz) if plan.flicker else None
        self._phasors: PhasorSource | None = None
        if plan.phasors is not None:
            self._phasors = phasors_of(plan.box_id, plan.nominal_hz, plan.phasors, sinks.phasors_wanted)
        self._edges: EdgeDetectors | None = None
        if plan.detectors:
            self._edges = EdgeDetectors(plan.nominal_v, plan.nominal_hz, plan.limits)
        self._steps: list[Step] = []
        self._previous: Window | None = None
        self._under_way: Sequence[Values] = ()
        self._unsettled: deque[tuple[WindowFigures, float, tuple[int, TimeSource]]] = deque()
        self.due_sample: float | None = None
        """End sample needed for the next early Measurement, set by `finish_early`."""

    @property
    def newest(self) -> SampleBlock | None:
        """The newest block of a run that has ended."""
        return self._runs.newest

    def follow(self, before: SampleBlock | None) -> None:
        """Sets the block before the first one, where it becomes known only now."""
        self._runs.newest = before

    def push_blocks(self, blocks: Sequence[SampleBlock]) -> None:
        """Accepts the next blocks, for `cut_all`; a run ends where a block does not follow the one before."""
        self._runs.push_blocks(blocks)

    def gap(self, block: SampleBlock | None = None) -> None:
        """Ends the run with the last pushed block; `block` is the next one where known."""
        self._runs.gap(block)

    def steps(self) -> list[Step]:
        """The windows and ends of runs since the last call, for `finish`."""
        steps, self._steps = self._steps, []
        return steps

    def finish(self, steps: Sequence[Step], figures: Iterator[WindowFigures]) -> None:
        """Continues measuring; `figures` gives those of the steps' windows in order."""
        for step in steps:
            if isinstance(step, RunEnd):
                self._end_run(step.rest, step.missing)
            else:
                self._window(next(figures))

    def finish_early(self) -> None:
        """Makes the Measurements whose samples have come, without their last windows; call it after
        `finish`."""
        self.due_sample = None
        while (position := self.measurements.position) is not None:
            missing = self.measurements.missing_cycles
            end_sample = self.cutter.expected_end(position, missing)
            last = self._runs.last
            if end_sample is None or last is None:
                return
            self.due_sample = end_sample + samples_after(last.rate_millihz / 1000)
            if last.end_sample < self.due_sample:
                return
            window = self.cutter.untracked(position, missing)
            figures = None if window is None else rest_figures(window)
            if figures is None:
                self.due_sample = None  # its window will make this Measurement
                return
            for measured in self.measurements.accept_untracked(figures):
                self._sinks.measured(measured)

    def report_edges(self) -> None:
        """Runs the detectors on the waiting windows; later windows count as another run."""
        if self._edges is not None and self._previous is not None:
            self._edge(self._edges.end(), self._edges.limited, self._previous)

    def restore(self, rows: Sequence[Values], under_way: Sequence[Values]) -> None:
        """Restores the ten-minute values of the present two hours, in time order, and the disturbances that
        were under way; call it before any samples."""
        self._under_way = under_way
        self._intervals.restore(rows)
        if self._flicker is not None:
            flicker = [row for row in rows if "pinst_max" in row.values]
            psts = [(row.start_ns, row.values.get("pst", math.nan)) for row in flicker]
            self._flicker.restore_psts([(at_ns, pst) for at_ns, pst in psts if isinstance(pst, float)])

    def take_flicker(self, before: "BoxMeter") -> None:
        """Continues the ten minutes of flicker of the previous meter; call it after `gap` and `cut_all`."""
        if self._goes_on(before):
            self._flicker, before._flicker = before._flicker, None

    def _goes_on(self, before: "BoxMeter") -> bool:
        nominal = before.nominal_v, before.nominal_hz
        return (self.nominal_v, self.nominal_hz) == nominal and self._plan.flicker == before._plan.flicker

    def end(self, following: "BoxMeter | None" = None) -> None:
        """Reports what is under way, because the Box has started again; call it after `gap`, `cut_all` and
        `finish`.

        Unfinished intervals continue in `following` if it has the same nominal values. Such an interval is
        flagged and has the coverage of both parts.
        """
        clock = self._runs.clock.over(-np.inf, np.inf)
        goes_on = following is not None and following._goes_on(self)
        if following is not None and goes_on:
            following._intervals = self._intervals
        if self._flicker is not None:
            for interval in self._flicker.end():
                for values in self._intervals.flicker(interval, clock):
                    self._sinks.values(values)
        for values in self._intervals.end(clock, goes_on):
            self._sinks.values(values)

    def next_piece(self) -> Piece | None:
        """The next piece to cut, after the ends of runs before it are handled; None: nothing waits."""
        while isinstance(piece := self._runs.next_step(), RunEnd):
            self._steps += self.cutter.end()
            self._steps.append(replace(piece, rest=self.cutter.rest))
            self.cutter.rest = None
        return piece

    def accept_windows(self, piece: Piece, windows: list[Window]) -> None:
        """Accepts the windows that were cut from a piece."""
        self._steps += windows
        if self._phasors is None and self._flicker is None:
            return
        samples = piece.samples
        clock = self._runs.clock.over(samples.first_sample, samples.end_sample)
        if self._phasors is not None:
            for phasor in self._phasors.reports_of(samples, clock):
                self._sinks.phasor(phasor)
        if self._flicker is not None:
            for interval in self._flicker.push_samples(samples):
                if interval.end_ns is not None:
                    self.measurements.add_value("pst", interval.pst, interval.end_ns + FLICKER_BEHIND_NS)
                for values in self._intervals.flicker(interval, clock):
                    self._sinks.values(values)

    def _window(self, figures: WindowFigures) -> None:
        window = figures.window
        plan = self._plan
        if self._disturbances is None and plan.local:
            self._disturbances = Disturbances(
                plan.box_id, window.rate_hz, plan.nominal_v, plan.nominal_hz, plan.limits
            )
            self._disturbances.restore(self._under_way)
        start, end = (window.first_sample + float(window.edges[at]) for at in (0, -1))
        clock = self._runs.clock.over(start, end)
        rocof = self._rocof.push_window(window).hz_s if self._wants_rocof else math.nan
        for measured in self.measurements.accept_window(figures, rocof):
            self._sinks.measured(measured)
        self._previous = window
        if self._disturbances is None:
            self._sinks.window(window, *clock, False)
            self._runs.clock.discard_before(self._oldest(window))
        else:
            self._unsettled.append((figures, rocof, clock))
            self._report(*self._disturbances.accept_window(window, figures.extent, clock))
        if self._edges is not None:
            self._edge(self._edges.accept_window(figures), self._edges.limited, window)

    def _edge(self, found: Sequence[EdgeFinding], limited: int, window: Window) -> None:
        for each in found:
            clock = self._runs.clock.over(each.start_sample, each.end_sample)
            self._sinks.edge(
                replace(
                    edge_measurement(each, self._plan.box_id, window, clock, self.nominal_v),
                    start_id=self.measurements.start_id,
                ),
                limited,
            )

    def _end_run(self, rest: Window | None, missing: bool) -> None:
        self.report_edges()
        figures = None if rest is None else rest_figures(rest)
        for measured in self.measurements.end(figures, missing):
            self._sinks.measured(measured)
        if self._disturbances is not None:
            at = rest if rest is not None else self._previous
            clock = (0, TimeSource.FREE) if at is None else self._clock_of(at)
            self._report(*self._disturbances.end(rest, self._previous, clock))
        self._previous = None

    def _clock_of(self, window: Window) -> tuple[int, TimeSource]:
        return self._runs.clock.over(window.first_sample, window.first_sample + len(window.volts))

    def _report(self, notices: Sequence[DisturbanceNotice], settled: Sequence[tuple[Window, bool]]) -> None:
        for each in notices:
            self._sinks.notice(each)
        if self._disturbances is not None:
            for ended in self._disturbances.take_ended():
                self._sinks.values(ended)
        for window, flagged in settled:
            figures, rocof, clock = self._unsettled.popleft()
            assert figures.window is window
            self._sinks.window(window, *clock, flagged)
            for values in self._intervals.accept_window(figures, rocof, flagged, clock):
                self._sinks.values(values)
            if flagged:
                half = half_cycles_of(self._plan.box_id, figures, WindowTime.of(window), clock)
                if half is not None:
                    self._sinks.values(half)
        if self._unsettled and self._previous is not None:
            self._runs.clock.discard_before(self._oldest(self._unsettled[0][0].window))

    def _oldest(self, window: Window) -> float:
        """The first sample that this window or the unfinished Measurement still needs."""
        under_way = self.measurements.begins
        return min(window.first_sample, under_way if under_way is not None else window.first_sample)


@dataclass(slots=True)
class Job:
    """One meter in a round, with what it has to measure."""

    meter: BoxMeter
    over: bool = False
    """Whether it is the meter's last job."""
    following: BoxMeter | None = None
    """The Box's next meter, where it is over."""
    steps: list[Step] = field(default_factory=list)

    def take_steps(self) -> list[Window]:
        """Fetches the meter's steps after `cut_all`; returns their windows."""
        self.steps = self.meter.steps()
        return [step for step in self.steps if isinstance(step, Window)]


def cut_all(meters: Sequence[BoxMeter]) -> None:
    """Cuts everything that waits into windows, the pieces of all Boxes together; `BoxMeter.steps` returns
    them."""
    busy = meters
    while True:
        pieces = [(meter, piece) for meter in busy if (piece := meter.next_piece()) is not None]
        if not pieces:
            return
        busy = [meter for meter, _ in pieces]
        found = push_samples_of_all(
            [meter.cutter for meter in busy],
            [piece.samples for _, piece in pieces],
            [piece.clock for _, piece in pieces],
        )
        for (meter, piece), windows in zip(pieces, found, strict=True):
            meter.accept_windows(piece, windows)

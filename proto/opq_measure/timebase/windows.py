"""Windows of 10/12 cycles, gapless from cycle edge to cycle edge, started again at every UTC 10-minute tick.

The window that is open at a tick is completed; the next begins at the first cycle edge at or after the tick
and overlaps it. A gap in the samples ends a run: its last, incomplete window is dropped and counted; the gap
is never closed up. Where there is no fundamental the windows continue at the last known length, or the
nominal one, with `known` False.

Streaming and batch are the same code, and the result depends on sample indices alone: any blocks give the
same bits (test_measure_stream.py). A window is returned as soon as its context is tracked, 0.1 to 0.3 s after
its end.

Source: IEC 61000-4-30:2015, 4.4 (10/12-cycle windows) and 4.5 (resynchronisation at the 10-minute tick).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from opq_measure.signal import (
    BLOCK_SAMPLES,
    LEAST_SAMPLES,
    FloatArray,
    SignalArray,
    SignalPiece,
    check_nominal,
    check_samples,
    check_signal,
)
from opq_measure.timebase.cycles import cycles_per_window
from opq_measure.timebase.hops import TURN
from opq_measure.timebase.in_step import feed_all
from opq_measure.timebase.phase import EDGE_SLACK, REACH_HOPS, Track
from opq_measure.timebase.time_axis import ON_TICK_SAMPLES, TimeAxis, TimeMark, tick_between, tick_within
from opq_measure.timebase.time_axis import TICK_NS as TICK_NS
from opq_measure.timebase.tracker import LOWEST_SHARE, Tracker
from opq_measure.timebase.window import Window as Window

CONTEXT_CYCLES = 3
"""Length of context on both sides of a window, for filters and for analyses across the joint."""
RATE_CHANGE = 1e-3
"""A rate that differs by more means another signal; a disciplined crystal's moves by less than 100 ppm."""


class Windows:
    """Cuts the windows of one signal out of its pieces: `push_samples` for each piece, `end` when it ends.

    Raises:
        ValueError: see `signal.check_signal`. A refused piece changes nothing: it may be pushed again,
            corrected; otherwise there is a gap before the next piece.
    """

    def __init__(self, nominal_hz: float) -> None:
        check_nominal(nominal_hz)
        self.dropped_cycles = 0
        """Whole cycles of incomplete windows before gaps and at the end."""
        self.runs = 0
        """Runs begun, one more than gaps."""
        self.rest: Window | None = None
        """What is left of a run after its last window, for analyses by cycle: fewer cycles, and possibly a
        half one, whose edge is the last of `half_edges`. It belongs to the run that ended last."""
        self._nominal_hz = nominal_hz
        self._run: _Run | None = None
        self._last: SignalPiece | None = None

    def push_samples(self, samples: SignalPiece, clock: Sequence[TimeMark] = ()) -> list[Window]:
        """Accepts the next piece and returns every window that is complete now, in order.

        `clock`: further time marks within the piece, rising.
        """
        return push_samples_of_all([self], [samples], [clock])[0]

    def _begin(self, samples: SignalPiece) -> tuple["_Run", FloatArray]:
        """The run that a piece belongs to, and its volts; changes nothing."""
        run = self._run
        if run is None or self._last is None or not _follows(self._last, samples):
            run = _Run(samples, self._nominal_hz)
        return run, run.volts_of(samples)

    def _continue(self, samples: SignalPiece, run: "_Run", begun: list[Window]) -> list[Window]:
        """Makes the run that `_begin` returned the current one."""
        found = begun
        if run is not self._run:
            found = self.end() + begun
            self._run = run
            self.runs += 1
        self._last = samples
        return found

    def expected_end(self, first_sample: float, cycles: int) -> float | None:
        """Sample at which the cycles from an edge on will end if the frequency stays; None if not known yet.

        Both positions are on the Box's axis.
        """
        return None if self._run is None else self._run.expected_end(first_sample, cycles)

    def untracked(self, first_sample: float, cycles: int) -> Window | None:
        """Cycles from an edge on whose samples are there but not yet tracked, for callers that cannot wait.

        The edges continue at the frequency tracked last; only its time, samples and edges are valid.
        None where not all of its samples are held any more, or not yet.

        Error: with steady mains the edges are within 0.1 samples of the tracked ones; a phase jump moves
        them by up to half a cycle (test_measure_untracked.py).
        """
        return None if self._run is None else self._run.untracked(first_sample, cycles)

    def end(self) -> list[Window]:
        """Returns the remaining windows at the end of the signal or before a gap; a new run may follow."""
        if self._run is None:
            return []
        found = self._run.end()
        self.dropped_cycles += self._run.dropped_cycles
        self.rest = self._run.rest
        self._run = self._last = None
        return found


def push_samples_of_all(
    cutters: Sequence[Windows],
    pieces: Sequence[SignalPiece],
    clocks: Sequence[Sequence[TimeMark]] | None = None,
) -> list[list[Window]]:
    """`push_samples` of each cutter with its piece: the same bits in a third of the time; no cutter twice.

    Raises:
        ValueError: one of the pieces is refused; then none of them changes anything.
    """
    found: list[list[Window]] = [[] for _ in cutters]
    filled = [at for at, piece in enumerate(pieces) if len(piece.volts)]
    begun = [cutters[at]._begin(pieces[at]) for at in filled]  # goes first because it may refuse
    hops = feed_all([run.tracker for run, _ in begun], [volts for _, volts in begun])
    for at, (run, volts), own in zip(filled, begun, hops, strict=True):
        clock = () if clocks is None else clocks[at]
        found[at] = cutters[at]._continue(pieces[at], run, run.push_samples(pieces[at], volts, own, clock))
    return found


def windows_of(
    volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0, start_ns: int | None = None
) -> Iterator[Window]:
    """The windows of a whole signal, which may be memory-mapped: it is read block by block."""
    check_signal(volts, rate_hz, nominal_hz, LEAST_SAMPLES)
    cutter = Windows(nominal_hz)
    whole = SignalPiece(volts, 0, rate_hz, start_ns)
    for first in range(0, len(volts), BLOCK_SAMPLES):
        part = volts[first : first + BLOCK_SAMPLES]
        yield from cutter.push_samples(SignalPiece(part, first, rate_hz, whole.time_ns(first)))
    yield from cutter.end()


def _follows(before: SignalPiece, samples: SignalPiece) -> bool:
    return (
        before.end_sample == samples.first_sample
        and before.v_per_lsb == samples.v_per_lsb
        and abs(samples.rate_hz / before.rate_hz - 1) <= RATE_CHANGE
    )


class _Run:
    """A run of samples without a gap. Positions count from its first sample."""

    def __init__(self, first: SignalPiece, nominal_hz: float) -> None:
        self.dropped_cycles = 0
        self.rest: Window | None = None
        self._first_sample = first.first_sample
        self.tracker = Tracker(first.rate_hz, nominal_hz)  # refuses an invalid rate
        self._nominal_hz = nominal_hz
        self._cycles = cycles_per_window(nominal_hz)
        self._widest = int(CONTEXT_CYCLES * first.rate_hz / nominal_hz / LOWEST_SHARE) + 1  # context, samples
        self._volts = np.empty(0)
        self._base = 0  # position of _volts[0]
        self._hops = np.empty((4, 0))
        self._axis = TimeAxis(first.first_sample)
        self._index = 0
        self._cycle: int | None = None  # phase, in turns, at which the next window begins
        self._tick = False  # whether that is the first after a tick

    def volts_of(self, samples: SignalPiece) -> FloatArray:
        """The samples in volts, checked."""
        check_samples(samples.volts)
        volts = np.asarray(samples.volts, dtype=np.float64)
        if samples.v_per_lsb == 1.0:
            return volts
        volts = volts * samples.v_per_lsb
        check_samples(volts)
        return volts

    def push_samples(
        self, samples: SignalPiece, volts: FloatArray, hops: FloatArray, clock: Sequence[TimeMark]
    ) -> list[Window]:
        self._axis.add(samples.first_sample, samples.rate_hz, samples.start_ns)
        for mark in clock:
            self._axis.add(*mark)
        return self._cut(volts, hops, ended=False)

    def end(self) -> list[Window]:
        found = self._cut(_NOTHING, self.tracker.finish(), ended=True)
        if self._cycle is not None:
            whole = self._track(ended=True)
            last = whole.phase_at_rad(whole.samples) / TURN
            self.dropped_cycles = max(0, math.floor(last + EDGE_SLACK) - self._cycle)
            self.rest = self._rest(whole, self._cycle, math.floor(2 * (last + EDGE_SLACK)))
        return found

    def expected_end(self, first_sample: float, cycles: int) -> float | None:
        if self._cycle is None:
            return None
        return first_sample + TURN * cycles / self._turning()

    def untracked(self, first_sample: float, cycles: int) -> Window | None:
        if self._cycle is None:
            return None
        start, end = first_sample - self._first_sample, self._base + len(self._volts)
        half = np.pi / self._turning()
        if start - half < self._base or start + 2 * cycles * half > end:
            return None
        whole = self._track(ended=False)
        halves = start + half * np.arange(-1.0, 2.0 * cycles + 1)
        first = max(self._base, math.floor(start) - self._widest)
        window = self._window(whole, np.append(halves, math.nan), first, end, goes_on=False)
        window.half_before = float(halves[0]) - first  # also after a tick: Urms(1/2) goes on
        return window

    def _turning(self) -> float:
        """Phase per sample at which the track continues; the median, so that a jump does not distort it."""
        position, phase_rad = self._hops[0], self._hops[1]
        reach = min(REACH_HOPS, len(position) - 1)
        if reach < 1:
            return TURN * self._nominal_hz / self._axis.rate_hz(self._base)
        return float(
            np.median((phase_rad[reach:] - phase_rad[:-reach]) / (position[reach:] - position[:-reach]))
        )

    def _rest(self, whole: Track, cycle: int, last_half: int) -> Window | None:
        """The half cycles from phase `cycle` to the last one of the run."""
        if last_half <= 2 * cycle:
            return None
        halves = whole.at(np.pi * np.arange(2.0 * cycle - 1, last_half + 1))
        first = max(self._base, math.floor(halves[1]) - self._widest)
        return self._window(whole, np.append(halves, math.nan), first, whole.samples, goes_on=False)

    def _cut(self, volts: FloatArray, hops: FloatArray, ended: bool) -> list[Window]:
        self._volts = np.concatenate((self._volts, volts))
        if not (ended or hops.shape[1]):
            return []
        self._hops = np.concatenate((self._hops, hops), axis=1)
        if self._hops.shape[1] <= (0 if ended else REACH_HOPS):
            return []
        whole = self._track(ended)
        if self._cycle is None:
            self._cycle = math.ceil(whole.phase_at_rad(0) / TURN - EDGE_SLACK)
            edge_ns = self._axis.time_ns(float(whole.at(np.array([TURN * self._cycle]))[0]))
            self._tick = tick_between(self._axis.time_ns(0.0), edge_ns, whole.rate_hz)
        found = self._complete(whole, self._cycle, ended)
        if found:
            self._discard_before(float(whole.at(np.array([TURN * self._cycle]))[0]))
        return found

    def _track(self, ended: bool) -> Track:
        """The fundamental from the run's first sample (or the first one held) to the last hop or sample."""
        position, phase_rad, amplitude, known = self._hops
        end = self._base + len(self._volts) if ended else int(position[-1])
        rate_hz = self._axis.rate_hz(self._base)
        begin = 0 if self._base == 0 else int(position[0])
        return Track(end, rate_hz, self._nominal_hz, position, phase_rad, amplitude, known > 0, begin)

    def _complete(self, whole: Track, cycle: int, ended: bool) -> list[Window]:
        """The windows from phase `cycle` on that are complete and have a tracked context."""
        found: list[Window] = []
        reached_rad = (
            whole.phase_at_rad(whole.samples) + TURN * EDGE_SLACK if ended else float(whole.phase_rad[-1])
        )
        most = math.floor(reached_rad / TURN) - cycle
        if most < self._cycles:
            return found
        table = whole.at(np.pi * np.arange(2.0 * cycle - 1, 2.0 * (cycle + most) + 2))  # half edges
        origin = cycle
        while reached_rad >= TURN * (cycle + self._cycles) + (0.0 if ended else np.pi):
            at = 2 * (cycle - origin)
            halves = table[at : at + 2 * self._cycles + 3]
            start, end = float(halves[1]), float(halves[-2])
            context = min(int(CONTEXT_CYCLES * (end - start) / self._cycles) + 1, self._widest)
            first, last = max(0, math.floor(start) - context), math.ceil(end) + context
            if ended:
                last = min(last, whole.samples)
            elif whole.samples < last:
                break
            goes_on = reached_rad >= TURN * (cycle + self._cycles) + np.pi
            window = self._window(whole, halves, first, last, goes_on)
            self._index += 1
            cycle, self._tick = self._follow(window, cycle)
            self._cycle = cycle
            found.append(window)
        return found

    def _window(self, whole: Track, halves: FloatArray, first: int, last: int, goes_on: bool) -> Window:
        """A window; `halves` reach from a half edge before its first to one after its last."""
        start, end = float(halves[1]), float(halves[-2])
        rate_hz = self._axis.rate_hz(start)
        low, begin, stop, high = whole.positions.searchsorted((first, start, end, last)).tolist()
        low = max(0, low - 1)
        hops = slice(low, high + 1)
        tracked = Track(
            last - first,
            rate_hz,
            self._nominal_hz,
            whole.positions[hops] - first,
            whole.phase_rad[hops],
            whole.amplitude[hops],
            whole.known[hops],
        )
        known = 2 * int(np.count_nonzero(whole.known[begin:stop])) >= stop - begin
        halves = halves - first
        inner = halves[1:-1]
        begun = self._index > 0 and not self._tick
        start_ns, end_ns = self._axis.time_ns(start), self._axis.time_ns(end)
        return Window(
            index=self._index,
            first_sample=self._first_sample + first,
            volts=self._volts[first - self._base : last - self._base].copy(),
            edges=inner[::2],
            half_edges=inner,
            half_before=float(halves[0]) if begun else math.nan,
            next_half=float(halves[-1]) if goes_on else math.nan,
            rate_hz=rate_hz,
            nominal_hz=self._nominal_hz,
            start_ns=start_ns,
            end_ns=end_ns,
            frequency_hz=tracked.frequency_of_hz(begin - low, stop - low) if known else math.nan,
            known=known,
            tick=self._tick,
            overlap=tick_within(start_ns, end_ns, rate_hz) is not None,
            track=tracked,
        )

    def _follow(self, window: Window, cycle: int) -> tuple[int, bool]:
        """Phase at which the next window begins, in turns, and whether it is the first after a tick."""
        tick_ns = tick_within(window.start_ns, window.end_ns, window.rate_hz) if window.overlap else None
        if tick_ns is None or window.start_ns is None or window.end_ns is None:
            return cycle + self._cycles, tick_between(window.end_ns, window.end_ns, window.rate_hz)
        share = (tick_ns - window.start_ns) / (window.end_ns - window.start_ns)
        place = window.edges[0] + share * (window.edges[-1] - window.edges[0])
        cycles = int(window.edges.searchsorted(place - ON_TICK_SAMPLES))
        return cycle + max(1, cycles), True  # a clock that was set may put the tick at the window's start

    def _discard_before(self, start: float) -> None:
        """Drops what the window from `start` on does not need, not even as context."""
        keep = math.floor(start) - self._widest - 1
        if keep <= self._base:
            return
        self._volts = self._volts[keep - self._base :]
        self._base = keep
        hop = max(0, int(self._hops[0].searchsorted(keep, side="right")) - 1)
        self._hops = self._hops[:, hop:]
        self._axis.discard_before(keep)


_NOTHING = np.empty(0)

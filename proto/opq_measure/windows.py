"""Windows of 10/12 cycles, gapless from cycle edge to cycle edge, begun anew at every UTC 10-minute tick.

The window that is under way at a tick is completed; the next begins at the first cycle edge at or behind
the tick and overlaps it. A gap in the samples ends a run: its last window, incomplete, is dropped and
counted, and nothing is closed up. Where there is no fundamental the windows go on at the last known
length, or the nominal one, with `known` False.

Streaming and batch are the same code, and what is looked at depends on sample indices alone: any
blocks give the same bits (test_measure_stream.py). A window is told as soon as its context is tracked,
0.1 to 0.3 s after its end.

Source: IEC 61000-4-30:2015, 4.4 (10/12-cycle windows) and 4.5 (resynchronisation at the 10-minute tick).
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from opq_measure.cycles import cycles_per_window
from opq_measure.hops import TURN
from opq_measure.phase import REACH, SLACK, Track
from opq_measure.signal import BLOCK_SAMPLES, FloatArray, Samples, SignalArray, check_signal
from opq_measure.tracker import LOWEST, Tracker

CONTEXT_CYCLES = 3
"""Samples on both sides of a window for filters and for whoever looks across the joint."""
TICK_NS = 600 * 10**9
"""UTC ten minutes."""
ON_TICK_SAMPLES = 0.01
"""An edge as near to a tick, less than a microsecond, is on it."""
RATE_CHANGE = 1e-3
"""A rate that differs by more is another signal; a disciplined crystal's moves by less than 100 ppm."""


@dataclass(frozen=True, slots=True)
class Window:
    """Whole cycles of one run, with context. Positions are fractional samples in `volts`."""

    index: int
    """Of the run, from 0."""
    first_sample: int
    """Index of `volts[0]` on the Box's axis."""
    volts: FloatArray
    """(n,) the window and 3 cycles or more on both sides, less at the ends of the run."""
    edges: FloatArray
    """(cycles + 1,) cycle edges; the window is edges[0] .. edges[-1]."""
    half_edges: FloatArray
    """(2 cycles + 1,) half-cycle edges."""
    next_half: float
    """The half-cycle edge after the end, so that Urms(1/2) goes on over the joint; NaN at the run's end."""
    rate_hz: float
    nominal_hz: float
    start_ns: int | None
    end_ns: int | None
    """UTC of the first and last edge; None when the time is not known."""
    frequency_hz: float
    """Slope of the phase over the window; NaN when it is not `known`."""
    known: bool
    """The fundamental was seen in at least half of the window."""
    tick: bool
    """The first behind a 10-minute tick."""
    overlap: bool
    """Runs over a 10-minute tick; complete, and overlapped by the next (4-30:2015, 4.5)."""
    track: Track
    """The fundamental over all of `volts`."""


class Windows:
    """Cuts the windows of one signal out of its pieces: `push` what comes, `end` when it ends.

    Raises:
        ValueError: see `signal.check_signal`.
    """

    def __init__(self, nominal_hz: float) -> None:
        self.dropped_cycles = 0
        """Whole cycles of incomplete windows before gaps and at the end."""
        self.runs = 0
        """Runs begun; the gaps are one less."""
        self._nominal_hz = nominal_hz
        self._run: _Run | None = None
        self._last: Samples | None = None

    def push(self, samples: Samples) -> list[Window]:
        """Take in the piece that comes next; every window that is complete now, in order."""
        if len(samples.volts) == 0:
            return []
        found = [] if self._last is None or _follows(self._last, samples) else self.end()
        if self._run is None:
            self._run = _Run(samples, self._nominal_hz)
            self.runs += 1
        self._last = samples
        return found + self._run.push(samples)

    def end(self) -> list[Window]:
        """The signal ends or a gap follows: the windows that are left; then a new run may begin."""
        if self._run is None:
            return []
        found = self._run.end()
        self.dropped_cycles += self._run.dropped_cycles
        self._run = self._last = None
        return found


def windows_of(
    volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0, start_ns: int | None = None
) -> Iterator[Window]:
    """The windows of a whole signal, also memory-mapped: it is read block by block."""
    check_signal(volts, rate_hz, nominal_hz)
    cutter = Windows(nominal_hz)
    whole = Samples(volts, 0, rate_hz, start_ns)
    for first in range(0, len(volts), BLOCK_SAMPLES):
        part = volts[first : first + BLOCK_SAMPLES]
        yield from cutter.push(Samples(part, first, rate_hz, whole.time_ns(first)))
    yield from cutter.end()


def _follows(before: Samples, samples: Samples) -> bool:
    return (
        before.end_sample == samples.first_sample
        and before.v_per_lsb == samples.v_per_lsb
        and abs(samples.rate_hz / before.rate_hz - 1) <= RATE_CHANGE
    )


class _Run:
    """Samples without a gap. Positions count from its first sample."""

    def __init__(self, first: Samples, nominal_hz: float) -> None:
        self.dropped_cycles = 0
        self._first_sample = first.first_sample
        self._nominal_hz = nominal_hz
        self._cycles = cycles_per_window(nominal_hz)
        self._widest = int(CONTEXT_CYCLES * first.rate_hz / nominal_hz / LOWEST) + 1  # context, samples
        self._tracker = Tracker(first.rate_hz, nominal_hz)
        self._volts = np.empty(0)
        self._base = 0  # position of _volts[0]
        self._hops = np.empty((4, 0))
        self._pieces: list[tuple[int, Samples]] = []  # those that tell the time, by position
        self._index = 0
        self._cycle: int | None = None  # phase, in turns, at which the next window begins
        self._tick = False  # whether that is the first behind a tick

    def push(self, samples: Samples) -> list[Window]:
        if samples.start_ns is not None or not self._pieces:
            bare = replace(samples, volts=_NOTHING)
            self._pieces.append((samples.first_sample - self._first_sample, bare))
        volts = np.asarray(samples.volts, dtype=np.float64)
        if samples.v_per_lsb != 1.0:
            volts = volts * samples.v_per_lsb
        return self._cut(volts, self._tracker.feed(volts), ended=False)

    def end(self) -> list[Window]:
        found = self._cut(_NOTHING, self._tracker.finish(), ended=True)
        if self._cycle is not None:
            whole = self._track(ended=True)
            last = whole.phase_at_rad(whole.samples) / TURN
            self.dropped_cycles = max(0, math.floor(last + SLACK) - self._cycle)
        return found

    def _cut(self, volts: FloatArray, hops: FloatArray, ended: bool) -> list[Window]:
        self._volts = np.concatenate((self._volts, volts))
        if not (ended or hops.shape[1]):
            return []
        self._hops = np.concatenate((self._hops, hops), axis=1)
        if self._hops.shape[1] <= (0 if ended else REACH):
            return []
        whole = self._track(ended)
        if self._cycle is None:
            self._cycle = math.ceil(whole.phase_at_rad(0) / TURN - SLACK)
            self._tick = self._starts_behind_tick(whole)
        found = []
        while (window := self._next(whole, self._cycle, ended)) is not None:
            found.append(window)
        if found:
            self._forget(float(whole.at(np.array([TURN * self._cycle]))[0]))
        return found

    def _track(self, ended: bool) -> Track:
        """The fundamental from the run's first sample, or what is left of it, to the last hop or sample."""
        position, phase_rad, amplitude, known = self._hops
        end = self._base + len(self._volts) if ended else int(position[-1])
        rate_hz = self._pieces[-1][1].rate_hz
        begin = 0 if self._base == 0 else int(position[0])
        return Track(end, rate_hz, self._nominal_hz, position, phase_rad, amplitude, known > 0, begin)

    def _next(self, whole: Track, cycle: int, ended: bool) -> Window | None:
        """The window from phase `cycle` on; None when it is not complete, or its context not yet tracked."""
        end_rad = TURN * (cycle + self._cycles)
        reached_rad = (
            whole.phase_at_rad(whole.samples) + TURN * SLACK if ended else float(whole.phase_rad[-1])
        )
        if reached_rad < end_rad + (0.0 if ended else np.pi):
            return None
        phases_rad: FloatArray = np.pi * np.arange(2.0 * cycle, 2.0 * (cycle + self._cycles) + 2)
        halves = whole.at(phases_rad)
        start, end = float(halves[0]), float(halves[-2])
        context = min(int(CONTEXT_CYCLES * (end - start) / self._cycles) + 1, self._widest)
        first, last = max(0, math.floor(start) - context), math.ceil(end) + context
        if ended:
            last = min(last, whole.samples)
        elif whole.samples < last:
            return None
        window = self._window(whole, halves, first, last, reached_rad >= end_rad + np.pi)
        self._index += 1
        self._cycle, self._tick = self._follow(window, cycle)
        return window

    def _window(self, whole: Track, halves: FloatArray, first: int, last: int, goes_on: bool) -> Window:
        start, end = float(halves[0]), float(halves[-2])
        piece = self._piece(start)
        low, begin, stop, high = (int(whole.positions.searchsorted(at)) for at in (first, start, end, last))
        hops = slice(max(0, low - 1), high + 1)
        tracked = Track(
            last - first,
            piece.rate_hz,
            self._nominal_hz,
            whole.positions[hops] - first,
            whole.phase_rad[hops],
            whole.amplitude[hops],
            whole.known[hops],
        )
        known = 2 * int(np.count_nonzero(whole.known[begin:stop])) >= stop - begin
        halves = halves - first
        start_ns, end_ns = self._time_ns(start), self._time_ns(end)
        return Window(
            index=self._index,
            first_sample=self._first_sample + first,
            volts=self._volts[first - self._base : last - self._base].copy(),
            edges=halves[:-1:2],
            half_edges=halves[:-1],
            next_half=float(halves[-1]) if goes_on else math.nan,
            rate_hz=piece.rate_hz,
            nominal_hz=self._nominal_hz,
            start_ns=start_ns,
            end_ns=end_ns,
            frequency_hz=tracked.frequency_hz(float(halves[0]), float(halves[-2])) if known else math.nan,
            known=known,
            tick=self._tick,
            overlap=self._tick_within(start_ns, end_ns, piece.rate_hz) is not None,
            track=tracked,
        )

    def _follow(self, window: Window, cycle: int) -> tuple[int, bool]:
        """Where the next window begins, in turns, and whether behind a tick."""
        tick_ns = self._tick_within(window.start_ns, window.end_ns, window.rate_hz)
        if tick_ns is None or window.start_ns is None or window.end_ns is None:
            on_tick = window.end_ns is not None and _on_tick(window.end_ns, window.rate_hz)
            return cycle + self._cycles, on_tick
        share = (tick_ns - window.start_ns) / (window.end_ns - window.start_ns)
        place = window.edges[0] + share * (window.edges[-1] - window.edges[0])
        return cycle + int(window.edges.searchsorted(place - ON_TICK_SAMPLES)), True

    def _tick_within(self, start_ns: int | None, end_ns: int | None, rate_hz: float) -> int | None:
        """The tick between two times, not on one of them."""
        if start_ns is None or end_ns is None:
            return None
        slack_ns = round(ON_TICK_SAMPLES * 1e9 / rate_hz)
        tick_ns = (end_ns - slack_ns - 1) // TICK_NS * TICK_NS
        return tick_ns if tick_ns > start_ns + slack_ns else None

    def _starts_behind_tick(self, whole: Track) -> bool:
        """Whether a tick lies between the run's first sample and its first edge, or on one of them."""
        begin_ns, edge_ns = self._time_ns(0.0), self._time_ns(float(whole.edges(1)[0]))
        if begin_ns is None or edge_ns is None:
            return False
        slack_ns = round(ON_TICK_SAMPLES * 1e9 / whole.rate_hz)
        return (edge_ns + slack_ns) // TICK_NS * TICK_NS >= begin_ns - slack_ns

    def _piece(self, position: float) -> Samples:
        """The piece whose rate and time hold at a position."""
        index = bisect_right(self._pieces, position, key=lambda each: each[0])
        return self._pieces[max(0, index - 1)][1]

    def _time_ns(self, position: float) -> int | None:
        piece = self._piece(position)
        return piece.time_ns(position - (piece.first_sample - self._first_sample))

    def _forget(self, start: float) -> None:
        """Let go what the window from `start` on does not need, not even as context."""
        keep = math.floor(start) - self._widest - 1
        if keep <= self._base:
            return
        self._volts = self._volts[keep - self._base :]
        self._base = keep
        hop = max(0, int(self._hops[0].searchsorted(keep, side="right")) - 1)
        self._hops = self._hops[:, hop:]
        while len(self._pieces) > 1 and self._pieces[1][0] <= keep:
            del self._pieces[0]


def _on_tick(time_ns: int, rate_hz: float) -> bool:
    slack_ns = round(ON_TICK_SAMPLES * 1e9 / rate_hz)
    return (time_ns + slack_ns) % TICK_NS <= 2 * slack_ns


_NOTHING = np.empty(0)

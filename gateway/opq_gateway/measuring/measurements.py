"""Measurements: the original's few numbers over a window of N cycles, N live from 1 to 600.

    rms    V      Urms(1/2): rms of every full cycle, renewed each half cycle (61000-4-30, 5.4)
    f      Hz     per 10/12-cycle window (61000-4-30, 5.1)
    thd    ratio  per 10/12-cycle window, subgroups to order 50 (61000-4-7)
    trans  V      per cycle, the largest magnitude above 400 Hz (the original's definition)
    h2..   ratio  subgroup of an order to the fundamental, per 10/12-cycle window
    rocof  Hz/s   over half a second, with every 10/12-cycle window
    pst, unbalance: reported once, in the first Measurement after them

Each as minimum, maximum and mean. A Measurement has N cycles from edge to edge and begins where the last
ended; its f and thd are those of the 10/12-cycle windows of its cycles, weighted by the number of cycles: a
window that two Measurements share, where 10 or 12 does not divide N, counts in both. At a UTC tick of ten
minutes the windows begin again (61000-4-30, 4.5) and Measurements with them: the one before the tick is
shorter, as is the last before a gap. One that ends at a gap, or has a window with a dip, swell or
interruption, is flagged (61000-4-30, 4.7; `opq_proto.measurement.continuity`).

With `prompt`, a Measurement may not wait until its last window is tracked: it is made as soon as its samples
are there, its last cycles by evenly continued edges (`accept_untracked`). Their window comes later and adds
only f, thd and the like, to the next Measurement. In this mode Measurements do not begin again at a tick.
Pure.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from opq_gateway.measuring.window_figures import PLACES, WindowFigures
from opq_measure.signal import FloatArray
from opq_measure.timebase.window import Window
from opq_proto.measurement.continuity import FLAGGED, TOUCHES_EVENT, TOUCHES_GAP, single
from opq_proto.measurement.fields import HARMONICS, QUANTITIES
from opq_proto.messages import Measurement, Metric, TimeSource

_OF_WINDOWS = [
    (each.key, PLACES[each.value])
    for each in QUANTITIES
    if each.value in PLACES and each.key not in ("rms", "f")
]
"""Metrics that are a column of a window. `rms` is a value of cycles, and `f` is also known for the rest of a
run."""
ON_TIME_NS = 2_000_000
"""A cycle that begins this close to the last Measurement's end continues from it: an eighth of a cycle."""
Clock = Callable[[float, float], tuple[int, TimeSource]]
"""Returns uncertainty and source of a span of samples."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A Measurement with its span of samples on the Box's axis."""

    measurement: Measurement
    first_sample: float
    end_sample: float


@dataclass(slots=True)
class _Span:
    """Cycles of one window in the unfinished Measurement."""

    cycles: int
    urms_v: FloatArray
    """Rms values of the cycles that lie within the Measurement."""
    trans_v: FloatArray
    per_window: Mapping[str, float]
    event: bool
    """Whether the window has a dip, swell or interruption."""


@dataclass(slots=True)
class _UnderWay:
    first_sample: float
    start_ns: int
    end_sample: float
    end_ns: int
    wanted: int
    cycles: int = 0
    spans: list[_Span] = field(default_factory=list)


class Measurements:
    """Makes the Measurements of one Box; a change of `cycles` takes effect with the next Measurement."""

    def __init__(
        self,
        box_id: str,
        nominal_v: float,
        nominal_hz: float,
        cycles: int,
        send: tuple[str, ...],
        clock: Clock,
        limits_v: tuple[float, ...] = (0.0, math.inf),
    ) -> None:
        """`limits_v`: an rms below the first is a dip, above the second a swell."""
        self.cycles = cycles
        self.start_id: int | None = None
        """The start of the Box to which its sample indices belong."""
        self._least_v, self._most_v = limits_v
        self._box_id, self._nominal_v, self._nominal_hz = box_id, nominal_v, nominal_hz
        self._send = frozenset(send)
        self._columns = [(key, place) for key, place in _OF_WINDOWS if key in self._send]
        self._orders = [int(name[1:]) for name in HARMONICS if name in self._send]
        self._clock = clock
        self._under_way: _UnderWay | None = None
        self._over_tick: WindowFigures | None = None
        self._ended: tuple[float, int] | None = None  # sample and time at which the last Measurement ended
        self._beside: deque[tuple[int, str, float]] = deque()
        self.not_before_ns: int | None = None
        """Cycles that begin before this were measured earlier; the first Measurement after it continues from
        there."""
        self._passed_ns = 0  # up to where such cycles were skipped
        self._run_begins = False
        self.prompt = False
        """Whether `accept_untracked` is called between windows."""
        self._taken_to: float | None = None  # cycles before this sample were accepted ahead of their window
        self._late: list[_Span] = []  # windows without a new cycle, for the next Measurement

    @property
    def begins(self) -> float | None:
        """First sample of the unfinished Measurement."""
        return None if self._under_way is None else self._under_way.first_sample

    @property
    def position(self) -> float | None:
        """Sample up to which cycles were accepted; None at the beginning of a run."""
        if self._under_way is not None:
            return self._under_way.end_sample
        return None if self._ended is None else self._ended[0]

    @property
    def missing_cycles(self) -> int:
        """Number of cycles that the unfinished Measurement, or the next one, still lacks."""
        way = self._under_way
        return self.cycles if way is None else way.wanted - way.cycles

    def accept_untracked(self, figures: WindowFigures) -> list[Measured]:
        """Accepts the cycles from `position` on, ahead of their window."""
        found = self._cycles_until(figures, {})
        self._taken_to = self.position
        return found

    def accept_window(self, figures: WindowFigures, rocof_hz_s: float = np.nan) -> list[Measured]:
        """Accepts the run's next window; returns every Measurement that is complete now."""
        found: list[Measured] = []
        window = figures.window
        if self._over_tick is not None:
            until = _edge(window, 0)
            found += self._cycles_until(self._over_tick, self._per_window(self._over_tick, np.nan), until)
            self._over_tick = None
        if window.tick and self._taken_to is None:
            found += self._close()
        if window.overlap and not self.prompt:
            self._over_tick = figures
            return found
        return found + self._cycles_until(figures, self._per_window(figures, rocof_hz_s))

    def end(self, rest: WindowFigures | None, missing: bool = False) -> list[Measured]:
        """Ends the run with the cycles of `rest`; the last Measurement is shorter than the others.

        `missing`: samples are missing after the run.
        """
        found: list[Measured] = []
        if self._over_tick is not None:
            until = np.inf if rest is None else _edge(rest.window, 0)
            found += self._cycles_until(self._over_tick, self._per_window(self._over_tick, np.nan), until)
            self._over_tick = None
        if rest is not None:
            if rest.window.tick and self._taken_to is None:
                found += self._close()
            found += self._cycles_until(rest, self._per_window(rest, np.nan))
        found += self._close(TOUCHES_GAP if missing else 0)
        self._ended = self._taken_to = None
        self._run_begins = True
        return found

    def add_value(self, name: str, value: float, since_ns: int) -> None:
        """Adds a value that is reported once, in the first Measurement that begins at or after `since_ns`."""
        if name in self._send and np.isfinite(value):
            self._beside.append((since_ns, name, value))

    def _per_window(self, figures: WindowFigures, rocof_hz_s: float) -> dict[str, float]:
        found = {"f": figures.window.frequency_hz}
        found |= {key: float(figures.row[place]) for key, place in self._columns}
        if "rocof" in self._send:
            found["rocof"] = rocof_hz_s
        if self._orders:
            harmonics_v = figures.harmonics_v
            fundamental = float(harmonics_v[0])
            for order in self._orders:
                if fundamental > 0:  # NaN fails this test, too
                    found[f"h{order}"] = float(harmonics_v[order - 1]) / fundamental
        return found

    def _cycles_until(
        self, figures: WindowFigures, per_window: Mapping[str, float], until: float = np.inf
    ) -> list[Measured]:
        """Adds the whole cycles of a window that end at or before sample `until`."""
        window = figures.window
        last = len(window.edges) - 1
        if until < np.inf:
            period = float(window.edges[-1] - window.edges[0]) / last
            place = until - window.first_sample + period / 2
            last = min(last, int(window.edges.searchsorted(place, side="right")) - 1)
        found: list[Measured] = []
        at = 0 if self.not_before_ns is None else self._first_new(figures, last)
        if self._taken_to is not None:
            at = max(at, self._first_untaken(figures, self._taken_to, last, per_window))
        while at < last:
            way = self._under_way or self._begin(window, at)
            self._under_way = way
            stop = min(last, at + way.wanted - way.cycles)
            first = 2 * at if way.cycles else 2 * at + 1
            if first == 0 and np.isnan(figures.urms_v[0]):  # after a skipped tick
                first = 1
            urms_v, trans_v = figures.urms_v[first : 2 * stop], figures.trans_v[at:stop]
            way.spans.append(_Span(stop - at, urms_v, trans_v, per_window, self._has_event(figures)))
            way.cycles += stop - at
            way.end_sample, way.end_ns = _edge(window, stop), _edge_ns(window, stop)
            if way.cycles >= way.wanted:
                found += self._close()
            at = stop
        return found

    def _first_new(self, figures: WindowFigures, last: int) -> int:
        """The first of a window's cycles that was not measured before, or `last`."""
        assert self.not_before_ns is not None
        window = figures.window
        set_back = self._run_begins and _edge_ns(window, 0) < self._passed_ns
        self._run_begins = False
        if set_back:  # another axis of time, of which nothing was measured
            self.not_before_ns = None
            return 0
        for at in range(last):
            late_ns = _edge_ns(window, at) - self.not_before_ns
            if late_ns >= -ON_TIME_NS:
                if late_ns <= ON_TIME_NS:
                    self._ended = _edge(window, at), self.not_before_ns
                self.not_before_ns = None
                return at
        self._passed_ns = _edge_ns(window, last)
        return last

    def _has_event(self, figures: WindowFigures) -> bool:
        return figures.extent.least_v < self._least_v or figures.extent.most_v > self._most_v

    def _first_untaken(
        self, figures: WindowFigures, taken_to: float, last: int, per_window: Mapping[str, float]
    ) -> int:
        """The first of a window's cycles that was not accepted ahead of it; the edges may differ a little."""
        window = figures.window
        half = float(window.edges[-1] - window.edges[0]) / (len(window.edges) - 1) / 2
        at = int(window.edges.searchsorted(taken_to - window.first_sample - half))
        if at < last:
            self._taken_to = None
        else:
            spans = self._late if self._under_way is None else self._under_way.spans
            spans.append(_Span(last, _NONE, _NONE, per_window, self._has_event(figures)))
        return at

    def _begin(self, window: Window, at: int) -> _UnderWay:
        sample, start_ns = self._ended or (_edge(window, at), _edge_ns(window, at))
        late, self._late = self._late, []
        return _UnderWay(sample, start_ns, sample, start_ns, self.cycles, spans=late)

    def _close(self, flags: int = 0) -> list[Measured]:
        way, self._under_way = self._under_way, None
        if way is None or not way.cycles or way.end_ns <= way.start_ns:
            return []
        self._ended = (way.end_sample, way.end_ns)
        uncertainty_ns, source = self._clock(way.first_sample, way.end_sample)
        measurement = Measurement(
            box_id=self._box_id,
            timestamp_ms=(way.end_ns + 500_000) // 1_000_000,
            metrics=self._metrics(way, flags),
            start_ns=way.start_ns,
            end_ns=way.end_ns,
            uncertainty_ns=uncertainty_ns,
            source=source,
            nominal_v=self._nominal_v,
            nominal_hz=self._nominal_hz,
            first_sample=int(way.first_sample),
            samples=int(way.end_sample) - int(way.first_sample),
            start_id=self.start_id,
        )
        return [Measured(measurement, way.first_sample, way.end_sample)]

    def _metrics(self, way: _UnderWay, flags: int) -> dict[str, Metric]:
        spans = way.spans
        found = {}
        if "rms" in self._send:
            found["rms"] = _metric(np.concatenate([span.urms_v for span in spans]))
        if "trans" in self._send:
            trans_v = np.concatenate([span.trans_v for span in spans])
            if np.isnan(trans_v).any():  # the rest of a run has no transients
                trans_v = trans_v[~np.isnan(trans_v)]
            if len(trans_v):
                found["trans"] = _metric(trans_v)
        for name in dict.fromkeys(name for span in spans for name in span.per_window):
            if name in self._send:
                known = [(span.per_window.get(name, np.nan), span.cycles) for span in spans]
                known = [(value, cycles) for value, cycles in known if np.isfinite(value)]
                if known:
                    values = [value for value, _ in known]
                    total = sum(value * cycles for value, cycles in known)
                    mean = total / sum(cycles for _, cycles in known)
                    found[name] = Metric(min(values), max(values), min(max(mean, min(values)), max(values)))
        beside: dict[str, list[float]] = {}
        while self._beside and self._beside[0][0] <= way.start_ns:
            _, name, value = self._beside.popleft()
            beside.setdefault(name, []).append(value)
        found.update((name, _metric(np.array(values))) for name, values in beside.items())
        if any(span.event for span in spans):
            flags |= TOUCHES_EVENT
        if flags:
            found[FLAGGED] = single(flags)
        return found


_NONE = np.empty(0)


def _metric(values: FloatArray) -> Metric:
    mean = float(np.add.reduce(values)) / len(values)
    return Metric(float(np.minimum.reduce(values)), float(np.maximum.reduce(values)), mean)


def _edge(window: Window, at: int) -> float:
    """Sample index of an edge on the Box's axis."""
    return window.first_sample + float(window.edges[at])


def _edge_ns(window: Window, at: int) -> int:
    assert window.start_ns is not None and window.end_ns is not None
    if at == len(window.edges) - 1:
        return window.end_ns
    since = float(window.edges[at] - window.edges[0])
    return window.start_ns + round(since * 1e9 / window.rate_hz)

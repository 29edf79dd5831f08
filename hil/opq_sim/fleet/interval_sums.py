"""IntervalSums: ten minutes and two hours of one Box, from windows and from spans in closed form."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from opq_gateway.measuring.box_intervals import Intervals
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.window_figures import HARMONICS, INTERHARMONICS, PLACES, QUANTITIES, ROW_FLOATS
from opq_measure.aggregation.aggregate import Aggregate
from opq_measure.aggregation.aggregator import TEN_MINUTES_NS, TWO_HOURS_NS, Interval, quadratic
from opq_measure.flicker.meter import (
    KEPT_HZ,
    MIN_SHARE,
    PST_S,
    PSTS_PER_PLT,
    WEIGHTS,
    FlickerInterval,
    long_term_severity,
    severity,
)
from opq_measure.flicker.sensation import SETTLE_S, WORK_HZ
from opq_proto.messages import TimeSource
from opq_sim.fleet.quiet_windows import QuietWindows
from opq_sim.mains.profiles import FloatArray

SQUARE = quadratic(QUANTITIES)
WHOLE_NS = 400_000_000
"""A window over a border, or one that begins after it, leaves less than this of ten minutes."""
PINST_HZ = WORK_HZ / round(WORK_HZ / KEPT_HZ)
"""Values of Pinst a second, as the flickermeter keeps them."""
Clock = tuple[int, TimeSource]
AtInstants = tuple[Mapping[str, tuple[float, ...]], Clock]


class _Ten:
    """Ten minutes that are not over."""

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.sums = Interval(start_ns, SQUARE)
        self.lost_ns = 0
        self.breaks = 0
        self.pinst: list[FloatArray] = []
        self.floor = 0.0

    def flicker(self, psts: dict[int, float]) -> FlickerInterval:
        """Its Pst, where enough was seen; what has no Pinst of its own has that of the noise."""
        seen_s = PST_S - self.lost_ns / 1e9 - self.breaks * SETTLE_S
        pst, most = math.sqrt(self.floor * sum(WEIGHTS)), self.floor
        if self.pinst:
            known = np.concatenate(self.pinst)
            rest = max(0, round(seen_s * PINST_HZ) - len(known))
            pst = severity(np.concatenate((known, np.full(rest, self.floor))))
            most = float(known.max(initial=most))
        pst = pst if seen_s >= MIN_SHARE * PST_S else math.nan
        psts[self.start_ns] = pst
        end_ns, plt = self.start_ns + TEN_MINUTES_NS, math.nan
        if end_ns % TWO_HOURS_NS == 0:
            twelve = [psts.get(end_ns - n * TEN_MINUTES_NS, math.nan) for n in range(PSTS_PER_PLT, 0, -1)]
            plt = long_term_severity(np.array(twelve)) if np.isfinite(twelve).all() else math.nan
        return FlickerInterval(0, 0, self.start_ns, end_ns, pst, most, plt, seen_s)


class IntervalSums:
    """Give it spans in the order of time; it delivers Values of ten minutes and two hours as a gateway's
    ledger has them.
    """

    def __init__(
        self,
        box_id: str,
        nominal_v: float,
        nominal_hz: float,
        deliver: Callable[[Values], None],
        instants: Callable[[int], AtInstants],
    ) -> None:
        """`instants` returns the quantities at the instants of ten minutes, and their worst clock."""
        self._names = Intervals(box_id, nominal_v, nominal_hz)
        self._nominal_v = nominal_v
        self._deliver, self._instants = deliver, instants
        self._open: dict[int, _Ten] = {}
        self._two: Interval | None = None
        self._psts: dict[int, float] = {}
        self._clock: Clock = (0, TimeSource.FREE)

    def add_quiet(self, start_ns: int, end_ns: int, span: QuietWindows, floor: float) -> None:
        """Adds a span within ten minutes; `floor` is its Pinst."""
        ten = self._of(start_ns)
        ten.floor = floor
        ten.sums.add_alike(span.windows, span.mean, span.least, span.most, end_ns - start_ns)

    def add_window(self, window: Values) -> None:
        """Adds a window that was measured from samples."""
        ten, row = self._of(window.start_ns), self._row(window)
        ten.sums.add_alike(1, row, row, row, window.end_ns - window.start_ns)
        ten.sums.flagged |= window.flagged

    def add_pinst(self, at_ns: int, pinst: FloatArray) -> None:
        """Adds Pinst from a moment on, PINST_HZ a second."""
        each_ns = round(1e9 / PINST_HZ)
        while len(pinst):
            ten = self._of(at_ns)
            inside = max(1, -(-(ten.start_ns + TEN_MINUTES_NS - at_ns) // each_ns))
            ten.pinst.append(pinst[:inside])
            at_ns += inside * each_ns
            pinst = pinst[inside:]

    def add_gap(self, start_ns: int, end_ns: int) -> None:
        """Nothing was measured from `start_ns` to `end_ns`."""
        while start_ns < end_ns:
            ten = self._of(start_ns)
            until_ns = min(end_ns, ten.start_ns + TEN_MINUTES_NS)
            ten.lost_ns += until_ns - start_ns
            ten.breaks += until_ns == end_ns
            start_ns = until_ns

    def close_before(self, t_ns: int) -> None:
        """Delivers the ten minutes that end by then; nothing of them may come any more."""
        for start_ns in sorted(self._open):
            if start_ns + TEN_MINUTES_NS <= t_ns:
                self._close(self._open.pop(start_ns))

    def end(self, t_ns: int) -> None:
        """Delivers what is under way at the end of all, with the coverage that it has."""
        last_ns = max(self._open, default=t_ns)
        if last_ns + TEN_MINUTES_NS > t_ns:
            self.add_gap(t_ns, last_ns + TEN_MINUTES_NS)
        self.close_before(last_ns + TEN_MINUTES_NS)
        self._close_two()

    def _of(self, t_ns: int) -> _Ten:
        start_ns = t_ns // TEN_MINUTES_NS * TEN_MINUTES_NS
        if start_ns not in self._open:
            self._open[start_ns] = _Ten(start_ns)
        return self._open[start_ns]

    def _close(self, ten: _Ten) -> None:
        if not ten.sums.count:
            return
        coverage = 1.0 if ten.lost_ns < WHOLE_NS else 1.0 - ten.lost_ns / TEN_MINUTES_NS
        end_ns = ten.start_ns + TEN_MINUTES_NS
        two_ns = ten.start_ns // TWO_HOURS_NS * TWO_HOURS_NS
        if self._two is not None and self._two.start_ns != two_ns:
            self._close_two()
        at_instants, self._clock = self._instants(ten.start_ns)
        found = self._finished("10_min", ten.sums, end_ns, coverage)
        self._deliver(replace(found, values={**found.values, **at_instants}))
        for each in self._names.flicker(ten.flicker(self._psts), self._clock):
            self._deliver(each)
        for start_ns in [each for each in self._psts if each <= end_ns - TWO_HOURS_NS]:
            del self._psts[start_ns]
        if self._two is None:
            self._two = Interval(two_ns, SQUARE)
        self._two.include(ten.sums, coverage)
        if end_ns == two_ns + TWO_HOURS_NS:
            self._close_two()

    def _close_two(self) -> None:
        two, self._two = self._two, None
        if two is not None:
            end_ns = two.start_ns + TWO_HOURS_NS
            self._deliver(self._finished("2_h", two, end_ns, two.covered_ns / TWO_HOURS_NS))

    def _finished(self, kind: str, sums: Interval, end_ns: int, coverage: float) -> Values:
        facts = (kind, sums.start_ns, end_ns, True, sums.count, coverage, sums.flagged, QUANTITIES)
        return self._names.aggregated(
            Aggregate(*facts, sums.mean(), sums.min, sums.max, sums.known), self._clock
        )

    def _row(self, window: Values) -> FloatArray:
        row, values = np.full(ROW_FLOATS, np.nan), window.values
        for name, place in PLACES.items():
            value = values.get(name)
            if isinstance(value, float):
                row[place] = value
        rms_v = row[PLACES["rms_v"]]
        row[PLACES["under_v"]] = np.minimum(rms_v, self._nominal_v)
        row[PLACES["over_v"]] = np.maximum(rms_v, self._nominal_v)
        for name, part in (("harmonics_v", HARMONICS), ("interharmonics_v", INTERHARMONICS)):
            orders = values.get(name, ())
            if isinstance(orders, tuple):
                row[part][: len(orders)] = orders
        return row

"""Intervals: the Values of windows, of 3 s, 10 s, 10 minutes and 2 hours of one Box.

Only this module gives names and units to measured values. Unknown values are absent.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.instants import InstantPhasors
from opq_gateway.measuring.window_figures import HARMONICS, INTERHARMONICS, PLACES, QUANTITIES, WindowFigures
from opq_measure.aggregation.aggregate import (
    Aggregate,
    Quantity,
    Statistics,
    overdeviation_percent,
    underdeviation_percent,
)
from opq_measure.aggregation.aggregator import Aggregator
from opq_measure.flicker.lamps import lamp_for
from opq_measure.flicker.meter import FlickerInterval, Flickermeter
from opq_measure.frequency.ten_seconds import TenSecondFrequency, TenSeconds
from opq_measure.signal import FloatArray
from opq_measure.timebase.window import WindowTime
from opq_proto.messages import TimeSource

KIND = {"10_min": "10min", "2_h": "2h"}
"""Kinds of aggregates; an aggregate of fifteen windows is called 150 or 180 for its cycles."""


class Intervals:
    """Makes Values, in time order, from one Box's windows whose flags are certain."""

    def __init__(self, box_id: str, nominal_v: float, nominal_hz: float, signalling: bool = False) -> None:
        """`signalling`: whether windows have a mains signalling voltage."""
        self._box_id, self._nominal_v = box_id, nominal_v
        self._aggregator = Aggregator(QUANTITIES, nominal_hz)
        self._signalling = Aggregator((Quantity("signalling_v"),), nominal_hz) if signalling else None
        self._ten_seconds = TenSecondFrequency()
        self._instants = InstantPhasors()

    def accept_window(
        self, figures: WindowFigures, rocof_hz_s: float, flagged: bool, clock: tuple[int, TimeSource]
    ) -> list[Values]:
        """The Values of a window and of every interval that it completes."""
        window, row = figures.window, figures.row
        time = WindowTime.of(window)
        values = _of_row(row.tolist())
        if math.isfinite(figures.most_trans_v):
            values["trans_v"] = figures.most_trans_v
        if math.isfinite(rocof_hz_s):
            values["rocof_hz_per_s"] = rocof_hz_s
        found = [Values(self._box_id, "window", time.start_ns, time.end_ns, *clock, flagged, values)]
        self._instants.accept_window(window, clock)
        signals: dict[tuple[str, int], Statistics] = {}
        if self._signalling is not None:
            if math.isfinite(figures.signal_v):
                values["signalling_v"] = figures.signal_v
            for part in self._signalling.push_values(time, np.array([figures.signal_v]), flagged):
                signals[part.kind, part.start_ns] = part.values()["signalling_v"]
        for each in self._aggregator.push_values(time, row, flagged):
            found.append(self.aggregated(each, clock, signals.get((each.kind, each.start_ns))))
        for ten in self._ten_seconds.push_window(window, flagged, time):
            found.append(self._ten(ten, clock))
        return found

    def restore(self, rows: Iterable[Values]) -> None:
        """Accepts the ten-minute values of the present two hours that are already on disk, in time order;
        call it before the first window."""
        for each in rows:
            coverage = each.values.get("coverage_ratio")
            if not isinstance(coverage, float):
                continue  # values of flicker have no row
            values = {name: np.asarray(value) for name, value in each.values.items()}
            nominal_v = self._nominal_v
            if "under_ratio" in values and "over_ratio" in values:
                values["under_v"] = nominal_v * (1 - values["under_ratio"])
                values["over_v"] = nominal_v * (1 + values["over_ratio"])
            least, most = (
                {name: values[stored] for name, stored in names.items() if stored in values}
                for names in LIMITS
            )
            known = (each for each in QUANTITIES if each.name in values)
            means = {each.name: _padded(values[each.name], each.width) for each in known}
            self._aggregator.restore_ten(each.start_ns, means, least, most, coverage, each.flagged)

    def flicker(self, interval: FlickerInterval, clock: tuple[int, TimeSource]) -> list[Values]:
        """Values of ten minutes of flicker, and of the two hours that end with them."""
        if interval.start_ns is None or interval.end_ns is None:
            return []
        severity: Mapping[str, float | FloatArray] = {"pst": interval.pst, "pinst_max": interval.pinst_max}
        flagged = math.isnan(interval.pst)
        found = [self._values("10min", interval.start_ns, interval.end_ns, clock, flagged, severity)]
        if math.isfinite(interval.plt):
            start_ns = interval.end_ns - 12 * (interval.end_ns - interval.start_ns)
            found.append(self._values("2h", start_ns, interval.end_ns, clock, False, {"plt": interval.plt}))
        return [values for values in found if values.values]

    def end(self, clock: tuple[int, TimeSource], goes_on: bool = False) -> list[Values]:
        """Values of the unfinished intervals with their coverage so far, because the Box has started again;
        `goes_on`: ten minutes and two hours continue with windows of the next start."""
        if self._signalling is not None and not goes_on:
            self._signalling.end()
        found = [] if goes_on else [self.aggregated(each, clock) for each in self._aggregator.end()]
        return found + [self._ten(each, clock) for each in self._ten_seconds.end()]

    def _ten(self, ten: TenSeconds, clock: tuple[int, TimeSource]) -> Values:
        values: Mapping[str, float | FloatArray] = {"f_hz": ten.frequency_hz, "coverage_ratio": ten.coverage}
        return self._values("10s", ten.start_ns, ten.end_ns, clock, ten.flagged, values)

    def aggregated(
        self, aggregate: Aggregate, clock: tuple[int, TimeSource], signal: Statistics | None = None
    ) -> Values:
        """Values of a finished interval; one that was not seen whole is flagged."""
        flagged = aggregate.flagged or aggregate.coverage < 1.0  # it contains a gap
        values = _known_statistics(aggregate.values(), self._nominal_v)
        values["coverage_ratio"] = aggregate.coverage
        kind = KIND.get(aggregate.kind, "3s")
        if signal is not None:
            values["signalling_v"] = signal.mean
            if kind != "3s":
                values["signalling_max_v"] = signal.max
        if kind == "10min" and aggregate.utc:
            at_instants, clock = self._instants.take(aggregate.start_ns, clock)
            found = self._values(kind, aggregate.start_ns, aggregate.end_ns, clock, flagged, values)
            return replace(found, values={**found.values, **at_instants})
        return self._values(kind, aggregate.start_ns, aggregate.end_ns, clock, flagged, values)

    def _values(
        self,
        kind: str,
        start_ns: int,
        end_ns: int,
        clock: tuple[int, TimeSource],
        flagged: bool,
        values: Mapping[str, float | FloatArray],
    ) -> Values:
        return Values(self._box_id, kind, start_ns, end_ns, *clock, flagged, known_of(values))


def half_cycles_of(
    box_id: str, figures: WindowFigures, time: WindowTime, clock: tuple[int, TimeSource]
) -> Values | None:
    """Urms(1/2) of a flagged window, each at the middle of its cycle; None where no value is known."""
    window = figures.window
    at_s = (window.half_edges[:-1] - window.edges[0]) / window.rate_hz
    known = np.isfinite(figures.urms_v)
    if not known.any():
        return None
    values = {"urms_v": tuple(figures.urms_v[known].tolist()), "at_s": tuple(at_s[known].tolist())}
    return Values(box_id, "half", time.start_ns, time.end_ns, *clock, True, values)


def _padded(value: FloatArray, width: int) -> FloatArray:
    """A row, completed with the unknown values that are not stored."""
    return value if width == 1 else np.concatenate((value, np.full(width - len(value), np.nan)))


def known_of(values: Mapping[str, float | FloatArray]) -> dict[str, float | tuple[float, ...]]:
    """The quantities that are known."""
    found: dict[str, float | tuple[float, ...]] = {}
    for name, number in values.items():
        if isinstance(number, np.ndarray):
            _add_row(found, name, number.tolist())
        elif math.isfinite(number):
            found[name] = float(number)
    return found


def _of_row(row: list[float]) -> dict[str, float | tuple[float, ...]]:
    """Quantities of a window's row, `figures.QUANTITIES`; `under_v` and `over_v` are only for aggregates."""
    found: dict[str, float | tuple[float, ...]] = dict(zip(_NAMES, row, strict=False))
    if not math.isfinite(sum(row)):
        found = {name: value for name, value in zip(_NAMES, row, strict=False) if math.isfinite(value)}
    _add_row(found, "harmonics_v", row[HARMONICS])
    _add_row(found, "interharmonics_v", row[INTERHARMONICS])
    return found


LIMITS = (
    {"rms_v": "rms_min_v", "f_hz": "f_min_hz", "urms_min_v": "urms_min_v"},
    {"rms_v": "rms_max_v", "f_hz": "f_max_hz", "urms_max_v": "urms_max_v", "thd_ratio": "thd_max_ratio"},
)
"""Quantity -> names of its minimum and maximum, as in `_known_statistics`."""
_NAMES = tuple(PLACES)[: PLACES["under_v"]]
"""Columns of a row that are Values; the other columns are only for aggregates, or wide."""


def _add_row(found: dict[str, float | tuple[float, ...]], name: str, row: list[float]) -> None:
    """Adds a row up to its first unknown value (orders above the measured band)."""
    if not math.isfinite(sum(row)):
        row = row[: next(at for at, each in enumerate(row) if not math.isfinite(each))]
    if row:
        found[name] = tuple(row)


def _known_statistics(
    statistics: Mapping[str, Statistics], nominal_v: float
) -> dict[str, float | FloatArray]:
    rms, hertz = statistics["rms_v"], statistics["f_hz"]
    return {name: statistics[name].mean for name in _NAMES} | {
        "rms_min_v": rms.min,
        "rms_max_v": rms.max,
        "urms_min_v": statistics["urms_min_v"].min,
        "urms_max_v": statistics["urms_max_v"].max,
        "f_min_hz": hertz.min,
        "f_max_hz": hertz.max,
        "thd_max_ratio": statistics["thd_ratio"].max,
        "under_ratio": underdeviation_percent(float(statistics["under_v"].mean), nominal_v) / 100,
        "over_ratio": overdeviation_percent(float(statistics["over_v"].mean), nominal_v) / 100,
        "harmonics_v": statistics["harmonics_v"].mean,
        "interharmonics_v": statistics["interharmonics_v"].mean,
    }


def flickermeter_of(nominal_v: float, nominal_hz: float) -> Flickermeter:
    """The flickermeter with the lamp of a Box's mains."""
    return Flickermeter(lamp_for(nominal_v, nominal_hz))

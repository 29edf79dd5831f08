"""Lasting conditions, found in the 10/12-cycle windows of a signal: distortion, frequency, notching, flicker.

A condition begins when its quantity exceeds a threshold for a while and ends when it is a tenth below it.
Windows that a dip, swell or interruption touches are left out. The thresholds are those of EN 50160 where it
has them; the others are defined here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.events.spans import Span, beyond, spans_above
from opq_measure.flicker.meter import FlickerInterval
from opq_measure.signal import FloatArray
from opq_measure.timebase.cycles import WINDOW_S

MAX_THD_PERCENT = 8.0
"""EN 50160:2010, 4.2.5, which applies it to 10-minute values; here it applies to each window during
`MIN_S`."""
MAX_DEVIATION_PERCENT = 1.0
"""EN 50160:2010, 4.2.1: 1 % of nominal for 99.5 % of a year, there over 10 s."""
MAX_PST = 1.0
"""IEC 61000-3-3:2013, clause 5: Pst 1."""
BACK_SHARE = 0.9
"""Share of a threshold below which the condition is over."""
MIN_S = 3.0
"""Shortest condition: as long as the 150/180 cycles of class A's very short values."""
MIN_CUT_S = 1.0
"""Shortest part of a condition that the signal's beginning or end cuts, because its full length is unknown.
In a shorter signal the condition has to last throughout."""
MIN_RISE_S = 0.6
"""Time for which a level is steady before and after it rises."""
THD_BEFORE = "thd_percent_before"
"""Figure of harmonics that begin on top of others: the THD before."""
MIN_FREQUENCY_S = 1.0
FIRST_CYCLES = 2.0
"""Nothing is measured in a signal before its first whole cycle."""
OTHER_NOMINAL_PERCENT = 8.0
"""A frequency that is further off throughout belongs to another nominal and is not a deviation."""
THD_SIGMA = 0.025
"""Relative standard uncertainty: half of class A's 5 % for harmonics."""
PST_SIGMA = 0.025
"""Relative standard uncertainty: half of class A's 5 % for Pst."""
FREQUENCY_SIGMA_HZ = 0.005
"""Standard uncertainty: half of class A's 10 mHz."""


@dataclass(frozen=True, slots=True)
class WindowSeries:
    """The quantities of the windows, one entry each in time order; NaN where unknown or flagged."""

    rate_hz: float
    nominal_hz: float
    starts: FloatArray
    """(w,) fractional samples."""
    stops: FloatArray
    frequency_hz: FloatArray
    thd: FloatArray
    """A ratio."""
    interharmonic: FloatArray
    """The strongest line against the fundamental, a ratio."""
    interharmonic_hz: FloatArray
    mirrored: FloatArray
    """The line as far on the other side of the fundamental, a ratio; both together are a modulation."""
    noise: FloatArray
    """Rms of the noise up to half the rate, a ratio."""
    dc_v: FloatArray
    notch: FloatArray
    """Depth of the deepest periodic notch over the fundamental's peak; 0 without, NaN if not searched."""
    notches: FloatArray
    """Notches per cycle."""


def conditions_in(series: WindowSeries) -> list[Occurrence]:
    """Every lasting condition of a signal, in time order."""
    found = [*harmonics_in(series), *frequency_deviations_in(series), *_notching(series)]
    return sorted(found, key=lambda each: each.start_sample)


def flicker_of(intervals: Iterable[FlickerInterval], rate_hz: float, nominal_hz: float) -> list[Occurrence]:
    """An occurrence for each ten minutes of too much flicker, unless a dip flags them (4-30:2015, 4.7)."""
    return [
        Occurrence(
            kind="flicker",
            start_sample=float(each.first_sample),
            end_sample=float(each.end_sample),
            rate_hz=rate_hz,
            nominal_hz=nominal_hz,
            confidence=confidence_of(each.pst, MAX_PST, PST_SIGMA * each.pst),
            because=f"Pst {each.pst:.2f} over ten minutes, above {MAX_PST:g}",
            figures={"pst": each.pst},
        )
        for each in intervals
        if beyond(each.pst, MAX_PST)
    ]


def harmonics_in(series: WindowSeries, limit_percent: float = MAX_THD_PERCENT) -> Iterator[Occurrence]:
    """THD above a limit; where it rises by `BACK_SHARE` of the limit again, one ends and another begins."""
    percent = 100 * series.thd
    for whole in lasting(percent, limit_percent):
        before: float | None = None
        for span in _parted(percent, whole, limit_percent):
            most, mean = most_and_mean(percent, span)
            risen: dict[str, float] = {} if before is None else {THD_BEFORE: before}
            yield condition(
                series,
                span,
                "harmonics",
                confidence_of(mean, limit_percent, THD_SIGMA * mean),
                f"THD {mean:.2f} % in the mean, {most:.2f} % at most, above {limit_percent:g} %"
                + ("" if before is None else f", risen from {before:.2f} %"),
                {"thd_percent": mean, "thd_percent_max": most, **risen},
            )
            before = mean


def _parted(percent: FloatArray, span: Span, limit_percent: float) -> list[Span]:
    """The span, split where it rises by `BACK_SHARE` of the limit, without the window of the rise."""
    least = windows_in(MIN_RISE_S)
    for at in range(span.start + least, span.stop - least):
        before, after = percent[at - least : at], percent[at + 1 : at + 1 + least]
        if after.min() - before.max() >= BACK_SHARE * limit_percent:  # False where one is unknown
            return [Span(span.start, at, True), Span(at + 1, span.stop, span.closed)]
    return [span]


def frequency_deviations_in(
    series: WindowSeries, limit_percent: float = MAX_DEVIATION_PERCENT
) -> Iterator[Occurrence]:
    """A frequency that is off nominal by more than a limit for a second, or throughout a shorter signal.

    A frequency that is more than 8 % off throughout belongs to another nominal and is not a deviation.
    """
    limit_hz = limit_percent / 100 * series.nominal_hz
    off_hz = series.frequency_hz - series.nominal_hz
    known = np.abs(off_hz[np.isfinite(off_hz)])
    if len(known) == 0 or known.min() > OTHER_NOMINAL_PERCENT / 100 * series.nominal_hz:
        return
    least = min(windows_in(MIN_FREQUENCY_S), len(known))
    for span in spans_above(np.abs(off_hz), limit_hz, BACK_SHARE * limit_hz):
        if len(span) < least:
            continue
        part = off_hz[span.start : span.stop]
        worst_hz = float(part[np.nanargmax(np.abs(part))])
        yield condition(
            series,
            span,
            "frequency_deviation",
            confidence_of(abs(worst_hz), limit_hz, FREQUENCY_SIGMA_HZ),
            f"{series.nominal_hz + worst_hz:.3f} Hz, off nominal by more than {limit_hz:g} Hz",
            {"deviation_hz": worst_hz},
        )


def _notching(series: WindowSeries) -> Iterator[Occurrence]:
    """Notching found in two or more consecutive searches; between them it is assumed to continue."""
    looked = np.flatnonzero(np.isfinite(series.notch))
    for span in spans_above(series.notch[looked], 0.0, 0.0):
        if len(span) < 2:
            continue
        at = looked[span.start : span.stop]
        depth, count = float(series.notch[at].mean()), float(np.median(series.notches[at]))
        stop = int(looked[span.stop]) if span.closed else len(series.starts)
        yield condition(
            series,
            Span(int(at[0]), stop, span.closed),
            "periodic_notching",
            1.0,
            f"{count:.0f} notches in every cycle at the same angles, {100 * depth:.1f} % of the peak deep",
            {"notch_depth_pu": depth, "notches_per_cycle": count},
        )


def lasting(values: FloatArray, limit: float, least_s: float = MIN_S) -> Iterator[Span]:
    """Spans above a limit for `least_s`; a span cut by an end needs `MIN_CUT_S`, or the whole signal."""
    known = np.isfinite(values)
    first, last = np.flatnonzero(known)[[0, -1]] if known.any() else (0, 0)
    whole = int(np.count_nonzero(known))
    for span in spans_above(values, limit, BACK_SHARE * limit):
        seen = int(np.count_nonzero(known[span.start : span.stop]))
        cut = span.start <= first or span.stop > last
        least = windows_in(min(least_s, MIN_CUT_S) if cut else least_s)
        if seen >= min(least, whole):
            yield span


def windows_in(seconds: float) -> int:
    """Number of windows in a time, at least one."""
    return max(1, round(seconds / WINDOW_S))


def most_and_mean(values: FloatArray, span: Span) -> tuple[float, float]:
    """The largest value and the root of the mean square."""
    part = values[span.start : span.stop]
    return float(np.nanmax(part)), float(np.sqrt(np.nanmean(part * part)))


def condition(
    series: WindowSeries, span: Span, kind: str, confidence: float, because: str, figures: dict[str, float]
) -> Occurrence:
    """An occurrence over a span of windows that starts at sample 0 if the first cycles have it already."""
    first = float(series.starts[span.start])
    return Occurrence(
        kind=kind,
        start_sample=0.0 if first < FIRST_CYCLES * series.rate_hz / series.nominal_hz else first,
        end_sample=float(series.stops[span.stop - 1]),
        rate_hz=series.rate_hz,
        nominal_hz=series.nominal_hz,
        confidence=confidence,
        because=because,
        figures=figures,
        open=not span.closed,
        open_at_start=span.start == 0,
    )

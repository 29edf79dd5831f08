"""Lasting conditions, found in the 10/12-cycle windows of a signal: distortion, frequency, notching, flicker.

A condition begins when its quantity passes a threshold for a while and ends when it is back by a tenth.
Windows that a dip, swell or interruption touches are left out. Thresholds are those of EN 50160 where it has
any; for the others this file is the source.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.events.spans import Span, spans_above
from opq_measure.flicker.meter import FlickerInterval
from opq_measure.signal import FloatArray
from opq_measure.timebase.cycles import WINDOW_S

MOST_THD_PERCENT = 8.0
"""EN 50160:2010, 4.2.5: of the 10-minute values; here of each window, for `LEAST_S`."""
MOST_DEVIATION_PERCENT = 1.0
"""EN 50160:2010, 4.2.1: 1 % of nominal for 99.5 % of a year, there over 10 s."""
MOST_PST = 1.0
"""IEC 61000-3-3:2013, clause 5: Pst 1."""
BACK = 0.9
"""A share of a threshold: the condition is over."""
LEAST_S = 3.0
"""A condition lasts so long at least, as long as the 150/180 cycles of class A's very short values."""
LEAST_CUT_S = 1.0
"""One that the signal's beginning or end cuts is as long as nobody knows: so much of it has to be seen, or
the signal is full of it."""
LEAST_RISE_S = 0.6
"""So long a level is steady before and after it rises."""
RISEN_FROM = "thd_percent_before"
"""Figure of harmonics that begin above others: their THD."""
LEAST_FREQUENCY_S = 1.0
FIRST_CYCLES = 2.0
"""Before its first whole cycle nothing is measured of a signal."""
OTHER_NOMINAL_PERCENT = 8.0
"""A frequency that is further off from beginning to end is that of another nominal, not a deviation."""
THD_SIGMA, PST_SIGMA, FREQUENCY_SIGMA_HZ = 0.025, 0.025, 0.005
"""Standard uncertainties, half of what class A allows: 5 % of harmonics, 5 % of Pst, 10 mHz."""


@dataclass(frozen=True, slots=True)
class Course:
    """What the windows say, one entry each in time order; NaN where unknown or flagged."""

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
    """What lies at the same distance on the other side of the fundamental, a ratio: two make a modulation."""
    noise: FloatArray
    """Rms of the noise up to half the rate, a ratio."""
    dc_v: FloatArray
    notch: FloatArray
    """Depth of the deepest periodic notch against the fundamental's peak, where looked for; 0 without."""
    notches: FloatArray
    """Per cycle."""


def conditions_in(course: Course) -> list[Occurrence]:
    """Every lasting condition of a signal, in time order."""
    found = [*harmonics_in(course), *frequency_deviations_in(course), *_notching(course)]
    return sorted(found, key=lambda each: each.start_sample)


def flicker_of(intervals: Iterable[FlickerInterval], rate_hz: float, nominal_hz: float) -> list[Occurrence]:
    """An event for each ten minutes of too much flicker; without those that a dip flags (4-30:2015, 4.7)."""
    return [
        Occurrence(
            kind="flicker",
            start_sample=float(each.first_sample),
            end_sample=float(each.end_sample),
            rate_hz=rate_hz,
            nominal_hz=nominal_hz,
            confidence=confidence_of(each.pst, MOST_PST, PST_SIGMA * each.pst),
            because=f"Pst {each.pst:.2f} over ten minutes, above {MOST_PST:g}",
            figures={"pst": each.pst},
        )
        for each in intervals
        if each.pst > MOST_PST
    ]


def harmonics_in(course: Course, limit_percent: float = MOST_THD_PERCENT) -> Iterator[Occurrence]:
    """THD above a limit; where it rises by as much once more, one ends and another begins."""
    percent = 100 * course.thd
    for whole in lasting(percent, limit_percent):
        before: float | None = None
        for span in _parted(percent, whole, limit_percent):
            most, mean = most_and_mean(percent, span)
            risen: dict[str, float] = {} if before is None else {RISEN_FROM: before}
            yield condition(
                course,
                span,
                "harmonics",
                confidence_of(mean, limit_percent, THD_SIGMA * mean),
                f"THD {mean:.2f} % in the mean, {most:.2f} % at most, above {limit_percent:g} %"
                + ("" if before is None else f", risen from {before:.2f} %"),
                {"thd_percent": mean, "thd_percent_max": most, **risen},
            )
            before = mean


def _parted(percent: FloatArray, span: Span, limit_percent: float) -> list[Span]:
    """The span, in two where it rises by `BACK` of the limit; the window of the rise is in neither."""
    least = windows_in(LEAST_RISE_S)
    for at in range(span.start + least, span.stop - least):
        before, after = percent[at - least : at], percent[at + 1 : at + 1 + least]
        if after.min() - before.max() >= BACK * limit_percent:  # False where one is unknown
            return [Span(span.start, at, True), Span(at + 1, span.stop, span.closed)]
    return [span]


def frequency_deviations_in(
    course: Course, limit_percent: float = MOST_DEVIATION_PERCENT
) -> Iterator[Occurrence]:
    """A frequency off nominal by more than a limit for a second, or all of a shorter signal.

    One that is further off than 8 % throughout is that of another nominal and no deviation.
    """
    limit_hz = limit_percent / 100 * course.nominal_hz
    off_hz = course.frequency_hz - course.nominal_hz
    known = np.abs(off_hz[np.isfinite(off_hz)])
    if len(known) == 0 or known.min() > OTHER_NOMINAL_PERCENT / 100 * course.nominal_hz:
        return
    least = min(windows_in(LEAST_FREQUENCY_S), len(known))
    for span in spans_above(np.abs(off_hz), limit_hz, BACK * limit_hz):
        if len(span) < least:
            continue
        part = off_hz[span.start : span.stop]
        worst_hz = float(part[np.nanargmax(np.abs(part))])
        yield condition(
            course,
            span,
            "frequency_deviation",
            confidence_of(abs(worst_hz), limit_hz, FREQUENCY_SIGMA_HZ),
            f"{course.nominal_hz + worst_hz:.3f} Hz, off nominal by more than {limit_hz:g} Hz",
            {"deviation_hz": worst_hz},
        )


def _notching(course: Course) -> Iterator[Occurrence]:
    """At two looks in a row or more; between looks it is taken to go on."""
    looked = np.flatnonzero(np.isfinite(course.notch))
    for span in spans_above(course.notch[looked], 0.0, 0.0):
        if len(span) < 2:
            continue
        at = looked[span.start : span.stop]
        depth, count = float(course.notch[at].mean()), float(np.median(course.notches[at]))
        stop = int(looked[span.stop]) if span.closed else len(course.starts)
        yield condition(
            course,
            Span(int(at[0]), stop, span.closed),
            "periodic_notching",
            1.0,
            f"{count:.0f} notches in every cycle at the same angles, {100 * depth:.1f} % of the peak deep",
            {"notch_depth_pu": depth, "notches_per_cycle": count},
        )


def lasting(values: FloatArray, limit: float, least_s: float = LEAST_S) -> Iterator[Span]:
    """Spans above a limit for `least_s`; of one that is cut `LEAST_CUT_S` is enough, or the whole signal."""
    known = np.isfinite(values)
    first, last = np.flatnonzero(known)[[0, -1]] if known.any() else (0, 0)
    whole = int(np.count_nonzero(known))
    for span in spans_above(values, limit, BACK * limit):
        seen = int(np.count_nonzero(known[span.start : span.stop]))
        cut = span.start <= first or span.stop > last
        least = windows_in(min(least_s, LEAST_CUT_S) if cut else least_s)
        if seen >= min(least, whole):
            yield span


def windows_in(seconds: float) -> int:
    """At least one."""
    return max(1, round(seconds / WINDOW_S))


def most_and_mean(values: FloatArray, span: Span) -> tuple[float, float]:
    """The largest, and the root of the mean square."""
    part = values[span.start : span.stop]
    return float(np.nanmax(part)), float(np.sqrt(np.nanmean(part * part)))


def condition(
    course: Course, span: Span, kind: str, confidence: float, because: str, figures: dict[str, float]
) -> Occurrence:
    """A lasting one over a span of windows; from sample 0 on where it is in the first cycles already."""
    first = float(course.starts[span.start])
    return Occurrence(
        kind=kind,
        start_sample=0.0 if first < FIRST_CYCLES * course.rate_hz / course.nominal_hz else first,
        end_sample=float(course.stops[span.stop - 1]),
        rate_hz=course.rate_hz,
        nominal_hz=course.nominal_hz,
        confidence=confidence,
        because=because,
        figures=figures,
        open=not span.closed,
        open_at_start=span.start == 0,
    )

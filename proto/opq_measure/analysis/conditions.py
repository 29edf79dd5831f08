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
MOST_INTERHARMONIC_PERCENT = 1.0
"""The strongest line, percent of the fundamental; EN 50160 has no limit. Flicker of 2 % at 10 Hz is one."""
MOST_DEVIATION_PERCENT = 1.0
"""EN 50160:2010, 4.2.1: 1 % of nominal for 99.5 % of a year, there over 10 s."""
MOST_PST = 1.0
"""IEC 61000-3-3:2013, clause 5: Pst 1."""
BACK = 0.9
"""A share of a threshold: the condition is over."""
LEAST_S = 3.0
"""A condition lasts so long at least, as long as the 150/180 cycles of class A's very short values."""
LEAST_CALM_S = 1.0
"""Within the limits for so long: where the frequency was off from the beginning there is no event, for
an island grid, a laboratory source or a wrong nominal is none."""
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
    notch: FloatArray
    """Depth of the deepest periodic notch against the fundamental's peak, where looked for; 0 without."""
    notches: FloatArray
    """Per cycle."""


def conditions_in(course: Course) -> list[Occurrence]:
    """Every lasting condition of a signal, in time order."""
    found = [*_harmonics(course), *_interharmonics(course), *_frequency(course), *_notching(course)]
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


def _harmonics(course: Course) -> Iterator[Occurrence]:
    percent = 100 * course.thd
    for span in _lasting(course, percent, MOST_THD_PERCENT):
        most, mean = _most_and_mean(percent, span)
        yield _condition(
            course,
            span,
            "harmonics",
            confidence_of(mean, MOST_THD_PERCENT, THD_SIGMA * mean),
            f"THD {mean:.2f} % in the mean, {most:.2f} % at most, above {MOST_THD_PERCENT:g} %",
            {"thd_percent": mean, "thd_percent_max": most},
        )


def _interharmonics(course: Course) -> Iterator[Occurrence]:
    percent = 100 * course.interharmonic
    for span in _lasting(course, percent, MOST_INTERHARMONIC_PERCENT):
        most, mean = _most_and_mean(percent, span)
        hz = float(np.nanmedian(course.interharmonic_hz[span.start : span.stop]))
        yield _condition(
            course,
            span,
            "interharmonics",
            confidence_of(mean, MOST_INTERHARMONIC_PERCENT, THD_SIGMA * mean),
            f"{mean:.2f} % of the fundamental at {hz:.1f} Hz, above {MOST_INTERHARMONIC_PERCENT:g} %",
            {"interharmonic_hz": hz, "interharmonic_percent": mean, "interharmonic_percent_max": most},
        )


def _frequency(course: Course) -> Iterator[Occurrence]:
    limit_hz = MOST_DEVIATION_PERCENT / 100 * course.nominal_hz
    off_hz = course.frequency_hz - course.nominal_hz
    calm = np.flatnonzero(np.abs(off_hz) <= limit_hz)
    least = _windows_in(LEAST_CALM_S)
    if len(calm) < least:
        return
    for span in spans_above(np.abs(off_hz), limit_hz, BACK * limit_hz):
        if len(span) < least or np.searchsorted(calm, span.start) < least:
            continue
        part = off_hz[span.start : span.stop]
        worst_hz = float(part[np.nanargmax(np.abs(part))])
        yield _condition(
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
        yield _condition(
            course,
            Span(int(at[0]), stop, span.closed),
            "periodic_notching",
            1.0,
            f"{count:.0f} notches in every cycle at the same angles, {100 * depth:.1f} % of the peak deep",
            {"notch_depth_pu": depth, "notches_per_cycle": count},
        )


def _lasting(course: Course, values: FloatArray, limit: float) -> Iterator[Span]:
    least = _windows_in(LEAST_S)
    for span in spans_above(values, limit, BACK * limit):
        if np.count_nonzero(np.isfinite(values[span.start : span.stop])) >= least:
            yield span


def _windows_in(seconds: float) -> int:
    return max(1, round(seconds / WINDOW_S))


def _most_and_mean(values: FloatArray, span: Span) -> tuple[float, float]:
    part = values[span.start : span.stop]
    return float(np.nanmax(part)), float(np.sqrt(np.nanmean(part * part)))


def _condition(
    course: Course, span: Span, kind: str, confidence: float, because: str, figures: dict[str, float]
) -> Occurrence:
    return Occurrence(
        kind=kind,
        start_sample=float(course.starts[span.start]),
        end_sample=float(course.stops[span.stop - 1]),
        rate_hz=course.rate_hz,
        nominal_hz=course.nominal_hz,
        confidence=confidence,
        because=because,
        figures=figures,
        open=not span.closed,
        open_at_start=span.start == 0,
    )

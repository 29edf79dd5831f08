"""Unbalance: u2 and u0 of three Boxes on the phases of one place, or the unbalance of their magnitudes.

In: Event.  Out: Finding of the Box on phase a, in time order.  State: none.
Needs Boxes whose location and phase the registry has; windows with a dip or swell at one Box do not count.
Where the clocks leave u2 uncertain by more than `most_clock_percent`, the angles between the phases are of no
use: then the largest deviation of the three rms values from their mean counts, which is not u2.
Source: IEC 61000-4-30:2015, 5.7.1; EN 50160:2010, 4.2.4 (u2 2 %), there over ten minutes; for magnitudes IEEE
Std 112-1991 (phase voltage unbalance rate) and ANSI C84.1 (3 %, there of line voltages without load).
"""

import math
from dataclasses import dataclass, field

import numpy as np

from opq_cloud.mauka.measuring.phase_places import PhasePlace, PhaseSeries, phase_places, series_of
from opq_cloud.mauka.measuring.results import NominalConfig
from opq_measure.aggregation.unbalance import magnitude_unbalance_percent
from opq_measure.analysis.lasting_conditions import MIN_CUT_S, lasting, most_and_mean, windows_in
from opq_measure.analysis.occurrence import confidence_of
from opq_measure.events.spans import Span
from opq_proto.messages import Event, Finding

name = "unbalance"
takes, gives = Event, Finding
PHASOR_SIGMA = 0.075
"""Standard uncertainty of u2 in percentage points: half of class A's limit."""
MAGNITUDE_SIGMA = 0.25
"""Standard uncertainty of the magnitudes in percentage points, of three gains of ours."""


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Limits in percent, for u2 and for the magnitudes."""

    u2_percent: float = field(default=2.0, metadata={"minimum": 0.1, "maximum": 100.0})
    magnitudes_percent: float = field(default=3.0, metadata={"minimum": 0.1, "maximum": 100.0})
    most_clock_percent: float = field(default=0.25, metadata={"minimum": 0.0, "maximum": 10.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns findings from where the limit is passed until the value is a tenth below it again.

    A finding lasts 3 s at least, or 1 s at the ends of the waveform.
    """
    found = [
        finding
        for place in phase_places(event)[0]
        for finding in _judged(place, series_of(place, config), config)[0]
    ]
    return tuple(sorted(found, key=lambda one: one.start_ns))


def unjudged(event: Event, config: Config) -> str:
    """Names the places with three Boxes that cannot be judged, and why; empty where there are none."""
    places, problems = phase_places(event)
    for place in places:
        why = _judged(place, series_of(place, config), config)[1]
        problems += [f"{place.name} ({place.boxes}): {why}"] if why else []
    return "; ".join(problems)


def _judged(place: PhasePlace, series: PhaseSeries, config: Config) -> tuple[list[Finding], str]:
    """Returns the findings, or why the place cannot be judged."""
    known = np.isfinite(series.phasors).all(axis=1)
    if np.count_nonzero(known) < min(windows_in(MIN_CUT_S), max(1, len(series.phasors))):
        return [], f"less than {MIN_CUT_S:g} s is in all three waveforms and free of dips and swells"
    if series.clock_percent > config.most_clock_percent:
        return _by_magnitudes(place, series, config), ""
    if why := series.wrong_angles():
        return [], why
    u2, u0, rotation = series.sequences()
    sigma = math.hypot(PHASOR_SIGMA, series.clock_percent)
    found = []
    for span in lasting(u2, config.u2_percent):
        most, mean = most_and_mean(u2, span)
        zero = most_and_mean(u0, span)[1]
        because = (
            f"u2 is {mean:.2f} % in the mean, {most:.2f} % at most, above {config.u2_percent:g} %, "
            f"with u0 of {zero:.2f} %"
        )
        if rotation == "acb":
            because += "; two phases are swapped in the registry, they rotate a, c, b"
        figures = {"u2_percent": mean, "u2_percent_max": most, "u0_percent": zero}
        if np.isfinite(u2[: span.start]).any():
            figures["u2_before_percent"] = float(np.nanmin(u2[: span.start]))
        confidence = confidence_of(mean, config.u2_percent, sigma)
        found.append(_finding(place, series, span, config, because, figures, sigma, confidence))
    return found, ""


def _by_magnitudes(place: PhasePlace, series: PhaseSeries, config: Config) -> list[Finding]:
    percent = magnitude_unbalance_percent(series.magnitudes)
    found = []
    for span in lasting(percent, config.magnitudes_percent):
        most, mean = most_and_mean(percent, span)
        because = (
            f"one phase's rms is off the mean of three by {mean:.2f} %, {most:.2f} % at most, above "
            f"{config.magnitudes_percent:g} %; the clocks leave the angles open: u2 and u0 are not known"
        )
        figures = {"magnitudes_percent": mean, "magnitudes_percent_max": most}
        confidence = confidence_of(mean, config.magnitudes_percent, MAGNITUDE_SIGMA)
        found.append(_finding(place, series, span, config, because, figures, MAGNITUDE_SIGMA, confidence))
    return found


def _finding(
    place: PhasePlace,
    series: PhaseSeries,
    span: Span,
    config: Config,
    because: str,
    figures: dict[str, float],
    sigma: float,
    confidence: float,
) -> Finding:
    """Makes a finding at the Box on phase a, for the whole place."""
    volts = np.sqrt(np.nanmean(series.magnitudes[span.start : span.stop] ** 2, axis=0)).tolist()
    start_ns, end_ns = series.starts_ns[span.start], series.ends_ns[span.stop - 1]
    levels = ", ".join(f"{letter} {level_v:.1f} V" for letter, level_v in zip("abc", volts, strict=True))
    figures |= {"uncertainty_percent": sigma}
    figures |= {f"rms_{letter}_v": level_v for letter, level_v in zip("abc", volts, strict=True)}
    return Finding(
        kind=name,
        box_id=place.waves[0].box_id,
        start_ns=start_ns,
        end_ns=max(start_ns, end_ns),
        uncertainty_ns=max(wave.uncertainty_ns for wave in place.waves),
        closed=span.closed,
        onset_seen=bool(np.isfinite(series.phasors[: span.start]).all(axis=1).any()),
        duration_cycles=(end_ns - start_ns) / 1e9 * config.nominal_hz,
        confidence=confidence,
        because=f"{because}, \N{PLUS-MINUS SIGN}{sigma:.2f} points ({place.boxes}: {levels})",
        figures=tuple(figures.items()),
        beside=tuple(wave.box_id for wave in place.waves[1:]),
    )

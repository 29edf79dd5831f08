"""Direct voltage and noise: steady levels that `analyze` reports as figures and Mauka as classes.

Every converter has an offset and every Box some noise that do not come from the mains. So a level above an
upper limit always counts, and one above a lower limit only where it rose within the signal.

Source: IEEE 1159-2019, 4.5.1 and 4.5.5 and table 2 (DC offset to 0.1 %, noise to 1 %: typical, no limits);
the limits are ours. Both recordings of 2019 have 0.9 % of direct voltage throughout, from the converter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from opq_measure.analysis.lasting_conditions import WindowSeries, condition, lasting, most_and_mean
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.events.spans import Span, beyond
from opq_measure.signal import FloatArray
from opq_measure.written_numbers import significant

MIN_S = 1.0
LEVEL_SIGMA = 0.05
"""Relative standard uncertainty of a level."""
QUIET_SHARE = 10.0
"""Percentile of the levels that counts as the quiet level."""


@dataclass(frozen=True, slots=True)
class LevelLimits:
    """`most_percent` applies anywhere, `rise_percent` where a level rose above the signal's quiet part."""

    most_percent: float
    rise_percent: float
    times: float = 1.0
    """Least multiple of the quiet level that counts as a rise."""


DC_LIMITS = LevelLimits(1.5, 0.5)
"""Percent of the nominal voltage."""
NOISE_LIMITS = LevelLimits(6.0, 2.0, 2.0)
"""Percent of the fundamental."""


def dc_offset_in(series: WindowSeries, nominal_v: float, limits: LevelLimits = DC_LIMITS) -> list[Occurrence]:
    """Direct voltage, from the means of the windows; its sign is that of their mean."""
    percent = 100 * series.dc_v / nominal_v
    known = percent[np.isfinite(percent)]
    if len(known) == 0:
        return []
    nearest = np.argsort(np.abs(known))[: max(1, round(len(known) * QUIET_SHARE / 100))]
    quiet = float(np.median(known[nearest]))
    return [
        condition(
            series,
            span,
            "dc_offset",
            confidence_of(level, limit, LEVEL_SIGMA * level),
            f"direct voltage of {mean:+.2f} % of nominal, "
            f"{significant(mean * nominal_v / 100, 3, sign=True)} V{since}",
            {"dc_percent": mean, "dc_v": mean * nominal_v / 100},
        )
        for span, level, limit, since in _first_that_lasts(
            series, _candidates(np.abs(percent), np.abs(percent - quiet), limits, abs(quiet), "%")
        )
        for mean in [float(np.nanmean(percent[span.start : span.stop]))]
    ]


def noise_in(series: WindowSeries, limits: LevelLimits = NOISE_LIMITS) -> list[Occurrence]:
    """Noise from DC to half the rate, measured between the harmonics."""
    percent = 100 * series.noise
    known = percent[np.isfinite(percent)]
    if len(known) == 0:
        return []
    quiet = float(np.percentile(known, QUIET_SHARE))
    rise = np.where(percent > limits.times * quiet, percent, 0.0)
    rise[np.isnan(percent)] = np.nan
    return [
        condition(
            series,
            span,
            "noise",
            confidence_of(most, limit, LEVEL_SIGMA * most),
            f"noise of {mean:.2f} % of the fundamental, {most:.2f} % at most{since}",
            {"noise_percent": mean, "noise_percent_max": most},
        )
        for span, _, limit, since in _first_that_lasts(series, _candidates(percent, rise, limits, quiet, "%"))
        for most, mean in [most_and_mean(percent, span)]
    ]


def _candidates(
    level: FloatArray, rise: FloatArray, limits: LevelLimits, quiet: float, unit: str
) -> Iterator[tuple[FloatArray, float, str]]:
    """First the values that rose within the signal, then all values; the caller uses the first ones that
    last."""
    if beyond(float(np.nanmax(rise)), limits.rise_percent):
        yield rise, limits.rise_percent, f", from {quiet:.2f} {unit}"
    if beyond(float(np.nanmax(level)), limits.most_percent):
        yield level, limits.most_percent, f", above {limits.most_percent:g} {unit}"


def _first_that_lasts(
    series: WindowSeries, candidates: Iterator[tuple[FloatArray, float, str]]
) -> Iterator[tuple[Span, float, float, str]]:
    """Yields each span, the mean of its values, their limit and its words."""
    for values, limit, since in candidates:
        spans = list(lasting(values, limit, MIN_S))
        if spans:
            means = (float(np.nanmean(values[span.start : span.stop])) for span in spans)
            yield from ((span, mean, limit, since) for span, mean in zip(spans, means, strict=True))
            return

"""Lasting lines between the harmonics: a steady one is an interharmonic, a keyed one mains signalling.

A line counts in a window where it exceeds its threshold and stands out of the noise there. A line that comes
and goes at the same frequency is a telegram of ripple control; a steady one is an interharmonic. Two lines at
the same distance on both sides of the fundamental are not interharmonics but a modulation of it, flicker.

Source: IEC 61000-4-30:2015, 5.9 and 5.10; IEC 61000-2-2:2002, 4.10 (ripple control 110 to 3000 Hz, keyed);
EN 50160:2010, 4.2.6 leaves the levels of interharmonics open, so the threshold is ours.
"""

from collections.abc import Iterator

import numpy as np

from opq_measure.analysis.lasting_conditions import (
    BACK_SHARE,
    THD_SIGMA,
    WindowSeries,
    condition,
    lasting,
    most_and_mean,
    windows_in,
)
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.events.spans import Span
from opq_measure.signal import BoolArray, FloatArray
from opq_measure.timebase.cycles import WINDOW_S

MAX_INTERHARMONIC_PERCENT = 1.0
"""The strongest line, percent of the fundamental; EN 50160 has no limit."""
TONE_OVER_NOISE = 6.0
"""Multiple of the rms of the noise in one bin; the largest of 500 bins has 3.1 times."""
MIRRORED_RATIO = 0.5
"""Least ratio of the mirrored line to the line where both are a modulation."""
MIN_SIGNAL_HZ = 110.0
"""Lowest frequency of ripple control (IEC 61000-2-2:2002, 4.10.1)."""
MAX_SIGNAL_HZ = 3000.0
"""Highest frequency of ripple control (IEC 61000-2-2:2002, 4.10.1)."""
SAME_HZ = 3.0
"""Largest deviation in frequency of a keyed line from window to window."""
KEYED_SHARE = 0.7
"""A line that falls below this share of its upper levels is keyed; a steady one stays within a tenth."""
MIN_TELEGRAM_S = 0.8
LONGEST_PAUSE_S = 5.0
MIN_PULSE_S = 0.6
"""Shortest pulse between silences that is a telegram, because a short waveform shows only one of them."""
LONGEST_PULSE_S = 2.5
"""Longest such pulse."""


def tones_in(series: WindowSeries, limit_percent: float = MAX_INTERHARMONIC_PERCENT) -> list[Occurrence]:
    """Interharmonics and mains signalling of a signal, in time order."""
    percent = 100 * series.interharmonic
    audible = _stands_out(series)
    found: list[Occurrence] = []
    taken = np.zeros(len(percent), bool)
    for span, hz in _telegrams(series, percent, audible, limit_percent):
        taken[span.start : span.stop] = True
        found.append(_signalling(series, span, percent, hz, limit_percent))
    steady = np.where(taken | ~audible & np.isfinite(percent), 0.0, percent)
    for span in lasting(steady, limit_percent):
        most, mean = most_and_mean(percent, span)
        hz = float(np.nanmedian(series.interharmonic_hz[span.start : span.stop]))
        found.append(
            condition(
                series,
                span,
                "interharmonics",
                confidence_of(mean, limit_percent, THD_SIGMA * mean),
                f"{mean:.2f} % of the fundamental at {hz:.1f} Hz, above {limit_percent:g} %",
                {"interharmonic_hz": hz, "interharmonic_percent": mean, "interharmonic_percent_max": most},
            )
        )
    return sorted(found, key=lambda each: each.start_sample)


def _stands_out(series: WindowSeries) -> BoolArray:
    """(w,) whether the strongest line is a line: neither noise nor one side of a modulation."""
    bin_noise = series.noise * np.sqrt(2 / (WINDOW_S * series.rate_hz))
    audible: BoolArray = series.interharmonic > TONE_OVER_NOISE * np.nan_to_num(bin_noise)
    beside = np.abs(series.interharmonic_hz - series.nominal_hz) < series.nominal_hz
    return audible & ~(beside & (series.mirrored > MIRRORED_RATIO * series.interharmonic))


def _telegrams(
    series: WindowSeries, percent: FloatArray, audible: BoolArray, limit_percent: float
) -> Iterator[tuple[Span, float]]:
    """Runs of windows with one line that comes and goes, and the frequency of each."""
    on = np.flatnonzero(audible & (percent > limit_percent))
    while len(on):
        hz = float(np.median(series.interharmonic_hz[on]))
        same = on[np.abs(series.interharmonic_hz[on] - hz) <= SAME_HZ]
        if not len(same):
            return
        on = on[~np.isin(on, same)]
        for run in np.split(same, np.flatnonzero(np.diff(same) > windows_in(LONGEST_PAUSE_S)) + 1):
            span = Span(int(run[0]), int(run[-1]) + 1, int(run[-1]) + 1 < len(percent))
            if not MIN_SIGNAL_HZ <= hz <= MAX_SIGNAL_HZ:
                continue
            if _is_keyed(percent, span, len(run)) or _is_pulse(percent, span, limit_percent):
                yield span, hz


def _is_keyed(percent: FloatArray, span: Span, audible: int) -> bool:
    """Whether a line of `span`, present in `audible` windows of it, comes and goes within."""
    inner = percent[span.start + 1 : span.stop - 1]
    inner = inner[np.isfinite(inner)]
    if len(inner) < windows_in(MIN_TELEGRAM_S) or audible <= 2:
        return False
    high, low = np.percentile(inner, 85), np.percentile(inner, 15)
    return bool(low < KEYED_SHARE * high)


def _is_pulse(percent: FloatArray, span: Span, limit_percent: float) -> bool:
    """Whether it is one pulse of a telegram: it is as long as a pulse, with no line before and after it."""
    long_enough = MIN_PULSE_S <= (span.stop - span.start) * WINDOW_S <= LONGEST_PULSE_S
    # the windows next to the pulse may contain a part of it
    around = (span.start - 2, span.stop + 1)
    if not long_enough or around[0] < 0 or around[1] >= len(percent):
        return False
    return bool(np.all(percent[list(around)] < BACK_SHARE * limit_percent / 2))


def _signalling(
    series: WindowSeries, span: Span, percent: FloatArray, hz: float, limit_percent: float
) -> Occurrence:
    levels = percent[span.start : span.stop]
    most = float(np.nanmax(levels))
    share = float(np.nanmean(levels > BACK_SHARE * limit_percent))
    return condition(
        series,
        span,
        "mains_signalling",
        confidence_of(most, limit_percent, THD_SIGMA * most),
        f"a keyed line of {hz:.1f} Hz, {most:.2f} % of the fundamental, on for {100 * share:.0f} %",
        {"signal_hz": hz, "signal_percent": most, "on_share": share},
    )

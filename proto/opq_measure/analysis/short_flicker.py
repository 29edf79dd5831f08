"""Flicker in a waveform of seconds: Pinst that stays high, where Pst would need ten minutes.

The result is the Pst that the observed flicker would have if it went on for ten minutes. The effect of a dip,
a step or a jump on the eye is not flicker. So the meter starts again after each; otherwise its mean of 27.3 s
would include the level of a dip. White noise also causes Pinst, in proportion to its power; only the
excess counts.

Source: IEC 61000-4-15:2010, 5.3 to 5.7 (`opq_measure.flicker`); IEC 61000-3-3:2013, clause 5: Pst 1.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.lasting_conditions import MAX_PST
from opq_measure.analysis.level_steps import step_places
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.flicker.lamps import lamp_for
from opq_measure.flicker.meter import MIN_RATE, MIN_S, severity
from opq_measure.flicker.sensation import SETTLE_S, Sensation
from opq_measure.signal import BoolArray, FloatArray, SignalArray

NOISE_PINST = 2000.0
"""Mean Pinst of white noise over the square of its ratio to the fundamental, 1090 to 2020 by lamp."""
PST_1_PINST = 2 * 0.51
"""Pst^2 of a sine over half of its mean Pinst: 0.0314 + 0.0525 + 0.0657 + 0.28 + 0.08."""
PINST_OVER_NOISE = 3.0
"""Multiple of the Pinst of the noise; a value smoothed over a second does not reach it by chance."""
MIN_KNOWN_S = 2.0
"""Least seconds of observed flicker."""
SMOOTH_S = 1.0
STEADY_SHARE = 0.7
"""Least share of the time from first to last excess, because a step is seen once but flicker continues."""
HALF_LEVEL = 0.5
"""A mean over a second passes half of its level where the averaged signal begins and ends."""
LATE_S = 0.3
"""Delay of Pinst and its mean; IEC 61000-4-15:2010, 5.5: smoothing of 300 ms."""
PST_SHORT_SIGMA = 0.1
"""Relative standard uncertainty of Pst from some seconds."""


def short_flicker_in(
    volts: SignalArray, analysis: SignalAnalysis, pst_limit: float = MAX_PST, changes: Iterable[float] = ()
) -> list[Occurrence]:
    """At most one occurrence, from where flicker begins to where it ends.

    Args:
        volts: (n,) of `analysis`, without gaps; the result is empty for less than 5 s.
        changes: samples at which the level changes, in addition to those of `analysis`.
    """
    rate_hz = analysis.rate_hz
    if len(volts) < MIN_S * rate_hz or rate_hz < MIN_RATE * analysis.nominal_hz:
        return []
    cycle = rate_hz / analysis.nominal_hz
    sudden = [*_sudden(analysis), *((each - cycle, each + cycle) for each in changes)]
    for run in list(_runs_between(sudden, len(volts), SETTLE_S * rate_hz)):
        sudden += _steps_in(analysis, run)
    runs = list(_runs_between(sudden, len(volts), SETTLE_S * rate_hz))
    if not runs:
        return []
    of_noise = _pinst_of_noise(analysis)
    limit = max(pst_limit**2 / PST_1_PINST, PINST_OVER_NOISE * of_noise)
    if runs == [slice(0, len(volts))] and (analysis.flicker.pinst_max or math.inf) < limit:
        return []  # the meter has already measured all of it
    meter = _meter(analysis)
    pinst, known = np.zeros(len(volts) // meter.group), np.zeros(len(volts) // meter.group, np.bool_)
    settle = math.ceil(SETTLE_S * meter.work_hz)
    for run in runs:
        found = _pinst(volts[run], analysis)
        first = run.start // meter.group
        pinst[first : first + len(found)] = found
        known[first + settle : first + len(found)] = True
    at = (np.arange(len(pinst)) + 1) * meter.group
    mean = _smoothed(np.where(known, pinst, 0.0), known, round(SMOOTH_S * meter.work_hz))
    above = known & (mean > limit)
    where = np.flatnonzero(above)
    if len(where) == 0:
        return []
    span = slice(int(where[0]), int(where[-1]) + 1)
    seen = np.count_nonzero(above[span])
    if seen < MIN_KNOWN_S * meter.work_hz or seen < STEADY_SHARE * np.count_nonzero(known[span]):
        return []
    own = np.maximum(pinst[span][above[span]] - of_noise, 0.0)
    pst = severity(own)
    if not pst > pst_limit:
        return []
    late, level = LATE_S * rate_hz, max(limit, HALF_LEVEL * float(np.median(mean[where])))
    where = np.flatnonzero(above & (mean > level))
    start = max(0.0, float(at[where[0]]) - late)
    run = next(each for each in reversed(runs) if each.start < at[where[0]])
    if where[0] <= run.start // meter.group + settle + meter.work_hz / 2:
        start = run.start + _start_backwards(volts[run], analysis, level, start - run.start)
    open_at_start = start == 0.0
    is_open = bool(where[-1] >= len(pinst) - meter.work_hz / 2)
    return [
        Occurrence(
            kind="flicker",
            start_sample=start,
            end_sample=float(len(volts)) if is_open else float(at[where[-1]]) - late,
            rate_hz=rate_hz,
            nominal_hz=analysis.nominal_hz,
            confidence=confidence_of(pst, pst_limit, PST_SHORT_SIGMA * pst),
            because=(
                f"Pinst {float(own.mean()):.3g} in the mean over {seen / meter.work_hz:.1f} s, "
                f"Pst {pst:.2f} if it goes on for ten minutes, above {pst_limit:g}"
            ),
            figures={"pst_of_seen": pst, "pinst_mean": float(own.mean())},
            open=is_open,
            open_at_start=open_at_start,
        )
    ]


def is_hidden_by_noise(analysis: SignalAnalysis, pst_limit: float = MAX_PST) -> bool:
    """Whether flicker at the limit is below the Pinst that is needed to count in this noise."""
    return PINST_OVER_NOISE * _pinst_of_noise(analysis) > pst_limit**2 / PST_1_PINST


def _pinst_of_noise(analysis: SignalAnalysis) -> float:
    noise = analysis.series.noise
    return NOISE_PINST * float(np.nanmedian(noise)) ** 2 if np.isfinite(noise).any() else 0.0


def _steps_in(analysis: SignalAnalysis, run: slice) -> list[tuple[float, float]]:
    """Spans (samples) of Urms(1/2) values that contain the switching of a load."""
    inside = (analysis.half_starts >= run.start) & (analysis.half_starts < run.stop)
    inside &= np.isfinite(analysis.half_rms_v)
    cycle, level = analysis.rate_hz / analysis.nominal_hz, analysis.half_rms_v[inside]
    places = analysis.half_starts[inside][list(step_places(level, 2 * analysis.nominal_hz))]
    return [(float(each) - cycle, float(each) + cycle) for each in places]


def _meter(analysis: SignalAnalysis) -> Sensation:
    return Sensation(analysis.rate_hz, lamp_for(analysis.nominal_v, analysis.nominal_hz))


def _pinst(volts: SignalArray, analysis: SignalAnalysis) -> FloatArray:
    """(k,) Pinst of one run of samples, as `Sensation` gives it."""
    meter = _meter(analysis)
    return np.concatenate((meter.push_volts(volts), meter.end()))


def _runs_between(sudden: Iterable[tuple[float, float]], count: int, least: float) -> Iterator[slice]:
    """The stretches of `count` samples that are longer than `least` and contain no sudden change."""
    begin = 0
    for first, last in sorted(sudden):
        if first - begin > least:
            yield slice(begin, math.floor(first))
        begin = max(begin, math.ceil(last))
    if count - begin > least:
        yield slice(begin, count)


def _start_backwards(volts: SignalArray, analysis: SignalAnalysis, level: float, before: float) -> float:
    """Start of flicker that began before the meter settled, found by running the meter backwards."""
    meter = _meter(analysis)
    pinst = _pinst(volts[::-1], analysis)
    mean = _smoothed(pinst, np.ones(len(pinst), bool), round(SMOOTH_S * meter.work_hz))
    at = len(volts) - (np.arange(len(pinst)) + 1.0) * meter.group
    early = (at < before) & (mean > level)
    if not early.any():
        return before
    first = float(at[early].min()) + LATE_S * analysis.rate_hz
    return min(before, first) if first > (LATE_S + SMOOTH_S / 2) * analysis.rate_hz else 0.0


def _sudden(analysis: SignalAnalysis) -> Iterable[tuple[float, float]]:
    """Spans to leave out: dips, swells, steps and jumps, which are seen once, and lines whose beats cause
    flicker."""
    cycle = analysis.rate_hz / analysis.nominal_hz
    for each in analysis.events:
        if each.kind in ("harmonics", "interharmonics", "mains_signalling", "periodic_notching", "flicker"):
            low = each.kind == "interharmonics" and _is_near(analysis, each)
            if not low:
                yield each.start_sample - cycle, each.start_sample + cycle
                continue
        yield each.start_sample - cycle, each.end_sample + cycle


def _is_near(analysis: SignalAnalysis, each: object) -> bool:
    """Whether a line beats visibly with the fundamental: below twice its frequency."""
    hz = each.figures.get("interharmonic_hz", math.inf) if isinstance(each, Occurrence) else math.inf
    return bool(hz < 2 * analysis.nominal_hz)


def _smoothed(values: FloatArray, known: BoolArray, count: int) -> FloatArray:
    """(n,) mean of the known values among `count` around each."""
    half = max(1, count // 2)
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    total, seen = np.concatenate(([0.0], np.cumsum(values))), np.concatenate(([0], np.cumsum(known)))
    return np.asarray((total[last] - total[first]) / np.maximum(seen[last] - seen[first], 1))

"""The time offset between two recordings of one event, from their samples alone.

The fundamental's phase gives the lag to a hundredth of a sample, but not the number of whole cycles. That
number comes from what happens only once: the difference from one cycle before, which is zero while the
voltage is steady and lasts for a cycle at each edge of a dip. The phase differs between two places of one
grid by some tenths of a degree, and not by the same amount before and after an event: the lag is the mean of
the lags before and after, and its uncertainty includes their difference.

Source: Knapp and Carter 1976 (delay by cross-correlation), for the cycle.
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import FloatArray, SignalArray
from opq_measure.timebase.cycles import Track, track
from opq_measure.waveform.residual import phases_rad
from opq_measure.waveform.steady import steady_wave

SITES_DEGREES = 0.4
"""Standard uncertainty of the angle between two places of one distribution grid; 0.2 sample at 12 kS/s."""
STRETCH_CYCLES = 5.0
"""Length of the stretches whose phases are compared."""
ORDERS = 25
"""Harmonics fitted with the phase; higher ones are small and far from it."""
QUIET_SHARE = 0.02
"""A stretch is steady up to this rms residual of its fit, as a share of the fundamental's peak: 31 dB of
noise."""
QUIET_RESIDUAL_RATIO = 1.5
"""In more noise a stretch is steady up to this many times the median residual of the stretches."""
LOUD_RATIO = 2.0
"""The rms over a cycle of the difference from one cycle before is more than noise above this many times its
median."""
EVENT_SHARE = 0.2
"""The event is where the rms over a cycle of that difference exceeds this share of its maximum."""
MIN_OVERLAP_S = 0.2
"""Least overlap of the two recordings."""
MIN_SIMILAR = 0.5
"""Least correlation of the differences at which the choice of the cycle is accepted."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Sample n of the second recording shows the instant of sample n + `samples` of the first.

    `uncertainty_samples` is a standard uncertainty. `before` and `after` are the lags before and after the
    event from the phase alone, NaN where there is no steady stretch. `similarity` is the correlation at the
    chosen cycle, `next_best` the highest one at another cycle: the closer they are, the less certain the
    cycle.
    """

    samples: float
    seconds: float
    uncertainty_samples: float
    before: float
    after: float
    similarity: float
    next_best: float


def lag_between(first: SignalArray, second: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> Lag:
    """The lag of two recordings of the same event in the same grid.

    Args:
        first, second: (n,) and (m,) counts or volts, each with its own gain, of the seconds around a dip,
            swell, step or jump that both have recorded; held in memory as a whole.
        rate_hz: of both; a difference of 10 ppm is 0.1 samples in a second.
    Raises:
        ValueError: see `signal.check_signal`; shorter than 10 cycles; nothing happens in them that identifies
            the cycle; no steady stretch in both.

    Error: 0.001 samples rms for a grid without angle between the places; at 30 dB of noise within 20 us rms
    for dips of 15 to 90 % (test_measure_alignment.py); on the two real recordings 822.5
    (test_measure_recordings.py).
    """
    tracks = track(first, rate_hz, nominal_hz), track(second, rate_hz, nominal_hz)
    if min(len(each.edges(1)) for each in tracks) < 11:
        raise ValueError(f"want at least 10 cycles of {nominal_hz:g} Hz in both recordings")
    news = _news(first, tracks[0]), _news(second, tracks[1])
    lags, similarity = _similarity(*news, round(MIN_OVERLAP_S * rate_hz))
    if len(lags) == 0 or not (best := float(similarity.max())) >= MIN_SIMILAR:
        raise ValueError(
            f"the two have nothing in common that shows which cycle it is (want a correlation of "
            f"{MIN_SIMILAR:g}): record a dip or a step that both have seen"
        )
    coarse = int(lags[np.argmax(similarity)])
    begin, end = _event(news[0], rate_hz / nominal_hz)
    before = _by_phase(first, second, tracks, coarse, 0.0, begin)
    after = _by_phase(first, second, tracks, coarse, end, math.inf)
    medians = [float(np.median(part)) for part in (before, after) if len(part)]
    if not medians:
        raise ValueError(f"no steady stretch of {STRETCH_CYCLES:g} cycles that both recordings have")
    period = rate_hz / nominal_hz
    other = similarity[np.abs(lags - coarse) > 0.5 * period]
    scatter = [float(np.std(part)) / math.sqrt(len(part)) for part in (before, after) if len(part)]
    lag = float(np.mean(medians))
    return Lag(
        samples=lag,
        seconds=lag / rate_hz,
        uncertainty_samples=math.hypot(
            (medians[0] - medians[-1]) / 2, max(scatter), SITES_DEGREES / 360.0 * period
        ),
        before=float(np.median(before)) if len(before) else math.nan,
        after=float(np.median(after)) if len(after) else math.nan,
        similarity=best,
        next_best=float(other.max(initial=-1.0)),
    )


def _news(volts: SignalArray, tracked: Track) -> FloatArray:
    """(n,) the difference from one cycle before, as a share of the fundamental's amplitude.

    It is 0 in the first cycle and where it is not more than noise.
    """
    part = np.asarray(volts, dtype=np.float64)
    at = np.arange(len(part), dtype=np.float64)
    phase = phases_rad(tracked, at)
    before = np.interp(phase - 2 * math.pi, phase, at, left=math.nan)
    news = part - np.interp(before, at, part)
    size = float(np.median(tracked.amplitude))
    found = np.where(np.isfinite(before), news, 0.0) / (size if size > 0 else 1.0)
    cycle = max(1, round(tracked.rate_hz / tracked.nominal_hz))
    rms = np.sqrt(np.convolve(found * found, np.ones(cycle) / cycle, "same"))
    return np.where(rms > LOUD_RATIO * float(np.median(rms)), found, 0.0)


def _similarity(first: FloatArray, second: FloatArray, overlap: int) -> tuple[FloatArray, FloatArray]:
    """Lags with enough overlap, and the correlation at each, normalised by the whole energy of both."""
    power = math.sqrt(float(first @ first) * float(second @ second))
    lags = np.arange(-(len(second) - 1), len(first), dtype=np.float64)
    inside = (np.minimum(len(first), lags + len(second)) - np.maximum(0.0, lags)) >= overlap
    if not power > 0:
        return lags[:0], lags[:0]
    return lags[inside], _correlation(first, second)[inside] / power


def _correlation(first: FloatArray, second: FloatArray) -> FloatArray:
    """(n + m - 1,) sums of products at the lags -(m - 1) .. n - 1, by FFT."""
    behind = len(second) - 1
    least = len(first) + behind
    size = min(
        m << (-(-least // m) - 1).bit_length() for m in (1, 3, 5, 9, 15, 25, 27, 45)
    )  # small factors are fast
    found = np.fft.irfft(np.fft.rfft(first, size) * np.fft.rfft(second, size).conj(), size)
    return np.concatenate((found[size - behind :], found[: len(first)]))


def _event(news: FloatArray, period: float) -> tuple[float, float]:
    """First and last sample of the event: the rms over a cycle is above a share of its maximum."""
    size = round(period)
    energy = np.concatenate(([0.0], np.cumsum(news**2)))
    rms = np.sqrt(np.maximum(energy[size:] - energy[:-size], 0.0))
    above = np.flatnonzero(rms > EVENT_SHARE * rms.max())
    return float(above[0]), float(above[-1] + size)


def _by_phase(
    first: SignalArray,
    second: SignalArray,
    tracks: tuple[Track, Track],
    coarse: int,
    begin: float,
    end: float,
) -> FloatArray:
    """(k,) the lag from the phases of both, in each steady stretch from `begin` to `end` of the first."""
    rate_hz = tracks[0].rate_hz
    size = round(STRETCH_CYCLES * rate_hz / tracks[0].nominal_hz)
    start = math.ceil(max(begin, coarse, 0))
    stop = math.floor(min(end, len(first), coarse + len(second)))
    found: list[tuple[float, float, float]] = []
    for at in range(start, stop - size + 1, size):
        hz = tracks[0].frequency_hz(at, at + size)
        if not math.isfinite(hz):
            continue
        one = steady_wave(first, rate_hz, at, at + size, hz, ORDERS)
        two = steady_wave(second, rate_hz, at - coarse, at - coarse + size, hz, ORDERS)
        turn = math.remainder(two.phase_rad(two.middle) - one.phase_rad(one.middle), 2 * math.pi)
        found.append((coarse + turn / one.step_rad, one.rest / one.amplitude, two.rest / two.amplitude))
    lags, *rests = np.array(found).reshape(-1, 3).T
    quiet = np.ones(len(lags), dtype=np.bool_)
    for rest in rests:
        quiet &= rest <= max(
            QUIET_SHARE, QUIET_RESIDUAL_RATIO * float(np.median(rest)) if len(rest) else QUIET_SHARE
        )
    return lags[quiet]

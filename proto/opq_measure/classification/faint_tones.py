"""A line between the harmonics that the noise hides in each window of 0.2 s, found over the whole signal.

What the mean cycle leaves holds no harmonics. Over all of it, T seconds, a line of constant phase stands out
of the noise sqrt(T / 0.2 s) times further than in a window, and a keyed one still by the share of its time.
Its threshold follows from the noise: chance gives one in 10^5 signals. Then it is brought down to 0 Hz, and
the scatter of its power over 80 ms says whether it is keyed: what is beyond that of a steady line in such
noise.

Source: S. M. Kay, Fundamentals of Statistical Signal Processing II, 1998, 7.6 (sinusoid of unknown frequency
and phase); IEC 61000-2-2:2002, 4.10 (telegrams).
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray

MIN_HZ = 20.0
"""Lowest frequency at which a tone is searched."""
MAX_HZ = 3000.0
"""Highest frequency at which a tone is searched."""
CHANCE = 1e-5
"""Share of records in which noise alone shows such a tone."""
AROUND_HZ = 300.0
"""Range around a line whose median gives its noise."""
POWER_S = 0.08
"""Length of stretches whose power is compared; a bit of ripple control has 0.1 s and more."""
HOP_S = 0.02
"""Distance of these stretches."""
SMOOTH_HOPS = 25
"""Half a second: longer than most bits, shorter than a stretch with a line."""
BOUND_HOPS = 5
"""Accuracy of the beginning and end of a line, 0.1 s."""
MIN_HOPS = 100
"""Least length of a line, two seconds: longer than equal bits of a telegram."""
CONTINUED_POWER_SHARE = 0.25
"""With this power beside a stretch, over the power in it, the line is a telegram that continues."""
MIN_KEYED_S = 1.2
"""A shorter signal has too few bits of a telegram."""
KEYED_SCATTER = 0.35
"""Scatter of the power beyond that of a steady line, over its square. A line that is on for 74 % of the time
has it."""
MIN_ON_SHARE = 0.25
"""Least share of the time that a telegram is on."""
MIN_S = 0.3
"""A shorter record is not searched."""
MIN_SHARE = 0.2
"""Least usable share of a signal, for example beside a long dip; some tenths of a second show a line."""
NEXT_SHARE = 0.6
"""Share of the way from one harmonic to the next, beyond which the next harmonic counts as nearer."""
BESIDE_HZ = 2.0
"""A residual this near to a harmonic is the harmonic's own movement."""


@dataclass(frozen=True, slots=True)
class FaintTone:
    """`percent` of the fundamental while it is on, by rms; `sigmas`: amplitude over the noise of its bin."""

    hz: float
    percent: float
    on_share: float
    keyed: bool
    mirrored: bool
    """Another line of half its size or more lies on the other side of the fundamental: a modulation."""
    sigmas: float


def faint_tone(
    residual: FloatArray,
    usable: BoolArray,
    rate_hz: float,
    fundamental_v: float,
    mains_hz: float,
    least_percent: float = 0.0,
) -> FaintTone | None:
    """The strongest line, if one stands out.

    Args:
        residual: (n,) volts, what the mean cycle leaves; usable (n,): where it is valid.
        fundamental_v: rms of the fundamental; mains_hz: its frequency.
        least_percent: of the fundamental; smaller lines are ignored, if on for a quarter of the time or more.
    """
    count = len(residual)
    if count < MIN_S * rate_hz or np.count_nonzero(usable) < MIN_SHARE * count or not fundamental_v > 0:
        return None
    clean = np.where(usable, residual, 0.0)
    window = np.hanning(count + 2)[1:-1] * usable
    size = 1 << (2 * count - 1).bit_length()
    bins_hz = np.fft.rfftfreq(size, 1 / rate_hz)
    power = np.abs(np.fft.rfft(clean * window, size)) ** 2
    beside = np.abs(bins_hz - mains_hz * np.round(bins_hz / mains_hz)) < max(BESIDE_HZ, 3 * rate_hz / count)
    inside = (bins_hz >= MIN_HZ) & (bins_hz <= min(MAX_HZ, 0.45 * rate_hz)) & ~beside
    if not inside.any():
        return None
    at = int(np.argmax(np.where(inside, power, 0.0)))
    if power[beside & (np.abs(bins_hz - bins_hz[at]) < NEXT_SHARE * mains_hz)].max(initial=0.0) > power[at]:
        return None  # the residual of a harmonic that comes or goes
    near = inside & (np.abs(bins_hz - bins_hz[at]) < AROUND_HZ)
    floor = float(np.median(power[near])) / math.log(2)
    if not power[at] > floor * math.log(np.count_nonzero(inside) / CHANCE):
        return None
    coherent_v2 = 2 * float(power[at]) / float(window.sum()) ** 2
    if math.sqrt(coherent_v2) < MIN_ON_SHARE * least_percent / 100 * fundamental_v:
        return None
    hz = float(bins_hz[at])
    noise_v2 = floor / float(window @ window)  # of one sample, as white noise
    mean_v2, scatter = _power(clean, usable, rate_hz, hz, noise_v2)
    long = count >= MIN_KEYED_S * rate_hz
    keyed = long and scatter > KEYED_SCATTER
    level_v2 = mean_v2 * (1 + max(0.0, scatter)) if keyed else max(mean_v2, coherent_v2)
    mirror = round((2 * mains_hz - hz) / (bins_hz[1] - bins_hz[0]))
    mirrored = mirror > 2 and float(power[mirror - 2 : mirror + 3].max()) > 0.25 * float(power[at])
    return FaintTone(
        hz,
        100 * math.sqrt(max(level_v2, 0.0)) / fundamental_v,
        1 / (1 + max(0.0, scatter)) if keyed else 1.0,
        keyed,
        mirrored,
        math.sqrt(float(power[at]) / floor),
    )


def _power(
    clean: FloatArray, usable: BoolArray, rate_hz: float, hz: float, noise_v2: float
) -> tuple[float, float]:
    """Mean square of the line, volts squared, and the scatter of its power beyond a steady line's.

    Both over stretches of `POWER_S` under a Hann window, with what the noise adds taken off.
    """
    size, hop = round(POWER_S * rate_hz), round(HOP_S * rate_hz)
    window = np.hanning(size + 2)[1:-1]
    turned = clean * np.exp(-2j * np.pi * hz / rate_hz * np.arange(len(clean)))
    rows = np.lib.stride_tricks.sliding_window_view(turned, size)[::hop]
    whole = np.lib.stride_tricks.sliding_window_view(usable, size)[::hop].all(axis=1)
    if np.count_nonzero(whole) < 3:
        return 0.0, 0.0
    noise = 2 * noise_v2 * float(window @ window) / float(window.sum()) ** 2
    power = _while_there(2 * np.abs(rows[whole] @ window) ** 2 / window.sum() ** 2, noise)
    mean = max(float(power.mean()) - noise, 0.0)
    if not mean > 0:
        return 0.0, 0.0
    return mean, (float(power.var()) - 2 * mean * noise - noise**2) / mean**2


def _while_there(power: FloatArray, noise: float) -> FloatArray:
    """The power of a line, every `HOP_S`, while it lasts; all of it if that is not one stretch.

    A line that lasts from one instant to another is not a telegram: that comes and goes more often.
    """
    smooth = np.convolve(power, np.ones(SMOOTH_HOPS), "same")
    above = np.flatnonzero(smooth > smooth.max() / 2)
    one_stretch = above[-1] - above[0] == len(above) - 1
    if one_stretch and len(above) >= 2 * SMOOTH_HOPS:
        return power[above]
    return power[_stretch(power, noise)]


def _stretch(power: FloatArray, noise: float) -> slice:
    """The one stretch of a line in which noise makes gaps; all of it where as much lies outside.

    Its beginning and end are those with the least squares.
    """
    count = len(power)
    bounds = np.append(np.arange(0, count, BOUND_HOPS), count)
    sums = np.concatenate(([0.0], np.cumsum(power - noise)))[bounds]
    long = bounds[None, :] - bounds[:, None]
    mean = float(sums[-1]) / count
    usual = (long >= MIN_HOPS) & (long < count)
    if not usual.any():
        return slice(0, count)
    weight = np.where(usual, long * (1 - long / count), np.inf)
    gain = np.where(usual, (sums[None, :] - sums[:, None] - mean * long) ** 2 / weight, 0.0)
    first, last = np.unravel_index(int(np.argmax(gain)), gain.shape)
    begin, end = int(bounds[first]), int(bounds[last])
    inside = float(sums[last] - sums[first])
    beside = (float(sums[-1]) - inside) / (count - (end - begin))
    return slice(begin, end) if beside < CONTINUED_POWER_SHARE * inside / (end - begin) else slice(0, count)

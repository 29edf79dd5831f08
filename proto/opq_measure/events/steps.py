"""Where a waveform changes into another one: a step or a short ramp, to a fraction of a millisecond.

The two waveforms are the cycle before the change, repeated forwards, and the cycle after it, repeated
backwards. The change is where the signal switches from the one to the other. Every difference helps to find
it: amplitude, phase, harmonics. The rms alone shows little of a step near a zero crossing, and shows a phase
jump as a dip.

Source: maximum likelihood of a change point between two known waveforms in white noise (Basseville and
Nikiforov, Detection of Abrupt Changes, 1993, 2.6), the ramp a mixture of both.
"""

import numpy as np

from opq_measure.signal import FloatArray

MISFIT_SHARE = 0.06
"""Most of the difference's energy that the model may leave; noise of 40 dB leaves 0.02 of a dip of 10 %."""
STEP_MODEL = 0.02
"""Share of the difference's energy that a step may leave, in addition to noise."""
RAMP_MODEL = 0.0007
"""Share of the difference's energy that a ramp may leave, in addition to noise."""
NOISE_ENERGY = 3.0
"""Energy of noise that both may leave, as a multiple of the energy between two cycles."""
STEP_RAMP_CYCLES = 0.25
"""A ramp of up to this many cycles counts as a step; the signal after it need not be steady."""
CLEARLY_BETTER_SHARE = 0.5
"""A longer ramp is accepted if it leaves less than this share of what a shorter one leaves."""
IMPULSE_CYCLES = 0.05
"""Cycles before and after the peak of an impulse, as of a fault's lightning, that are left out."""
IMPULSE_FOOT_SHARE = 0.25
"""Share of the largest difference of both waveforms; an impulse lasts while it is further off both."""
REACHES = (
    (0.5, (0.06, 0.08, 0.1, 0.12, 0.15, 0.19, 0.23, 0.28, 0.33, 0.39, 0.46, 0.54)),
    (1.5, (0.6, 0.7, 0.85, 1, 1.2, 1.4, 1.65)),
)
"""Search range around the change, and lengths of ramps that are tried besides the step, in cycles."""
MIN_CYCLES = 0.3
"""Shortest dip that `dip_between` finds."""
MAX_CYCLES = 3.6
"""Longest dip that `dip_between` finds; only five Urms(1/2) show a shallow dip of 3.5 cycles."""


def change_at(volts: FloatArray, near: float, cycle: float, level: float) -> float | None:
    """Position at which the rms passes `level`, by a step or a ramp of up to 1.6 cycles.

    Args:
        volts: (n,) float64.
        near: position within half a cycle of the change.
        cycle: samples per cycle.
        level: rms, in the unit of `volts`; for a step its middle is returned whatever the level.
    Returns:
        A position in `volts`, between two samples; None where no such change explains the signal.
    """
    best, found = np.inf, None
    for reach, ramps in REACHES:
        tried, at = _change(volts, near, cycle, level, reach, ramps)
        if tried < (best if found is None else CLEARLY_BETTER_SHARE * best):
            best, found = tried, at
    return found


def _change(
    volts: FloatArray, near: float, cycle: float, level: float, reach: float, ramps: tuple[float, ...]
) -> tuple[float, float]:
    """Share of the energy that the best change within `reach` cycles leaves, and its place; or infinity."""
    first, last = round(near - reach * cycle), round(near + reach * cycle)
    carry = np.ceil(2 * reach) * cycle
    if first - carry < 0 or last + carry > len(volts) - 1:
        return np.inf, 0.0
    before, now, after = (_carried(volts, first, last, by * carry) for by in (-1, 0, 1))
    now = _without_impulse(now, before, after, cycle)
    apart, left = after - before, now - before
    gone = np.concatenate(([0.0], np.cumsum(left * left)))
    rest = np.concatenate(([0.0], np.cumsum((now - after) ** 2)))
    cost = gone + rest[-1] - rest
    at = int(np.argmin(cost))
    best, found, best_length = float(cost[at]), float(at), 0.0
    wanted = _share(before, after, level)
    cross, square = left * apart, apart * apart
    sums = (cross, square, _from(cross), _from(square))
    whole = float(left @ left)
    for length in ramps:
        ramp, tried = _best_ramp(sums, whole, length * cycle)
        if tried < best:
            best, found, best_length = tried, ramp + wanted * length * cycle, length
    energy = float(apart @ apart)
    model = STEP_MODEL if best_length <= STEP_RAMP_CYCLES else RAMP_MODEL
    most = min(
        MISFIT_SHARE * energy, model * energy + NOISE_ENERGY * _unlike(volts, first, last, carry, cycle)
    )
    if not (0 < found < len(now) and best <= most and energy > 0):
        return np.inf, 0.0
    return best / energy, first + found - 0.5


def _without_impulse(now: FloatArray, before: FloatArray, after: FloatArray, cycle: float) -> FloatArray:
    """`now` as `after` where it has a spike, further from both than they are from each other.

    A fault's lightning comes with it, so the change is where the spike begins.
    """
    lowest, highest = np.minimum(before, after), np.maximum(before, after)
    beyond = np.maximum(now - highest, lowest - now)
    at, reach, most = int(np.argmax(beyond)), round(IMPULSE_CYCLES * cycle), float(np.max(highest - lowest))
    if beyond[at] <= most:
        return now
    inside = np.flatnonzero(beyond <= IMPULSE_FOOT_SHARE * most)
    first = max(int(inside[inside < at][-1]) + 1 if (inside < at).any() else 0, at - reach)
    last = min(int(inside[inside > at][0]) if (inside > at).any() else len(now), at + reach)
    return np.concatenate((now[:first], after[first:last], now[last:]))


def _unlike(volts: FloatArray, first: int, last: int, carry: float, cycle: float) -> float:
    """Energy of the difference between neighbouring cycles, on the steadier side; infinity if unknown."""
    found = np.inf
    for side in (-1, 1):
        begin, end = (first + side * carry, last + side * (carry + cycle))
        if (
            min(begin, first + side * (carry + cycle)) >= 0
            and max(end, last + side * carry) <= len(volts) - 2
        ):
            near, far = (_carried(volts, first, last, side * by) for by in (carry, carry + cycle))
            found = min(found, float(np.sum((near - far) ** 2)))
    return found


def dip_between(volts: FloatArray, begin: float, end: float, cycle: float) -> tuple[float, float] | None:
    """First and last position of a dip or swell shorter than 3.5 cycles, near `begin` .. `end`.

    Inside, the signal is the cycle before, repeated, with another amplitude and phase; outside it is that
    cycle itself. None where this does not explain the signal.
    """
    first, last = round(begin - cycle / 2), round(end + cycle / 2)
    back = cycle * np.ceil((last - first) / cycle + 0.25)
    if first - back - cycle / 4 < 0 or last > len(volts) - 1:
        return None
    now = volts[first:last]
    wave, quarter = (_carried(volts, first, last, -by) for by in (back, back + cycle / 4))
    sums = np.array([now * now, now * wave, now * quarter, wave * wave, quarter * quarter, wave * quarter])
    sums = np.concatenate((np.zeros((6, 1)), np.cumsum(sums, axis=1)), axis=1)
    starts = np.arange(0, min(len(now), round(cycle)))
    stops = np.arange(max(0, len(now) - round(cycle)), len(now)) + 1
    xx, xw, xq, ww, qq, wq = sums[:, None, stops] - sums[:, starts, None]
    determinant = np.maximum(ww * qq - wq * wq, 1e-9 * ww * qq + 1e-300)
    explained = (xw * xw * qq - 2 * xw * xq * wq + xq * xq * ww) / determinant
    outside = xx - 2 * xw + ww  # energy left inside without a dip
    total = float(np.sum((now - wave) ** 2))
    cost = total - outside + (xx - explained)
    length = stops[None, :] - starts[:, None]
    cost[(length < MIN_CYCLES * cycle) | (length > MAX_CYCLES * cycle)] = np.inf
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    if not cost[row, column] <= MISFIT_SHARE * total:
        return None
    return first + float(starts[row]) - 0.5, first + float(stops[column]) - 0.5


def _carried(volts: FloatArray, first: int, last: int, by: float) -> FloatArray:
    """The values `by` samples later than the samples `first` .. `last`, interpolated."""
    begin = int(np.floor(first + by))
    part, rest = volts[begin : begin + last - first + 1], first + by - begin
    if rest == 0:
        return part[: last - first]
    found: FloatArray = part[:-1] * (1 - rest) + part[1:] * rest
    return found


def _best_ramp(
    sums: tuple[FloatArray, FloatArray, FloatArray, FloatArray], whole: float, length: float
) -> tuple[float, float]:
    """Start of the best ramp of `length` samples, and the energy that it leaves; it lies wholly inside.

    Args:
        sums: products of the residual with the change and of the change with itself, and the sums of both
            from each position to the end.
        whole: energy of the residual.
    """
    if length <= 0.5:  # of a sample: a step
        return 0.0, np.inf
    cross, square, cross_behind, square_behind = sums
    starts = np.arange(0, len(cross) - int(length), 2)
    rising = (np.arange(np.ceil(length - 0.5)) + 0.5) / length
    behind = starts + len(rising)
    mixed = np.correlate(cross, rising)[starts] + cross_behind[behind]
    own = np.correlate(square, rising * rising)[starts] + square_behind[behind]
    cost = whole - 2 * mixed + own
    at = int(np.argmin(cost))
    if at in (0, len(starts) - 1):  # the best ramp lies partly outside
        return 0.0, np.inf
    return float(starts[at]), float(cost[at])


def _from(values: FloatArray) -> FloatArray:
    """(n + 1,) sum from each position to the end."""
    return np.concatenate((np.cumsum(values[::-1])[::-1], [0.0]))


def _share(before: FloatArray, after: FloatArray, level: float) -> float:
    """Position of `level` between the rms of the two, 0 to 1."""
    own, other = (float(np.sqrt(np.mean(wave * wave))) for wave in (before, after))
    return 0.5 if own == other else min(max((level - own) / (other - own), 0.0), 1.0)

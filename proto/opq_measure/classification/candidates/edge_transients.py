"""A transient at the beginning of a dip, swell or interruption that is hidden in the noise of single samples.

    before: steady wave, fitted -----> extrapolated to the edge |
                                       after: steady wave, fitted, extrapolated back
    residual of both --> correlated with a decaying sine of each frequency, from each instant near the edge on

The mean cycle shows nothing there: no cycle at an edge is like others. So the waves on both sides are fitted
separately and switched where that leaves the least energy. The residual is searched as in
`faint_transients`; only few instants are tried, so that a ringing of 0.15 of the peak stands out at 20 dB. An
impulse moves the instant of least energy: edge and impulse are searched together, and have to explain more
than any bare edge. A dip of less than a cycle leaves no stretch to fit: its wave is that before, smaller or
larger, between the two edges that explain most.

Source: matched filter for a known shape in white noise, Turin 1960; classes of IEEE 1159-2019, 4.2.
"""

import math
from dataclasses import replace

import numpy as np

from opq_measure.classification.by_chance import ODDS_AT_EDGE
from opq_measure.classification.candidates.faint_transients import (
    BELOW_HALF_HZ,
    FRAME_S,
    IMPULSE_DECAY_S,
    RING_DECAY_S,
    FaintTransient,
    RingingTest,
    log_erfc,
)
from opq_measure.least_squares import fitted, orders_within
from opq_measure.signal import FloatArray
from opq_measure.waveform.transients import CUTOFF_HZ

BESIDE_CYCLES = 1.25
"""Largest distance of the rms crossing from the edge."""
BRIEF_BESIDE_CYCLES = 0.35
"""Length left out beside the edge of a dip of 1.2 to 3.5 cycles."""
BRIEF_CYCLES = 0.5
"""Least length of the rest of such a dip."""
BRIEF_LATE_CYCLES = 0.6
"""A dip of less than a cycle ends at the earliest this long before its rms is back."""
TURNED_RAD = math.radians(10.0)
"""A dip of up to 3.5 cycles that turns the wave by more has a jump, and is not searched."""
FIT_CYCLES = 5.0
"""Most cycles over which the waves on both sides of an edge are fitted."""
MIN_CYCLES = 1.5
"""Fewest cycles beside the edge to which a wave can be fitted."""
ORDERS = 13
"""Harmonics of the waves on both sides, where the rate carries them."""
DEAD_CYCLES = 1.0
"""An interruption with fewer cycles after its edge is assumed to leave no wave."""
STEP_SAMPLES = 3
"""A ringing is tried at each of this many samples around the edge."""
SWITCHED_SAMPLES = 16
"""The ringing is compared with the residual this many samples after the edge, when switching is over."""
RINGING_OVER_NOISE_POWER = 3.0
"""A phase that jumps some samples beside the edge leaves a block there and nothing later. So a ringing needs
this multiple of the noise's power, at its frequency, after these samples; noise has it in one of twenty."""
LINE_POWER = 2.5
"""A frequency whose median power before the edge is this multiple of the noise's has a line there. What
begins at the edge is then compared with that power; otherwise each interharmonic would ring at each dip."""
EDGE_TOLERANCE = 25.0
"""Instants at which an edge leaves this much more than at the best instant, in sigma^2, count as not
tried."""
TRIES_PER_ROOT = 0.6
"""Independent impulses that are tried, per root of the number of such instants, by simulated edges."""
TRIES_PER_CELL = 0.5
"""Independent ringings per tried instant and frequency, likewise."""
LEAST_NOISE_SHARE = 1e-6
"""Least noise, as a share of the wave, because the residual of a simulated wave is rounding and not noise."""
LEAST_STEP_SHARE = 0.3
"""Least impulse as a share of the step; a sampler's filter leaves less, where one sample between both waves
is free."""
THIRD_WAVE_S = 0.001
"""Time before an impulse that is searched for a third wave, which shows that the edge was earlier."""
THIRD_WAVE_SIGMAS = 3.5
"""Energy beyond the noise's in this time that shows a third wave."""
RISE_SAMPLES = 2
"""Samples of the impulse's rise before its first weighed sample, not checked for a third wave."""
RINGING_ODDS_FACTOR = 1.15
"""A ringing is this many times less probable by chance, in the logarithm, than its first half wave is as an
impulse: neither shape is quite that which is searched."""
OFF_SAMPLES = 24
"""The instant of least energy is late by half a wave of the ringing: 300 Hz at 12 kS/s."""


def edge_transient(
    volts: FloatArray, rate_hz: float, hz: float, start: float, end: float, dead: bool
) -> FaintTransient | None:
    """The ringing or impulse at the beginning of a disturbance from `start` to `end`, in samples of `volts`.

    Args:
        hz: frequency of the fundamental.
        dead: whether it is an interruption.
    Returns:
        None where nothing stands out of the noise, or too little precedes it to know the wave, or the waves
        cannot be fitted.
    """
    cycle = rate_hz / hz
    brief = end - start < (2 * BESIDE_CYCLES + DEAD_CYCLES) * cycle
    beside = (BRIEF_BESIDE_CYCLES if brief else BESIDE_CYCLES) * cycle
    low, high = round(start - beside), round(start + beside)
    frame = max(16, round(FRAME_S * rate_hz))
    first = max(0, round(low - FIT_CYCLES * cycle))
    stop = min(round(end - beside), round(high + FIT_CYCLES * cycle), len(volts))
    if low - first < MIN_CYCLES * cycle or high + frame > len(volts):
        return None
    shows_after = stop - high >= (BRIEF_CYCLES if brief else DEAD_CYCLES) * cycle
    if not (shows_after or dead or brief):
        return None
    last = min(round(end + beside), len(volts))
    basis = _basis(first, max(high + frame, stop, last), hz / rate_hz)
    sizes = fitted(basis[: low - first], volts[first:low])
    ahead = volts[first:low] - basis[: low - first] @ sizes
    sigma = max(float(np.sqrt(np.mean(ahead * ahead))), LEAST_NOISE_SHARE * float(np.linalg.norm(sizes)))
    if not sigma > 0:
        return None
    within = slice(high - first, stop - first)
    if brief and dead and shows_after:  # few cycles show only the fundamental
        own = basis[:, :2]
        later = own @ fitted(own[within], volts[high:stop])
    elif shows_after and not brief:
        later = basis @ fitted(basis[within], volts[high:stop])
    elif dead:
        later = np.zeros(len(basis))
    else:
        span = (high, stop) if shows_after else (low, min(round(end + beside), len(volts)))
        earliest = None if shows_after else max(low, round(end - BRIEF_LATE_CYCLES * cycle))
        found_wave = _short_wave(volts, basis, sizes, first, span, earliest, high, cycle)
        if found_wave is None:
            return None
        later, stop = found_wave
    if not np.isfinite(later).all():
        return None
    part, seen = volts[low : high + frame], slice(low - first, high + frame - first)
    before, after = basis[seen] @ sizes, later[seen]
    if brief:  # leaves out the other edge
        part = np.concatenate((part[: stop - low], after[stop - low :]))
    early, late = part - before, part - after
    energy = np.concatenate(([0.0], np.cumsum(early * early - late * late)))
    edge = int(np.argmin(energy[: high - low]))
    left = np.concatenate((early[:edge], late[edge:])) / sigma
    found = _impulse(early / sigma, late / sigma, energy[: high - low] / sigma**2, ahead / sigma, rate_hz)
    ringing = _ringing(left, edge, ahead / sigma, rate_hz)
    if found is None or (ringing is not None and ringing.log_chance < RINGING_ODDS_FACTOR * found.log_chance):
        found = ringing
    if found is None:
        return None
    return replace(found, start=low + found.start, stop=low + found.stop, peak=sigma * found.peak)


def _impulse(
    early: FloatArray, late: FloatArray, energy: FloatArray, ahead: FloatArray, rate_hz: float
) -> FaintTransient | None:
    """The impulse with which the wave after begins, if that explains more than a bare edge does.

    Args:
        early, late: (m,) residuals of the waves before and after, in sigmas of the noise.
        energy: (e,) what an edge at each instant leaves, apart from a constant.
        ahead: (n,) residual of the wave before; a line between harmonics looks like impulses, too.
    Returns:
        None where the instants just before show a third wave between the two.
    """
    shape = np.exp(-np.arange(max(2, round(3 * IMPULSE_DECAY_S * rate_hz))) / (IMPULSE_DECAY_S * rate_hz))
    weight = math.sqrt(float(np.sum(shape * shape)))
    first = early[: len(energy)], late[: len(energy)]
    bare = energy - np.where(first[0] * first[1] < 0, first[1] ** 2, 0.0)
    weighed = np.correlate(late, shape, "valid")[: len(energy)] / weight
    at = int(np.argmin(energy - weighed**2))
    usual = np.correlate(ahead, shape, "valid") / weight
    gain = float(bare.min() - energy[at] + weighed[at] ** 2) / max(1.0, float(np.mean(usual * usual)))
    tries = TRIES_PER_ROOT * math.sqrt(max(1.0, float(np.count_nonzero(bare < bare.min() + EDGE_TOLERANCE))))
    peak, step = float(weighed[at]) / weight, float(late[at] - early[at])
    log_chance = math.log(tries) + log_erfc(math.sqrt(max(gain, 0.0) / 2))
    found = FaintTransient(at, at + len(shape), peak, math.nan, math.sqrt(max(gain, 0.0)), log_chance)
    if found.posterior(ODDS_AT_EDGE) <= 0.5 or abs(peak) < LEAST_STEP_SHARE * abs(step):
        return None
    near = early[max(0, at - round(THIRD_WAVE_S * rate_hz)) : max(0, at - RISE_SAMPLES)]
    if float(np.sum(near * near)) > len(near) + THIRD_WAVE_SIGMAS * math.sqrt(2 * len(near)):
        return None
    return found


def _ringing(left: FloatArray, edge: int, ahead: FloatArray, rate_hz: float) -> FaintTransient | None:
    """The ringing in `left`, in sigmas of the noise; `ahead` (n,) is the residual of the wave before."""
    frame = max(16, round(FRAME_S * rate_hz))
    shape = np.exp(-np.arange(frame) / (RING_DECAY_S * rate_hz))
    begins = np.arange(
        max(0, edge - OFF_SAMPLES), min(len(left) - frame, edge + STEP_SAMPLES) + 1, STEP_SAMPLES
    )
    if len(begins) == 0:
        return None
    lines = np.fft.rfft(np.stack([left[at : at + frame] for at in begins]) * shape, axis=1)
    bins_hz = np.fft.rfftfreq(frame, 1 / rate_hz)
    column, last = np.searchsorted(bins_hz, (CUTOFF_HZ, rate_hz / 2 - BELOW_HALF_HZ)).tolist()
    if last <= column:
        return None
    weight = float(np.sum(shape * shape))
    test, columns = RingingTest.of(shape), slice(column, last)
    power = test.energy(lines, columns)
    frames = np.lib.stride_tricks.sliding_window_view(ahead, frame)[:: frame // 4]
    usual = np.median(test.energy(np.fft.rfft(frames * shape, axis=1), columns), axis=0)
    usual /= math.log(2)
    power /= np.where(usual > LINE_POWER, usual, 1.0)
    row, order = np.unravel_index(int(np.argmax(power)), power.shape)
    most = float(power[row, order])
    peak = 2 * float(np.abs(lines[row, column + order])) / weight
    begin = int(begins[row])
    stop = begin + round(2.3 * RING_DECAY_S * rate_hz)
    log_chance = math.log(TRIES_PER_CELL * power.size) - most
    hz = float(bins_hz[column + order])
    found = FaintTransient(begin, stop, peak, hz, math.sqrt(2 * most), log_chance)
    if found.posterior(ODDS_AT_EDGE) <= 0.5:
        return None
    later = left[edge + SWITCHED_SAMPLES :][:frame]
    goes_on = np.abs(
        np.fft.rfft(later * shape[: len(later)], frame)[column:last][max(0, order - 1) : order + 2]
    )
    return found if float(goes_on.max()) ** 2 >= RINGING_OVER_NOISE_POWER * weight else None


def _short_wave(
    volts: FloatArray,
    basis: FloatArray,
    sizes: FloatArray,
    first: int,
    span: tuple[int, int],
    earliest: int | None,
    latest: int,
    cycle: float,
) -> tuple[FloatArray, int] | None:
    """The wave of a dip of few cycles, smaller or larger than that before, and the last sample to use.

    Args:
        basis, sizes, first: the wave before is `basis` (n, k) times `sizes`, from sample `first` on.
        span: samples within the dip, or those around one of less than a cycle.
        earliest: of the latter: the first sample at which it may end; it begins before `latest`.
    Returns:
        None if it turns the wave.
    """
    wave, fundamental = basis @ sizes, basis[:, :2] @ sizes[:2]
    ahead = basis[:, :2] @ (sizes[:2][::-1] * (1, -1))  # by a quarter of a cycle
    seen = slice(span[0] - first, span[1] - first)
    differs = volts[slice(*span)] - wave[seen]
    fits = []
    for changed in (wave, fundamental):  # a far fault takes the harmonics with it, loads nearby keep them
        both = np.column_stack((changed, ahead))
        if earliest is None:
            added, stop = fitted(both[seen], differs), span[1]
            explained = float(added @ (both[seen].T @ differs))
        else:
            ends = slice(earliest - span[0], span[1] - span[0])
            least = round(BRIEF_CYCLES / 2 * cycle)
            explained, added, stop = _between_edges(differs, both[seen], latest - span[0], ends, least)
            stop += span[0] - STEP_SAMPLES
        fits.append((explained, added, both, stop))
    _, added, both, stop = max(fits, key=lambda each: each[0])
    if abs(math.atan2(added[1], 1 + added[0])) > TURNED_RAD:
        return None
    return wave + both @ added, stop


def _between_edges(
    differs: FloatArray, both: FloatArray, most: int, ends: slice, least: int
) -> tuple[float, FloatArray, int]:
    """How much of both waves a dip of less than a cycle adds, what that explains, and where the dip ends.

    Args:
        differs: (n,) what the wave before leaves; `both` (n, 2): that wave, and a fundamental ahead of it.
        most, ends: it begins before sample `most` and ends within `ends`, `least` samples later or more.
    """
    begins, stops = np.arange(most)[:, None], np.arange(ends.start, ends.stop)[None, :]

    def within(values: FloatArray) -> FloatArray:
        total = np.concatenate(([0.0], np.cumsum(values)))
        return np.asarray(total[stops] - total[begins])

    one, two = both.T
    cc, ss, cs = within(one * one), within(two * two), within(one * two)
    c, s = within(one * differs), within(two * differs)
    det = np.where(stops - begins >= least, cc * ss - cs * cs, np.inf)
    explained = (ss * c * c - 2 * cs * c * s + cc * s * s) / det
    at = np.unravel_index(int(np.argmax(explained)), explained.shape)
    added = np.array([ss[at] * c[at] - cs[at] * s[at], cc[at] * s[at] - cs[at] * c[at]]) / det[at]
    return float(explained[at]), added, int(stops[0, at[1]])


def _basis(first: int, last: int, turns: float) -> FloatArray:
    """(last - first, 2 k) cosine and sine of each order, the fundamental's first."""
    orders = np.arange(1, orders_within(1.0, turns, ORDERS) + 1)
    angles = 2 * math.pi * turns * np.arange(first, last)[:, None] * orders
    return np.stack((np.cos(angles), np.sin(angles)), axis=2).reshape(last - first, -1)

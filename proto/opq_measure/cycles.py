"""Where the cycles of the mains begin and end: the fundamental, tracked by its phase.

A Hann window of two cycles moves over the signal in steps of a quarter cycle; the phase of the
fundamental under it, unwrapped, says at which fractional sample each cycle begins. The window's
length follows the signal's own frequency, so that DC, the mirror image and all harmonics fall into its
zeros; dips, notches and harmonics therefore do not move the boundaries. Where there is no
fundamental (an interruption) the boundaries go on evenly from the last to the next that was seen.

Source: IEC 61000-4-30:2015, 5.1 (frequency by cycles of the fundamental) and 5.4.1 (zero crossings of
the fundamental as window boundaries).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import BoolArray, FloatArray, SignalArray, check_signal

HOPS_PER_CYCLE = 4
WINDOW_CYCLES = 2
FAINT = 0.02
"""Below this share of the signal's usual fundamental its phase is taken as unknown: noise and crosstalk."""
STEP = 0.05
"""Change of amplitude over one cycle, of the larger, from which a window counts as straddling a step."""
FAR_FAINT = 0.3
"""A window this much fainter than one a cycle away straddles the tail of a step."""
SHARE = 0.25
"""Least share of the power that the fundamental has in a window whose phase is believed."""
RETUNE = 0.002
"""Relative frequency error from which a window is tuned anew; leaves < 2e-4 rad of leakage."""
SAMPLES_AT_ONCE = 1 << 18
"""Samples in overlapping windows, 2 MiB; larger blocks fall out of the cache, 5 times slower."""


@dataclass(frozen=True, slots=True)
class Track:
    """The fundamental of a signal: its phase and amplitude every quarter cycle.

    `positions` (m,) in samples, `phase_rad` (m,) unwrapped, a rising zero crossing at multiples of
    2 pi; `amplitude` (m,) peak, in the signal's unit; `known` (m,) False where the phase was only
    carried on. Empty for a signal shorter than two nominal cycles.
    """

    samples: int
    rate_hz: float
    nominal_hz: float
    positions: FloatArray
    phase_rad: FloatArray
    amplitude: FloatArray
    known: BoolArray

    def edges(self, per_cycle: int = 1) -> FloatArray:
        """Fractional sample positions, rising, 0 .. n, where the phase passes a whole `2 pi / per_cycle`."""
        if len(self.positions) == 0:
            return np.empty(0)
        positions, phase_rad = self._to_the_ends()
        step = 2 * np.pi / per_cycle
        slack = 1e-6  # an edge as little outside the signal is rounding, and on its first or last sample
        first, last = np.ceil(phase_rad[0] / step - slack), np.floor(phase_rad[-1] / step + slack)
        found: FloatArray = np.interp(step * np.arange(first, last + 1), phase_rad, positions)
        return found

    def known_between(self, starts: FloatArray, stops: FloatArray) -> BoolArray:
        """(m,) whether the fundamental was seen in at least half of each span of positions."""
        if len(self.positions) == 0:
            return np.zeros(len(starts), dtype=np.bool_)
        seen = np.concatenate(([0.0], np.cumsum(self.known)))
        first = np.searchsorted(self.positions, starts)
        last = np.searchsorted(self.positions, stops)
        empty = last <= first  # before the first or behind the last window: believe the nearest
        first = np.where(empty, np.clip(first - 1, 0, len(self.positions) - 1), first)
        last = np.where(empty, first + 1, last)
        known: BoolArray = seen[last] - seen[first] >= 0.5 * (last - first)
        return known

    def frequency_hz(self, start: float, stop: float) -> float:
        """Slope of the phase by least squares between two positions; NaN where nothing was seen."""
        first, last = np.searchsorted(self.positions, (start, stop))
        chosen = self.known[first:last]
        if np.count_nonzero(chosen) < 2:
            return float("nan")
        at = self.positions[first:last][chosen]
        at = at - at.mean()
        slope = float(at @ self.phase_rad[first:last][chosen]) / float(at @ at)
        return slope * self.rate_hz / (2 * np.pi)

    def _to_the_ends(self) -> tuple[FloatArray, FloatArray]:
        """Positions and phase, carried on at the neighbouring frequency to 0 and n."""
        reach = min(len(self.positions) - 1, 2 * HOPS_PER_CYCLE)
        if reach == 0:
            slopes = (2 * np.pi * self.nominal_hz / self.rate_hz,) * 2
        else:
            rise = self.phase_rad[reach:] - self.phase_rad[:-reach]
            run = self.positions[reach:] - self.positions[:-reach]
            slopes = (float(rise[0] / run[0]), float(rise[-1] / run[-1]))
        before = self.phase_rad[0] - slopes[0] * self.positions[0]
        after = self.phase_rad[-1] + slopes[1] * (self.samples - self.positions[-1])
        return (
            np.concatenate(([0.0], self.positions, [float(self.samples)])),
            np.concatenate(([before], self.phase_rad, [after])),
        )


def track(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> Track:
    """Follow the fundamental of a signal, 0.65 to 1.45 of the nominal frequency.

    Args:
        volts: (n,) counts or volts; DC and harmonics may stay in it.
        nominal_hz: 50 or 60, or better the frequency found in the signal just before.
    Raises:
        ValueError: see `signal.check_signal`.

    Error: edges below 0.002 samples for a pure sine with 5 % harmonics, 42.5 to 69 Hz at 12 kS/s
    (test_measure_cycles.py); after an interruption right again within two cycles.
    """
    check_signal(volts, rate_hz, nominal_hz)
    tuned_hz = nominal_hz
    for _ in range(2):  # the second time tuned to the signal
        centres = _centres(len(volts), rate_hz / tuned_hz)
        if len(centres) == 0:
            nothing = np.empty(0)
            return Track(len(volts), rate_hz, nominal_hz, nothing, nothing, nothing, np.empty(0, np.bool_))
        phasors, share = _phasors(volts, centres, rate_hz, tuned_hz)
        known = _known(np.abs(phasors), share)
        steady = _steady(np.abs(phasors), known)
        turned = _turned(phasors, centres, steady, tuned_hz / rate_hz)
        tuned_hz = _usual_hz(turned, centres, steady, rate_hz, tuned_hz, nominal_hz)
    centres = centres if len(found := _centres(len(volts), rate_hz / tuned_hz)) == 0 else found
    phasors, share = _phasors(volts, centres, rate_hz, tuned_hz)
    known = _known(np.abs(phasors), share)
    steady = _steady(np.abs(phasors), known)
    turned = _turned(phasors, centres, steady, tuned_hz / rate_hz)
    if _retune(volts, phasors, turned, centres, rate_hz, tuned_hz, nominal_hz):
        steady = _steady(np.abs(phasors), known)
        turned = _turned(phasors, centres, steady, tuned_hz / rate_hz)
    carrier = 2 * np.pi * tuned_hz / rate_hz * centres
    phase_rad = np.maximum.accumulate(carrier + turned + np.pi / 2)
    return Track(
        len(volts), rate_hz, nominal_hz, centres.astype(np.float64), phase_rad, 2 * np.abs(phasors), known
    )


def cycle_edges(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> FloatArray:
    """Rising zero crossings of the fundamental.

    Args:
        volts: (n,) counts or volts, offset and harmonics may stay in. For a stream: hand in at least
            two cycles of context on both sides and take the edges inside; there they are the same
            as with the whole stream in one call.
    Returns:
        (m,) float64, rising, fractional sample positions 0 .. n; sample k is at position k. Cycle i
        is `edges[i] .. edges[i + 1]`. Empty for fewer than two nominal cycles of signal.
    Raises:
        ValueError: see `signal.check_signal`.
    Source: IEC 61000-4-30:2015, 5.1 and 5.4.1.
    """
    return track(volts, rate_hz, nominal_hz).edges(1)


def half_cycle_edges(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> FloatArray:
    """Rising and falling zero crossings of the fundamental, as `cycle_edges`."""
    return track(volts, rate_hz, nominal_hz).edges(2)


def _centres(samples: int, period: float) -> NDArray[np.int64]:
    """Middle samples of the windows that fit into the signal, a quarter cycle apart."""
    half = int(WINDOW_CYCLES * period / 2)
    return np.arange(half, samples - half, max(1, round(period / HOPS_PER_CYCLE)))


def _phasors(
    volts: SignalArray, centres: NDArray[np.int64], rate_hz: float, tuned_hz: float
) -> tuple[NDArray[np.complex128], FloatArray]:
    """Fundamental (half its peak, phase at the centre) and its share of the power, per centre."""
    period = rate_hz / tuned_hz
    half = int(min(WINDOW_CYCLES * period / 2, centres[0], len(volts) - 1 - centres[-1]))
    offsets = np.arange(-half, half + 1)
    hann = 1 + np.cos(2 * np.pi * offsets / (WINDOW_CYCLES * period))
    hann /= hann.sum()
    angle = 2 * np.pi * offsets / period
    kernel = np.column_stack((hann * np.cos(angle), -hann * np.sin(angle), hann))
    found = np.empty((len(centres), 3))
    power = np.empty(len(centres))
    hop = int(centres[1] - centres[0]) if len(centres) > 1 else 1
    at_once = max(1, SAMPLES_AT_ONCE // len(offsets))
    for first in range(0, len(centres), at_once):
        part = centres[first : first + at_once]
        block = np.asarray(volts[part[0] - half : part[-1] + half + 1], dtype=np.float64)
        frames = np.lib.stride_tricks.sliding_window_view(block, 2 * half + 1)[::hop]
        found[first : first + len(part)] = frames @ kernel
        energy = np.concatenate(([0.0], np.cumsum(block * block)))
        starts = part - part[0]
        power[first : first + len(part)] = (energy[starts + 2 * half + 1] - energy[starts]) / (2 * half + 1)
    phasors = found[:, 0] + 1j * found[:, 1]
    alternating = np.maximum(
        power - found[:, 2] ** 2, 1e-12 * power + 1e-300
    )  # nothing but rounding beside DC
    return phasors, 2 * np.abs(phasors) ** 2 / alternating


def _known(size: FloatArray, share: FloatArray) -> BoolArray:
    """Where there is a fundamental: not faint against the rest of the signal, nor in its own window."""
    usual = np.partition(size, (9 * len(size)) // 10)[(9 * len(size)) // 10]
    known: BoolArray = (size > FAINT * usual) & (share > SHARE) & (size > 0)
    return known


def _steady(size: FloatArray, known: BoolArray) -> BoolArray:
    """Where its phase can be believed: not while the amplitude steps, for there DC and image leak in."""
    reach = HOPS_PER_CYCLE // 2
    around = np.lib.stride_tricks.sliding_window_view(np.pad(size, 2 * reach, "edge"), 4 * reach + 1)
    loudest = around.max(axis=1)
    change = np.abs(around[:, 3 * reach] - around[:, reach])
    steady: BoolArray = known & (change < STEP * loudest) & (size > FAR_FAINT * loudest)
    return steady if steady.any() else known


def _turned(
    phasors: NDArray[np.complex128], centres: NDArray[np.int64], known: BoolArray, per_sample: float
) -> FloatArray:
    """Phase against a carrier of `per_sample` cycles per sample, unwrapped, carried over the unknown."""
    if not known.any():
        return np.zeros(len(phasors)) - np.pi / 2
    turns = np.angle(phasors[known]) - 2 * np.pi * np.remainder(per_sample * centres[known], 1.0)
    carried: FloatArray = np.interp(centres, centres[known], np.unwrap(turns))
    return carried


def _usual_hz(
    turned: FloatArray,
    centres: NDArray[np.int64],
    known: BoolArray,
    rate_hz: float,
    tuned_hz: float,
    nominal_hz: float,
) -> float:
    """The frequency that most of the signal has: the median over steps of a cycle."""
    reach = min(HOPS_PER_CYCLE, len(turned) - 1)
    if reach == 0:
        return tuned_hz
    sure = known[reach:] & known[:-reach]
    if not sure.any():
        return nominal_hz
    slope = (turned[reach:] - turned[:-reach]) / (centres[reach:] - centres[:-reach])
    found = tuned_hz + float(np.median(slope[sure])) * rate_hz / (2 * np.pi)
    return min(max(found, 0.65 * nominal_hz), 1.45 * nominal_hz)


def _retune(
    volts: SignalArray,
    phasors: NDArray[np.complex128],
    turned: FloatArray,
    centres: NDArray[np.int64],
    rate_hz: float,
    tuned_hz: float,
    nominal_hz: float,
) -> bool:
    """Replace in `phasors` those whose own frequency is off the usual one; False when none was."""
    reach = 4 * HOPS_PER_CYCLE
    if len(turned) <= 2 * reach:
        return False
    slope = (turned[2 * reach :] - turned[: -2 * reach]) / (centres[2 * reach :] - centres[: -2 * reach])
    slope = np.concatenate((np.full(reach, slope[0]), slope, np.full(reach, slope[-1])))
    own_hz = np.clip(tuned_hz + slope * rate_hz / (2 * np.pi), 0.65 * nominal_hz, 1.45 * nominal_hz)
    steps = np.rint((own_hz / tuned_hz - 1) / RETUNE).astype(np.int64)
    for step in np.unique(steps[steps != 0]):
        chosen = np.flatnonzero(steps == step)
        for run in np.split(chosen, np.flatnonzero(np.diff(chosen) != 1) + 1):
            phasors[run], _ = _phasors(volts, centres[run], rate_hz, tuned_hz * (1 + step * RETUNE))
    return bool(np.any(steps))

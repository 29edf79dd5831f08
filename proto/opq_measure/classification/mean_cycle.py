"""The mean cycle of a signal, and the notches in it that noise hides in single cycles.

All cycles outside of dips and jumps are aligned by their phase and averaged. Noise falls by the root of their
number (14 dB for 25 cycles); what repeats in every cycle stays: harmonics and commutation notches.

Source: synchronous averaging; the search for notches is `waveform.notches`, IEEE 1159-2019, 4.5.4.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import BoolArray, FloatArray, SignalArray
from opq_measure.timebase.phase import Track
from opq_measure.waveform.notches import LEAST_EDGES, Notching, edge_order, notching_in

IntArray = NDArray[np.int64]
MIN_CYCLES = 8
"""Fewest cycles for a mean cycle."""
ORDERS = 13
"""Harmonics that describe the wave without its notches."""
NOISE_SCATTERS = 2.0
"""Power of edges that noise may hide, in standard deviations of its own power."""
CYCLE_COPIES = 4
"""Copies of the mean cycle that are searched for notches: one window."""


@dataclass(frozen=True, slots=True)
class MeanCycle:
    """`volts` (p,): one cycle from its rising zero crossing, the mean of `cycles` cycles.

    `rest_v` is the rms of the signal's deviation from its mean cycle, noise for the most part.
    """

    volts: FloatArray
    cycles: int
    rest_v: float

    @property
    def peak_v(self) -> float:
        """The peak of the fundamental."""
        return float(2 * np.abs(np.fft.rfft(self.volts)[1]) / len(self.volts))

    def beside_harmonics(self, cycle_samples: float) -> float:
        """Power above order 13, over that which the noise of `cycles` cycles of so many samples has there."""
        power, of_noise = self._above(ORDERS, cycle_samples)
        return power / max(of_noise, 1e-300)

    def has_edges(self, cycle_samples: float) -> bool:
        """Whether orders above those of steady harmonics have a share of the power above order 13."""
        order = edge_order(cycle_samples)
        low, low_noise = self._above(ORDERS, cycle_samples)
        high, high_noise = self._above(order, cycle_samples)
        unseen = NOISE_SCATTERS * high_noise / math.sqrt(max(1, len(self.volts) // 2 - order))
        return high - high_noise + unseen >= LEAST_EDGES * (low - low_noise)

    def _above(self, order: int, cycle_samples: float) -> tuple[float, float]:
        """Power above an order, and that which noise has there."""
        points = len(self.volts)
        power = float(np.sum(np.abs(np.fft.rfft(self.volts)[order + 1 :]) ** 2))
        of_noise = self.rest_v**2 / (cycle_samples * self.cycles) * (points - 2 * order - 1)
        return 2 * power / points**2, of_noise

    def residual_of(self, volts: SignalArray, starts: FloatArray) -> tuple[FloatArray, IntArray]:
        """The residual of a signal from the first cycle to the last, and the cycle of each sample."""
        at, phase, cycle = _phases(volts, starts)
        part = np.asarray(volts[at[0] : at[-1] + 1], dtype=np.float64)
        points = len(self.volts)
        wave = np.interp(
            (phase - cycle) * points, np.arange(points + 1), np.append(self.volts, self.volts[0])
        )
        return part - wave, cycle


def _phases(volts: SignalArray, starts: FloatArray) -> tuple[IntArray, FloatArray, IntArray]:
    """Index, phase in cycles and number of the cycle of all samples between the first start and the last."""
    at = np.arange(int(np.ceil(starts[0])), min(int(np.floor(starts[-1])), len(volts)))
    phase = np.interp(at, starts, np.arange(len(starts), dtype=np.float64))
    return at, phase, np.minimum(phase.astype(np.int64), len(starts) - 2)


def mean_cycle(volts: SignalArray, starts: FloatArray, usable: BoolArray, points: int) -> MeanCycle | None:
    """The mean of the cycles `starts[k] .. starts[k + 1]` that are `usable`, aligned by phase.

    Args:
        volts: (n,) volts.
        starts: (c,) fractional samples at which cycles begin.
        usable: (c - 1,) which of them count.
        points: of the mean cycle; fewer than samples in a cycle, so that none stays empty.
    Returns:
        None with fewer than eight cycles, or if a point stays empty.
    """
    count = int(np.count_nonzero(usable))
    if count < MIN_CYCLES or starts[0] > len(volts) - 2:
        return None
    at, phase, cycle = _phases(volts, starts)
    keep = usable[cycle]
    turned = ((phase - cycle) * points)[keep]
    near = np.floor(turned + 0.5)
    place = near.astype(np.int64) % points
    part = np.asarray(volts[at[0] : at[-1] + 1], dtype=np.float64)[keep]
    number = np.bincount(place, minlength=points)
    if number.min() == 0:
        return None
    means = np.bincount(place, part, points) / number
    beside = (
        np.bincount(place, turned - near, points) / number
    )  # near 50.00 Hz, samples have the same phases in each cycle
    grid = np.arange(points)
    mean = np.interp(grid, grid + beside, means, period=points)
    rest = part - np.interp(turned, np.arange(points + 1), np.append(mean, mean[0]))
    return MeanCycle(mean, count, float(np.sqrt(np.mean(rest * rest))))


def notching_of(found: MeanCycle, nominal_hz: float) -> Notching | None:
    """Notches in the mean cycle, 3 % of the peak and deeper, in every cycle at the same angles.

    Shallow ones may stand out of the remaining noise only where three points, 0.25 ms, are averaged. These
    count if there is more than one per cycle, as a converter makes them; noise hardly does.
    """
    seen = _notching(found, found.volts, nominal_hz)
    if seen is not None:
        return seen
    near = (np.roll(found.volts, 1) + found.volts + np.roll(found.volts, -1)) / 3
    seen = _notching(found, near, nominal_hz)
    return seen if seen is not None and seen.per_cycle > 1 else None


def _notching(found: MeanCycle, volts: FloatArray, nominal_hz: float) -> Notching | None:
    points = len(volts)
    wave = np.tile(volts, CYCLE_COPIES + 2)
    hops = np.arange(0, len(wave) + 1, points // 4, dtype=np.float64)
    peak = found.peak_v
    lead = float(np.angle(np.fft.rfft(found.volts)[1])) + np.pi / 2
    tracked = Track(
        len(wave),
        points * nominal_hz,
        nominal_hz,
        hops,
        2 * np.pi * hops / points + lead,
        np.full(len(hops), peak),
        np.ones(len(hops), dtype=np.bool_),
    )
    notchings = notching_in(wave, tracked, least_edges=0.0) if peak > 0 else ()
    return notchings[0] if notchings else None


def thd_outside(found: MeanCycle, notching: Notching) -> float:
    """THD as a ratio, orders 2 to 13, of the wave that fits the mean cycle outside of its notches."""
    points = len(found.volts)
    turn = 2 * np.pi * np.arange(points) / points
    lead = float(np.angle(np.fft.rfft(found.volts)[1])) + np.pi / 2
    keep = np.ones(points, dtype=np.bool_)
    for place in notching.places:
        apart = (np.degrees(turn + lead) - place.phase_degrees + 180.0) % 360.0 - 180.0
        wide = notching.width_degrees(place)
        keep &= np.abs(apart) > wide / 2 + 2 * 360.0 / points
    if np.count_nonzero(keep) < 2 * (2 * ORDERS + 1):
        return float("nan")
    angles = turn[keep, None] * np.arange(1, ORDERS + 1)
    basis = np.hstack((np.ones((len(angles), 1)), np.cos(angles), np.sin(angles)))
    solved = np.linalg.lstsq(basis, found.volts[keep], rcond=None)[0]
    amplitude = np.hypot(solved[1 : ORDERS + 1], solved[ORDERS + 1 :])
    return float(np.sqrt(np.sum(amplitude[1:] ** 2)) / amplitude[0]) if amplitude[0] > 0 else float("nan")

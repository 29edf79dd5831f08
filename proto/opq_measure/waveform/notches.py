"""Periodic notching: notches in the wave from a converter's commutation, at the same angles in each cycle.

The wave without notches is fitted to the samples outside of them: DC and low harmonics, by least squares. A
sample counts less the farther it is off the fit, and samples between two jumps do not count at all. A
deviation larger than noise is a notch; only places that have one in most cycles are reported. So a transient
is not reported, because it does not recur. A harmonic is not reported either, because it does not stay near
zero for long; the sum of many in phase does, but it has no edges.

Source: IEEE 519-2022, 3 and 5.4 (notch depth d and area width x depth; the limits are of 519-2014, table 3);
IEEE 1159-2019, 4.5.4. Robust fit: Tukey's biweight, Holland and Welsch 1977.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from opq_measure.least_squares import fitted, orders_within, solved
from opq_measure.signal import BoolArray, FloatArray, SignalArray
from opq_measure.timebase.cycles import Track, cycles_per_window
from opq_measure.waveform.residual import phases_rad

ORDERS = (1, 3, 5, 7, 7, 7, 7, 13, 13, 13)
"""Highest harmonic in each round of the fit: the coarse form first, or it would fit notches as harmonics."""
LEAST_ORDER_SAMPLES = 6.0
"""Fewest samples of a cycle per order of the fit; more orders would fit notches of a few samples. With fewer
than 78 samples in a cycle (3.9 kHz at 50 Hz) the last rounds have fewer orders than 13."""
RIDGE_WEIGHT = 1e-7
"""Reduces order 13 by 0.6 % and order 7 by 0.05 % where all samples count, and much more across gaps."""
BIWEIGHT_SIGMAS = 4.7
"""In sigma; Tukey's constant for 95 % efficiency in normal noise."""
MIN_NOTCH = 0.03
"""Least depth that is reported, as a share of the fundamental's peak."""
DEPTH_SIGMAS = 6.0
"""Least depth, as a multiple of the noise between the notches."""
NORMAL_SIGMAS = 4.5
"""In sigma: one window in fifty of normal noise exceeds it and is then analysed in full."""
JUMP_SHARE = 0.3
"""A share of the least depth: the least jump within one sample that begins or ends a notch."""
MAX_SHARE = 0.4
"""A share of the time: deviations that fill more of it are another form of wave, not notches."""
MAX_DEGREES = 30.0
"""Largest width of one notch; six of them fill half of the cycle."""
APART_DEGREES = 4.0
"""Notches at angles that differ by less are at the same place."""
MAX_CYCLES = 0.75
"""Notches at a place are periodic when at least this share of the cycles has one there."""
MIN_CYCLES = 3
EDGE_ORDER = 40
"""Highest order of a steady harmonic, as in IEC 61000-3-2. Edges have orders above it."""
EDGE_ORDER_SAMPLES = 4.0
"""Fewest samples of a cycle per order, so that the rate also carries orders above these."""
LEAST_EDGES = 0.005
"""Least share of the energy above order 13 that is above EDGE_ORDER, too. Notches with edges have some tenths
of it, rounded ones of 20 degrees 0.005, harmonics up to that order nothing."""
SHARP_NOTCH_SHARE = 0.002
"""Share of the fundamental that notches of 3 % exceed in the orders from SHARP_ORDER on, beyond ORDERS."""
SHARP_ORDER = 14


@dataclass(frozen=True, slots=True)
class NotchPlace:
    """The notches at one angle of the cycle; means over the cycles that have one there."""

    phase_degrees: float
    """Angle of the middle, 0 at the rising zero crossing of the fundamental."""
    jitter_degrees: float
    """Standard deviation of the angle; the sample grid alone gives 0.5 at 60 Hz and 12 kS/s."""
    width_us: float
    """Width at half of the depth."""
    depth_v: float
    """Mean depth below (or above) the wave without notches, area / width, in the signal's unit."""
    depth_percent: float
    """Depth in percent of that wave's value at the notch's middle; above 100 the voltage changes its sign."""
    area_v_us: float
    toward_zero: bool
    share: float
    """Share of the cycles that have a notch here."""


@dataclass(frozen=True, slots=True)
class Notching:
    """Periodic notches from sample `start` to `stop`, over `cycles` whole cycles."""

    start: float
    stop: float
    start_s: float
    duration_s: float
    cycles: int
    places: tuple[NotchPlace, ...]
    noise_v: float
    """Rms of the noise between the notches."""

    @property
    def per_cycle(self) -> int:
        return len(self.places)

    @property
    def deepest(self) -> NotchPlace:
        return max(self.places, key=lambda place: place.depth_v)

    def width_degrees(self, place: NotchPlace) -> float:
        """Width of one of its notches, in degrees of the fundamental."""
        return 360.0 * place.width_us * 1e-6 * self.cycles / self.duration_s

    @property
    def area_v_us(self) -> float:
        """Area of all notches of one cycle."""
        return sum(place.area_v_us for place in self.places)


def edge_order(samples: float) -> int:
    """The order above which a cycle of so many samples shows edges."""
    return min(EDGE_ORDER, int(samples / EDGE_ORDER_SAMPLES))


def notching_in(
    volts: SignalArray, tracked: Track, least: float = MIN_NOTCH, least_edges: float = LEAST_EDGES
) -> tuple[Notching, ...]:
    """The windows of 10/12 cycles in which there is periodic notching, in time order.

    Args:
        volts: (n,) counts or volts; read window by window. The last window may have as few as 3 cycles.
        least: least depth, as a share of the fundamental's peak.
        least_edges: 0 where the volts are known to have edges.
    Raises:
        ValueError: `least` is not between 0 and 1.

    Error: at 12 kS/s and 60 dB, over 12 cycles, for notches of 12 to 90 % and 0.3 to 0.8 ms: depth 1.5 %,
    width 16 us and area 4 % rms; near 60.00 Hz the samples have the same angles in each cycle, and width and
    area are off by up to a sample. Angle 0.3 degrees; a few deep notches shift the fundamental, to which the
    angle refers (test_measure_notches.py).
    """
    if not 0 < least < 1:
        raise ValueError(f"least is {least:g}, want a share between 0 and 1")
    edges = tracked.edges(1)
    size = cycles_per_window(tracked.nominal_hz)
    found = []
    for first in range(0, len(edges) - 1, size):
        part = edges[first : first + size + 1]
        if (
            len(part) > MIN_CYCLES
            and (one := _notching(volts, tracked, part, least, least_edges)) is not None
        ):
            found.append(one)
    return tuple(found)


def _notching(
    volts: SignalArray, tracked: Track, edges: FloatArray, least: float, least_edges: float
) -> Notching | None:
    first, stop = math.ceil(edges[0]), min(math.floor(edges[-1]), len(volts))
    part = np.asarray(volts[first:stop], dtype=np.float64)
    phase = phases_rad(tracked, np.arange(first, stop, dtype=np.float64))
    samples = float(np.diff(edges).mean())
    basis = _basis(phase, orders_within(samples, 1.0, min(max(ORDERS), int(samples / LEAST_ORDER_SAMPLES))))
    peak = float(np.median(np.interp(edges, tracked.positions, tracked.amplitude)))
    off = part - basis @ _solved(basis, part)
    most = float(np.abs(off).max())
    if not (peak > 0 and most >= 0.5 * least * peak):
        return None  # the harmonics explain everything
    widest = MAX_DEGREES / 360.0 * float(np.diff(edges).mean())
    jumps = _between_jumps(part, JUMP_SHARE * least * peak, widest)
    if most < NORMAL_SIGMAS * 1.4826 * float(np.median(np.abs(off))) and not jumps.any():
        return None  # the rest is noise
    wave, noise = _without_notches(basis, part, 1e-4 * peak, jumps)
    deviation = part - wave
    level = max(least * peak, DEPTH_SIGMAS * noise)
    runs = _runs(np.abs(deviation) > level / 2, np.abs(deviation), level)
    if not runs or sum(end - begin for begin, end in runs) > MAX_SHARE * len(part):
        return None
    notches = np.array([_notch(deviation, wave, phase, begin, end) for begin, end in runs])
    places = _places(notches, len(edges) - 1, tracked.rate_hz)
    if not places or (least_edges > 0 and _edges_share(part, phase, off, runs, samples) < least_edges):
        return None
    return Notching(
        start=float(edges[0]),
        stop=float(edges[-1]),
        start_s=float(edges[0]) / tracked.rate_hz,
        duration_s=float(edges[-1] - edges[0]) / tracked.rate_hz,
        cycles=len(edges) - 1,
        places=places,
        noise_v=noise,
    )


def _edges_share(
    part: FloatArray, phase: FloatArray, off: FloatArray, runs: list[tuple[int, int]], samples: float
) -> float:
    """Share of the energy beyond the fit's orders that is also beyond the orders of steady harmonics.

    Either energy is that at the deviations less that beside them, because noise is in both places.

    Args:
        off: what the orders of the fit leave.
        runs: the deviations.
        samples: of a cycle.
    """
    orders = edge_order(samples)
    basis = _basis(phase, orders)
    left = part - basis @ fitted(basis, part)
    near, inside = math.ceil(samples / orders), np.zeros(len(part), dtype=np.bool_)
    for begin, end in runs:
        inside[max(0, begin - near) : end + near] = True
    if inside.all():
        return 1.0
    low, high = (float(np.mean(each[inside] ** 2) - np.mean(each[~inside] ** 2)) for each in (off, left))
    return high / low if low > 0 else 1.0


def _basis(phase: FloatArray, orders: int) -> FloatArray:
    """(n, 2 orders + 1) DC, then cosine and sine of each order, so that the first columns are the lowest."""
    basis = np.ones((2 * orders + 1, len(phase)))
    turn = np.exp(1j * phase)
    power = np.ones_like(turn)
    for order in range(1, orders + 1):
        power *= turn
        basis[2 * order - 1], basis[2 * order] = power.real, power.imag
    return basis.T


def _between_jumps(part: FloatArray, least: float, widest: float) -> BoolArray:
    """(n,) True between a jump and the nearest jump back; the fit begins without these samples."""
    slope = np.diff(part)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(slope, 4, "edge"), 9)
    steps = slope - np.median(around, axis=-1)  # without the slope of the wave itself
    least = max(least, DEPTH_SIGMAS * 1.4826 * float(np.median(np.abs(steps))))
    at = np.flatnonzero(np.abs(steps) > least)
    inside = np.zeros(len(part), dtype=np.bool_)
    if len(at) == 0:
        return inside
    edges = np.split(at, np.flatnonzero((np.diff(at) > 2) | (np.diff(np.sign(steps[at])) != 0)) + 1)
    pairs = sorted(
        (float(second[-1] - first[0]), index)
        for index, (first, second) in enumerate(pairwise(edges))
        if second[-1] - first[0] <= widest and steps[first[0]] * steps[second[0]] < 0
    )
    used: set[int] = set()
    for _, index in pairs:
        if used.isdisjoint((index, index + 1)):
            used.update((index, index + 1))
            inside[edges[index][0] : edges[index + 1][-1] + 2] = True
    return inside


def _without_notches(
    basis: FloatArray, part: FloatArray, floor: float, inside: BoolArray
) -> tuple[FloatArray, float]:
    """The wave that fits all but the outliers, and the rms of the noise around it."""
    begun = 0 < np.count_nonzero(inside) < MAX_SHARE * len(part)
    weight = np.where(inside, 0.0, 1.0) if begun else np.ones(len(part))
    wave, spread = part, floor
    for orders in ORDERS[-3:] if begun else ORDERS:
        columns = basis[:, : 2 * orders + 1]
        sizes = _solved(columns, part, weight)
        if not np.isfinite(sizes).all():  # nearly all samples are outliers
            break
        wave = columns @ sizes
        off = np.abs(part - wave)
        counted = off[weight > 0] if orders == max(ORDERS) else off
        spread = max(1.4826 * float(np.median(counted)), floor)
        weight = np.maximum(0.0, 1 - (off / (BIWEIGHT_SIGMAS * spread)) ** 2) ** 2
        out = weight == 0  # the samples next to a notch are its edges
        weight[:-1][out[1:]] = 0.0
        weight[1:][out[:-1]] = 0.0
    return wave, spread


def _solved(basis: FloatArray, part: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    weighted = basis if weight is None else basis * weight[:, None]
    gram = weighted.T @ basis
    order = np.arange(1, len(gram) + 1) // 2
    gram[np.diag_indices_from(gram)] += (
        RIDGE_WEIGHT * len(part) * order**4
    )  # against high orders that only notches would suggest
    return solved(gram, (weighted.T @ part)[:, None])[:, 0]


def _runs(beyond: BoolArray, size: FloatArray, level: float) -> list[tuple[int, int]]:
    """Spans beyond half the level that reach the level, except those at the ends of the window."""
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], beyond, [False])).astype(np.int8)))
    return [
        (int(begin), int(end))
        for begin, end in zip(bounds[::2], bounds[1::2], strict=True)
        if begin > 0 and end < len(beyond) and size[begin:end].max() > level
    ]


def _notch(
    deviation: FloatArray, wave: FloatArray, phase: FloatArray, begin: int, end: int
) -> tuple[float, float, float, float, float]:
    """Angle in degrees, width in samples, area, depth as a share of the wave, toward zero (1 or 0)."""
    sign = 1.0 if deviation[begin:end].sum() > 0 else -1.0
    dip = sign * deviation[begin - 1 : end + 1]
    at = np.arange(begin - 1, end + 1, dtype=np.float64)
    half = float(np.sort(dip[1:-1])[-max(1, (end - begin) // 2) :].mean()) / 2  # of the bottom, not its noise
    inside = np.flatnonzero(dip >= half)
    left, right = _crossing(dip, at, int(inside[0]), -1, half), _crossing(dip, at, int(inside[-1]), 1, half)
    area = float(dip.sum())
    middle = (left + right) / 2
    angle = math.degrees(float(np.interp(middle, np.arange(len(phase)), phase))) % 360.0
    value = float(np.interp(middle, np.arange(len(wave)), wave))
    return angle, right - left, area, area / (right - left) / max(abs(value), 1e-12), float(sign * value < 0)


def _crossing(dip: FloatArray, at: FloatArray, inner: int, way: int, level: float) -> float:
    outer = inner + way
    if not 0 <= outer < len(dip) or dip[inner] <= dip[outer]:
        return float(at[inner])
    return float(at[inner] + way * (dip[inner] - level) / (dip[inner] - dip[outer]))


def _places(notches: FloatArray, cycles: int, rate_hz: float) -> tuple[NotchPlace, ...]:
    """Notches at the same angle of the cycle, where most cycles have one."""
    order = np.argsort(notches[:, 0])
    notches = notches[order]
    gaps = np.flatnonzero(np.diff(notches[:, 0]) > APART_DEGREES) + 1
    groups = np.split(notches, gaps)
    if len(groups) > 1 and groups[0][0, 0] + 360.0 - groups[-1][-1, 0] < APART_DEGREES:  # across 0 degrees
        last = groups.pop()
        last[:, 0] -= 360.0
        groups[0] = np.concatenate((last, groups[0]))
    found = []
    for group in groups:
        share = len(group) / cycles
        angle, width, area, part, toward = group.mean(axis=0).tolist()
        width_us = width / rate_hz * 1e6
        if not MAX_CYCLES <= share <= 1.5 or len(group) < MIN_CYCLES:
            continue
        area_v_us = area / rate_hz * 1e6
        found.append(
            NotchPlace(
                phase_degrees=angle % 360.0,
                jitter_degrees=float(group[:, 0].std()),
                width_us=width_us,
                depth_v=area_v_us / width_us,
                depth_percent=100 * part,
                area_v_us=area_v_us,
                toward_zero=toward > 0.5,
                share=min(1.0, share),
            )
        )
    return tuple(found)

"""The filters of synchrophasors: a low pass about the fundamental, with its first two derivatives.

The window is a power of a cosine over a whole number of cycles of the signal's own frequency, times a sinc
where the stop band has to begin early. Whole cycles put zeros on DC, the mirror image and all harmonics; the
power lets the second derivative (ROCOF) go to zero at the ends. Class P: 3 cycles. Class M: 12
reporting intervals with a cut-off at 0.2 to 0.27 of the reporting rate, so that half of it is 45 dB down;
where that is nominal or more, and so nothing to suppress, 5 cycles.

Source: IEEE C37.118.1-2011, annex C (reference models: a triangle of two cycles for P, sinc and
Hamming by table for M). The filters here differ because its P model relies on three phases to cancel the
image, and its M table is for one sampling rate.
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from opq_measure.signal import FloatArray

PARABOLA_TURN_RAD = 0.3
"""Turn over half a filter, in rad, below which the gain is a parabola; error 1e-4 of the loss 1 - gain."""


class PmuClass(Enum):
    """P (protection): fast, 3 cycles. M (measurement): no aliases from above half the reporting rate."""

    P = "P"
    M = "M"


@dataclass(frozen=True, slots=True)
class Shape:
    """`cos(pi v / cycles)**power * sinc(2 cutoff v)`, v in cycles from the middle."""

    cycles: int
    power: int
    cutoff: float = 0.0
    """Per cycle of the frequency to which the filter is tuned."""


def shape_of(pmu_class: PmuClass, nominal_hz: float, reports_per_s: int) -> Shape:
    """The filter shape of a class, chosen with the tests of C37.118.1 (test_measure_phasor.py)."""
    if pmu_class is PmuClass.P:
        return Shape(3, 4)
    if reports_per_s >= 2 * nominal_hz:  # nothing below twice nominal is an alias
        return Shape(5, 4, 1 / 30)
    cycles = round(12 * nominal_hz / reports_per_s)
    if reports_per_s > 0.6 * nominal_hz:  # the pass band is wide enough, and the image near
        return Shape(cycles, 4, 0.2 * reports_per_s / nominal_hz)
    return Shape(cycles, 3, 0.27 * reports_per_s / nominal_hz)


@dataclass(frozen=True, slots=True)
class Filter:
    """A shape tuned to `omega` rad per sample.

    `kernel` (6, 2 * half + 1): products with the samples give the real and imaginary parts of the peak
    phasor at the middle sample, of its first and of its second derivative (per sample), all against a
    carrier of `omega` that is zero in the middle. `weights` (2 * half + 1,) have the sum one.
    """

    omega: float
    half: int
    kernel: FloatArray
    weights: FloatArray
    spread: float
    """Second moment of the weights, in samples squared."""

    def of(self, frame: FloatArray) -> list[float]:
        """The six products, computed without BLAS, which would start its threads for the long filters."""
        products: list[float] = np.einsum("ij,j->i", self.kernel, frame).tolist()
        return products

    def power(self, frame: FloatArray) -> float:
        """Power of the signal in the filter's span, without DC."""
        weighted = frame * self.weights
        return float(np.einsum("i,i->", weighted, frame)) - float(weighted.sum()) ** 2

    def gain(self, off: float) -> float:
        """Gain for a steady sine whose frequency differs from `omega` by `off` rad per sample."""
        if abs(off) * self.half < PARABOLA_TURN_RAD:
            return 1 - off * off * self.spread / 2
        turns = np.cos(off * np.arange(-self.half, self.half + 1))
        return float(np.einsum("i,i->", turns, self.weights))


def half_samples(shape: Shape, omega: float) -> int:
    """Samples on either side of the middle."""
    return int(np.floor(shape.cycles * np.pi / omega))


@lru_cache(maxsize=24)
def tuned(shape: Shape, omega: float) -> Filter:
    """The filter for a fundamental of `omega` rad per sample."""
    half = half_samples(shape, omega)
    u = np.arange(-half, half + 1, dtype=np.float64)
    weights, slope, bend = _window(shape, u * omega / (2 * np.pi))
    total = weights.sum()
    per_sample = omega / (2 * np.pi)
    columns = (weights, -slope * per_sample, bend * per_sample**2)
    carrier = np.exp(-1j * omega * u)
    kernel = np.empty((6, len(u)))
    for number, column in enumerate(columns):
        product = 2 / total * column * carrier
        kernel[2 * number], kernel[2 * number + 1] = product.real, product.imag
    weights = weights / total
    return Filter(omega, half, kernel, weights, float(np.sum(u * u * weights)))


def _window(shape: Shape, v: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The shape and its first two derivatives by v."""
    rate = np.pi / shape.cycles
    cosine, sine = np.cos(rate * v), np.sin(rate * v)
    power = shape.power
    bell = cosine**power
    bell_slope = -power * rate * cosine ** (power - 1) * sine
    bell_bend = power * rate**2 * ((power - 1) * cosine ** (power - 2) * sine**2 - bell)
    lobe, lobe_slope, lobe_bend = _sinc(2 * shape.cutoff, v)
    return (
        bell * lobe,
        bell_slope * lobe + bell * lobe_slope,
        bell_bend * lobe + 2 * bell_slope * lobe_slope + bell * lobe_bend,
    )


def _sinc(width: float, v: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """sin(pi width v) / (pi width v) and its first two derivatives by v."""
    scale = np.pi * width
    z = scale * v
    near = np.abs(z) < 1e-3
    safe = np.where(near, 1.0, z)
    value = np.where(near, 1 - z**2 / 6, np.sin(safe) / safe)
    slope = np.where(near, -z / 3, (np.cos(safe) - np.sin(safe) / safe) / safe)
    bend = np.where(near, -1 / 3 + z**2 / 10, -np.sin(safe) / safe - 2 * (np.cos(safe) - value) / safe**2)
    return value, scale * slope, scale**2 * bend

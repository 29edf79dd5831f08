"""A steady wave: DC and harmonics of one constant frequency, fitted to a stretch of signal.

It describes a signal before an event (or after it) and can be extrapolated: the signal minus this wave is
the disturbance.

The fit is the exact least squares one. At a uniform sample rate its normal equations are a Toeplitz matrix
whose entries are known in closed form, so that it costs little more than a DFT of the wanted lines and needs
no whole number of cycles. The frequency is found by Gauss-Newton steps in which the harmonics are eliminated.

Source: IEEE 1057-2017, 4.3 and annex (sine fit with a free frequency), here with harmonics;
variable projection: Golub and Pereyra 1973.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opq_measure.least_squares import orders_within
from opq_measure.line_sums import LineProducts, line_sums, line_wave
from opq_measure.signal import FloatArray, SignalArray

ComplexArray = NDArray[np.complex128]

ORDERS = 50
"""Highest order; as IEC 61000-4-30:2015, 5.8."""
MIN_CYCLES = 1.05
"""Below one cycle DC and fundamental cannot be separated."""
FREE_CYCLES = 1.4
"""From here on the frequency is fitted, too; docs/reference/limits.md 8: 1.4 mHz over 1.5 cycles at
60 dB."""
SETTLED_RAD = 1e-6
"""A smaller change of the phase over the stretch is applied without another fit: its square remains."""
SETTLED_SIGMA = 0.2
"""So is a change below this share of the uncertainty due to noise, sqrt(24 / n) noise / amplitude."""
FIT_STEPS = 4
"""Gauss-Newton steps at most; from 0.1 Hz off two are enough."""
FEW_ORDERS = 7
"""Orders in the first steps: the frequency depends mostly on the fundamental, and a step costs a third."""
NEAR_RAD = 0.03
"""All orders are fitted once the change of the phase over the stretch is below this."""


@dataclass(frozen=True, slots=True)
class Steady:
    """A wave of constant frequency: at p the real part of the sum of lines[k] exp(i k step_rad (p - middle)).

    `start` .. `stop` are the samples it was fitted to. `lines` are (orders + 1,) complex, in the signal's
    unit; line 0 is DC. `rest` is the rms residual of the fit, the noise, corrected for the degrees of freedom
    used.
    """

    rate_hz: float
    start: int
    stop: int
    step_rad: float
    lines: ComplexArray
    rest: float

    @property
    def middle(self) -> float:
        """The position to which the phases of `lines` refer."""
        return (self.start + self.stop - 1) / 2

    @property
    def hz(self) -> float:
        """Frequency of the fundamental."""
        return self.step_rad * self.rate_hz / (2 * math.pi)

    @property
    def amplitude(self) -> float:
        """Peak of the fundamental."""
        return float(abs(self.lines[1]))

    @property
    def thd(self) -> float:
        """Orders 2 and up against the fundamental, a ratio."""
        return float(np.linalg.norm(self.lines[2:])) / self.amplitude if self.amplitude > 0 else math.nan

    def phase_rad(self, position: float) -> float:
        """Phase of the fundamental, 0 at its rising zero crossing, not wrapped."""
        return math.pi / 2 + float(np.angle(self.lines[1])) + self.step_rad * (position - self.middle)

    def scaled(self, volts: SignalArray, start: int, stop: int) -> "Steady":
        """This wave fitted to other samples by one complex factor on all orders; DC stays.

        It is for stretches below a cycle.
        """
        angle = self.step_rad * (np.arange(start, stop) - self.middle)
        turned = np.exp(1j * angle)
        total = np.zeros(stop - start, dtype=np.complex128)
        for line in self.lines[:0:-1]:
            total += line
            total *= turned
        basis = np.column_stack((total.real, -total.imag))
        wanted = np.asarray(volts[start:stop], dtype=np.float64) - self.lines[0].real
        factor, *_ = np.linalg.lstsq(basis, wanted, rcond=None)
        lines = self.lines * complex(factor[0], factor[1])
        lines[0] = self.lines[0]
        shift = np.exp(1j * self.step_rad * ((start + stop - 1) / 2 - self.middle) * np.arange(len(lines)))
        rest = math.sqrt(float(np.mean((wanted - basis @ factor) ** 2)))
        return Steady(self.rate_hz, start, stop, self.step_rad, lines * shift, max(rest, self.rest))

    def volts(self, first: int, stop: int) -> FloatArray:
        """(stop - first,) the wave at samples `first` .. `stop` - 1, also beyond the stretch fitted."""
        return line_wave(self.lines, self.step_rad, first - self.middle, stop - first)


def steady_wave(
    volts: SignalArray, rate_hz: float, start: int, stop: int, hz: float, orders: int = ORDERS
) -> Steady:
    """The steady wave that fits samples `start` .. `stop` - 1 best.

    Args:
        volts: (n,) counts or volts. The fit is for a few cycles up to some seconds: it takes
            16 (orders + 1) bytes per sample.
        hz: first value of the frequency, accurate to 0.2 cycles over the stretch; refined from 1.4 cycles on.
        orders: highest harmonic, at most what lies below 0.45 of the rate. Fewer are fitted where the
            stretch has less than twice as many samples as unknowns.
    Raises:
        ValueError: shorter than 1.05 cycles, or it leaves the signal.

    Error: at the Cramer-Rao bound; frequency 1.2 mHz over 1.5 cycles with 10 orders, 0.17 mHz over 6 and
    60 uHz over 12 cycles with 50, at 60 dB (test_measure_residual.py).
    """
    if not 0 <= start < stop <= len(volts):
        raise ValueError(f"samples {start} .. {stop} leave the signal, 0 .. {len(volts)}")
    size = stop - start
    if not (hz > 0 and size * hz >= MIN_CYCLES * rate_hz):
        raise ValueError(f"{size} samples of {hz:g} Hz, want at least {MIN_CYCLES} cycles of a positive one")
    orders = max(1, min(orders_within(rate_hz, hz, orders), (size // 2 - 1) // 2))
    part = np.asarray(volts[start:stop], dtype=np.float64)
    step = 2 * math.pi * hz / rate_hz
    most = 0.1 * step
    free = size * hz >= FREE_CYCLES * rate_hz
    for _ in range(FIT_STEPS if free and orders > 2 * FEW_ORDERS else 0):
        change = _fit(part, step, FEW_ORDERS).change
        step += min(max(change, -most), most)
        if abs(change) * size < NEAR_RAD:
            break
    fit = _fit(part, step, orders)
    for _ in range(FIT_STEPS if free else 0):
        sigma_rad = math.sqrt(24 * fit.rest) / size / max(math.hypot(*fit.sizes[:, 1]), 1e-300)
        if abs(fit.change) * size < max(SETTLED_RAD, SETTLED_SIGMA * sigma_rad):
            step, fit = step + fit.change, fit.moved()
            break
        further = step + min(max(fit.change, -most), most)
        tried = _fit(part, further, orders)
        if not math.isfinite(tried.rest):  # at this frequency the orders cannot be told apart
            break
        step, fit = further, tried
    lines = fit.sizes[0] - 1j * fit.sizes[1]
    return Steady(rate_hz, start, stop, step, lines, math.sqrt(fit.rest / max(1, size - 2 * orders - 2)))


@dataclass(frozen=True, slots=True)
class _Fit:
    """`sizes` (2, orders + 1) of cosines and sines about the middle; `rest` is the sum of squares left.
    Both are NaN where nothing is fitted, and `change` is 0.

    `change` is the Gauss-Newton change of the angle per sample; `drift` is the change of `sizes` per radian
    of it; `gain` times its square is the decrease of `rest`.
    """

    sizes: FloatArray
    rest: float
    change: float
    drift: FloatArray
    gain: float

    def moved(self) -> "_Fit":
        """The fit at the next step, estimated for a small change."""
        rest = max(self.rest - self.gain * self.change**2, 0.0)
        return replace(self, sizes=self.sizes + self.change * self.drift, rest=rest, change=0.0)


def _fit(part: FloatArray, step: float, orders: int) -> _Fit:
    sums, moments = line_sums(part, step, orders)
    products = LineProducts(len(part), step, orders)
    sizes = products.fitted(sums)
    slope = products.slope(sizes, moments)
    explained = float(sizes[0] @ sums.real - sizes[1] @ sums.imag)
    return _Fit(sizes, max(float(part @ part) - explained, 0.0), slope.change, slope.drift, slope.gain)

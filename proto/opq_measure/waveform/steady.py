"""A steady wave: DC and harmonics of one constant frequency, fitted to a stretch of signal.

It is what a signal was before something happened (or is after it), and can be carried over: the
difference between the signal and it is the disturbance.

The fit is the exact least squares one. At an even sample rate its normal equations are a Toeplitz matrix
whose entries are known in closed form, so that it costs little more than a DFT of the wanted lines and needs
no whole number of cycles. The frequency is found by Gauss-Newton steps in which the harmonics are eliminated.

Source: IEEE 1057-2017, 4.3 and annex (sine fit with a free frequency), here with harmonics;
variable projection: Golub and Pereyra 1973.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray, SignalArray

ComplexArray = NDArray[np.complex128]

ORDERS = 50
"""Highest order; as IEC 61000-4-30:2015, 5.8."""
BAND = 0.45
"""A share of the rate: harmonics above are left in the signal, there a sampler's filter has its edge."""
LEAST_CYCLES = 1.05
"""Below one cycle DC and fundamental can't be told apart."""
FREE_CYCLES = 1.4
"""From here on the frequency is fitted, too; limits.md section 8: 1.4 mHz over 1.5 cycles at 60 dB."""
SETTLED_RAD = 1e-8
"""Change of the phase over the stretch below which no further step is made."""
STEPS = 4
"""Gauss-Newton steps at most; from 0.1 Hz off two are enough."""


@dataclass(frozen=True, slots=True)
class Steady:
    """A wave of constant frequency; the real part of the sum of lines[k] exp(i k step_rad (p - middle)) at p.

    `start` .. `stop` the samples it was fitted to; `lines` (orders + 1,) complex, in the signal's unit, line
    0 is DC; `rest` rms of what the fit leaves, the noise, corrected for the degrees of freedom used.
    """

    rate_hz: float
    start: int
    stop: int
    step_rad: float
    lines: ComplexArray
    rest: float

    @property
    def middle(self) -> float:
        """The position from which `lines` count their phase."""
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
        """This wave, turned and scaled as a whole so as to fit other samples: for stretches below a cycle."""
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
        turn = np.exp(1j * self.step_rad * (np.arange(first, stop) - self.middle))
        total = np.full(stop - first, self.lines[-1])
        for line in self.lines[-2::-1]:
            total *= turn
            total += line
        found: FloatArray = total.real
        return found


def steady_wave(
    volts: SignalArray, rate_hz: float, start: int, stop: int, hz: float, orders: int | None = None
) -> Steady:
    """The steady wave that fits samples `start` .. `stop` - 1 best.

    Args:
        volts: (n,) counts or volts. A few cycles up to some seconds: takes 16 (orders + 1) bytes per sample.
        hz: the frequency to begin with, right to 0.2 cycles over the stretch; refined from 1.4 cycles on.
        orders: highest harmonic, else 50 or what lies below 0.45 of the rate.
    Raises:
        ValueError: shorter than 1.05 cycles or than twice the unknowns, or it leaves the signal.

    Error: at the Cramer-Rao bound; frequency 1.2 mHz over 1.5 cycles with 10 orders, 0.17 mHz over 6 and
    60 uHz over 12 cycles with 50, at 60 dB (test_measure_residual.py).
    """
    if not 0 <= start < stop <= len(volts):
        raise ValueError(f"samples {start} .. {stop} leave the signal, 0 .. {len(volts)}")
    size = stop - start
    if not (hz > 0 and size * hz >= LEAST_CYCLES * rate_hz):
        raise ValueError(
            f"{size} samples of {hz:g} Hz, want at least {LEAST_CYCLES} cycles of a positive one"
        )
    orders = min(ORDERS, int(BAND * rate_hz / hz)) if orders is None else orders
    orders = max(1, min(orders, (size // 2 - 1) // 2))
    part = np.asarray(volts[start:stop], dtype=np.float64)
    offsets = np.arange(size, dtype=np.float64) - (size - 1) / 2
    step = 2 * math.pi * hz / rate_hz
    most = 0.1 * step
    lines, rest, change = _fit(part, offsets, step, orders)
    for _ in range(STEPS if size * hz >= FREE_CYCLES * rate_hz else 0):
        step += min(max(change, -most), most)
        if abs(change) * size < SETTLED_RAD:
            break
        lines, rest, change = _fit(part, offsets, step, orders)
    noise = math.sqrt(rest / max(1, size - 2 * orders - 2))
    return Steady(rate_hz, start, stop, step, lines, noise)


def _fit(
    part: FloatArray, offsets: FloatArray, step: float, orders: int
) -> tuple[ComplexArray, float, float]:
    """Lines, sum of squares left, and the change of `step` that Gauss-Newton asks for."""
    turns = _turns(offsets, step, orders)
    gram = _gram(len(part), step, 2 * orders)
    lines = _lines(turns, gram, part)
    wave = (lines @ turns).real
    left = part - wave
    slope = offsets * ((1j * np.arange(orders + 1) * lines) @ turns).real
    own = slope - (_lines(turns, gram, slope) @ turns).real
    power = float(own @ own)
    change = float(own @ left) / power if power > 0 else 0.0
    return lines, float(left @ left), change


def _turns(offsets: FloatArray, step: float, orders: int) -> ComplexArray:
    """(orders + 1, n) exp(i k step offset)."""
    turns = np.empty((orders + 1, len(offsets)), dtype=np.complex128)
    turns[0] = 1.0
    turns[1] = np.exp(1j * step * offsets)
    for order in range(2, orders + 1):
        np.multiply(turns[order - 1], turns[1], out=turns[order])
    return turns


def _gram(size: int, step: float, orders: int) -> FloatArray:
    """(orders + 1,) the sum of exp(i m step offset) over offsets symmetric to 0, a Dirichlet kernel."""
    half = np.arange(orders + 1) * step / 2
    bottom = np.sin(half)
    flat = np.abs(bottom) < 1e-12
    found: FloatArray = np.where(flat, size, np.sin(size * half) / np.where(flat, 1.0, bottom))
    return found


def _lines(turns: ComplexArray, gram: FloatArray, part: FloatArray) -> ComplexArray:
    """Least squares of DC and harmonics; entry k > 0 holds both k and -k, the real part is the wave.

    Over symmetric offsets cosines and sines do not see each other: two real systems of half the size, for
    NumPy alone. SciPy's solver of the whole is as fast and takes 0.25 s to import.
    """
    projected = (turns @ part).conj()
    order = np.arange(len(turns))
    near, far = gram[np.abs(order[:, None] - order)], gram[order[:, None] + order]
    even = near + far
    even[:, 0] = near[:, 0]
    lines: ComplexArray = np.zeros(len(turns), dtype=np.complex128)
    lines.real = np.linalg.solve(even, projected.real)
    lines.imag[1:] = np.linalg.solve((near - far)[1:, 1:], projected.imag[1:])
    lines[1:] *= 2
    return lines

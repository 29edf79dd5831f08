"""Fits a sine, its harmonics and DC to a stretch of mains at once: the frequency at the Cramer-Rao bound.

Least squares over DC, cosine and sine of every order and the fundamental's frequency, by Gauss-Newton
steps. Positions are counted from the middle of the stretch, so that cosines and sines do not mix and
their Gram matrices have a closed form (sums of cosines); the products with the samples are computed
in two stages of the square root of their number. Harmonics and DC therefore worsen the frequency only as far
as they raise the bound, and no window discards samples.

Source: S. M. Kay, Fundamentals of Statistical Signal Processing I (1993), 3.7 and 8.9; the bound of a real
sinusoid is that of 3.11 with DC, amplitude and phase unknown.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.least_squares import FITTED_RATE_SHARE, orders_within, solved
from opq_measure.line_sums import line_powers, order_pairs, product_in_one_thread
from opq_measure.signal import FloatArray, SignalArray

ComplexArray = NDArray[np.complex128]

FUNDAMENTAL_SHARE = 0.25
"""Least share of the alternating power that the fundamental must have for its frequency to be valid."""
SETTLED_STEP = 1e-8
"""Relative step below which the next one, which is always made, is below 1e-12 of the frequency."""
LARGEST_CHANGE_CYCLES = 0.6
"""Largest change by one step, in cycles per stretch; the main lobe of a stretch ends at one."""


@dataclass(frozen=True, slots=True)
class HarmonicFit:
    """The fit to a stretch of `samples`.

    `frequency_hz` is NaN where there is no fundamental or the steps did not settle. `phasors` (orders,)
    complex peak of order 1 .. at the middle of the stretch, sample (samples - 1) / 2: a signal
    `Re(sum_k phasors[k - 1] exp(2 pi j k f t)) + dc`. `residual` is the rms of the rest. All are NaN where
    the orders cannot be told apart.
    """

    samples: int
    frequency_hz: float
    dc: float
    phasors: ComplexArray
    residual: float


def fit_harmonics(
    volts: SignalArray, rate_hz: float, near_hz: float, orders: int = 50, steps: int = 6
) -> HarmonicFit:
    """Fit DC, `orders` harmonics and the frequency of the fundamental.

    Args:
        volts: (n,) counts or volts, at least one cycle and 2 * orders + 4 samples.
        near_hz: within 0.3 cycles per stretch of the frequency: 0.3 Hz for a second, 10 Hz for 1.5 cycles.
        orders: fewer are fitted where the rate is too low for them.
        steps: most Gauss-Newton steps before the last one, which is always made.
    Raises:
        ValueError: too few samples, or `near_hz` is not above 0 and up to FITTED_RATE_SHARE of the rate.

    Error: at the bound, bias below 1e-9 of the frequency without noise (test_measure_frequency.py).
    """
    if not 0 < near_hz <= FITTED_RATE_SHARE * rate_hz:
        raise ValueError(f"near_hz is {near_hz:g}, want a number up to {FITTED_RATE_SHARE * rate_hz:g}")
    orders = orders_within(rate_hz, near_hz, orders)
    samples = len(volts)
    if samples < 2 * orders + 4 or samples * near_hz < rate_hz * (1 - 1e-6):
        raise ValueError(f"{samples} samples, want a cycle of {near_hz:g} Hz and at least {2 * orders + 4}")
    x = np.asarray(volts, dtype=np.float64)
    energy = float(np.einsum("i,i->", x, x))
    omega = 2 * np.pi * near_hz / rate_hz
    most = 2 * np.pi * LARGEST_CHANGE_CYCLES / samples
    settled = False
    few = min(orders, 10)
    for number in range(steps):
        step, _, _, _ = _step(x, omega, few if number == 0 and samples > 4000 else orders)
        omega += min(max(step, -most), most)
        settled = abs(step) < SETTLED_STEP * omega
        if settled or not 0.2 * near_hz * 2 * np.pi < omega * rate_hz < 5 * near_hz * 2 * np.pi:
            break
    step, even, odd, explained = _step(x, omega, orders)
    return _read(samples, rate_hz, omega + step, even, odd, energy, explained)


def _read(
    samples: int,
    rate_hz: float,
    omega: float,
    even: FloatArray,
    odd: FloatArray,
    energy: float,
    explained: float,
) -> HarmonicFit:
    phasors = even[1:] - 1j * odd
    alternating = energy / samples - float(even[0]) ** 2
    share = abs(phasors[0]) ** 2 / 2 / alternating if alternating > 1e-12 * energy / samples else 0.0
    frequency_hz = omega * rate_hz / (2 * np.pi) if share > FUNDAMENTAL_SHARE else float("nan")
    residual = float(np.sqrt(max(energy - explained, 0.0) / samples))
    return HarmonicFit(samples, frequency_hz, float(even[0]), phasors, residual)


def _step(x: FloatArray, omega: float, orders: int) -> tuple[float, FloatArray, FloatArray, float]:
    """The Gauss-Newton step of `omega`, amplitudes of DC and cosines, of sines, the energy they explain."""
    sums, moment = _projections(x, omega, orders)
    gram = gram_of(len(x), omega, orders)
    even = _solve(gram.even, sums.real, gram.slope_even)
    odd = _solve(gram.odd, -sums.imag[1:], gram.slope_odd)
    rest_even = -moment.imag - float(gram.slope_even @ even[:, 0])
    rest_odd = moment.real - float(gram.slope_odd @ odd[:, 0])
    free_even = gram.square_even - float(gram.slope_even @ even[:, 1])
    free_odd = gram.square_odd - float(gram.slope_odd @ odd[:, 1])
    cosine, sine = float(even[1, 0]), float(odd[0, 0])
    weight = cosine * cosine * free_even + sine * sine * free_odd
    step = (sine * rest_odd - cosine * rest_even) / weight if weight > 0 else 0.0
    explained = float(even[:, 0] @ sums.real) - float(odd[:, 0] @ sums.imag[1:])
    return step, even[:, 0], odd[:, 0], explained


def _solve(gram: FloatArray, *sides: FloatArray) -> FloatArray:
    """(orders, sides) solutions for each right-hand side."""
    return solved(gram, np.column_stack(sides))


def _projections(x: FloatArray, omega: float, orders: int) -> tuple[ComplexArray, complex]:
    """(orders + 1,) sum of x exp(-j k omega u), u from the middle; and the sum of x u exp(-j omega u)."""
    width = max(8, int(np.sqrt(len(x))))
    rows = -(-len(x) // width)
    grid = np.zeros((rows, width))
    grid.reshape(-1)[: len(x)] = x
    inner = np.arange(width, dtype=np.float64)
    outer = np.arange(rows, dtype=np.float64) * width - (len(x) - 1) / 2
    kernel = np.empty((width, orders + 2), dtype=np.complex128)
    kernel[:, : orders + 1] = line_powers(inner, -omega, orders)
    kernel[:, orders + 1] = inner * kernel[:, 1]
    found = product_in_one_thread(grid, kernel.view(np.float64)).view(np.complex128)
    turn = line_powers(outer, -omega, orders)
    sums = np.einsum("ij,ij->j", turn, found[:, : orders + 1])
    moment = turn[:, 1] @ (outer * found[:, 1] + found[:, orders + 1])
    return sums, complex(moment)


@dataclass(frozen=True, slots=True)
class Gram:
    """Sums over all u of products of `cos(k w u)`, `sin(k w u)`, `u sin(w u)` and `u cos(w u)`."""

    even: FloatArray
    """(orders + 1, orders + 1) cosines with cosines; the first is DC."""
    odd: FloatArray
    """(orders, orders) sines with sines."""
    slope_even: FloatArray
    """(orders + 1,) cosines with u sin(w u)."""
    slope_odd: FloatArray
    """(orders,) sines with u cos(w u)."""
    square_even: float
    """u sin(w u) with itself."""
    square_odd: float
    """u cos(w u) with itself."""


def gram_of(samples: int, omega: float, orders: int) -> Gram:
    """The products for a fundamental of `omega` rad per sample; `orders * omega` below pi."""
    order = np.arange(orders + 1)
    highest = max(2, 2 * orders)
    half = omega * np.arange(1, highest + 1) / 2
    top, low = np.sin(samples * half), np.sin(half)
    top_rise, low_rise = samples / 2 * np.cos(samples * half), np.cos(half) / 2
    ratio = top / low
    sums = np.concatenate(((float(samples),), ratio))
    rises = np.concatenate(((0.0,), (top_rise - ratio * low_rise) / low))
    apart, beyond = order_pairs(orders)
    near, far = sums[apart], sums[beyond]
    after, before = rises[order + 1], rises[np.abs(order - 1)] * np.sign(order - 1)
    cross = float(low_rise[1] / low[1])
    bend = float(ratio[1]) * ((1 - samples**2) / 4 + 2 * cross * cross)
    bend -= 2 * float(top_rise[1] / low[1]) * cross
    square = samples * (samples**2 - 1) / 12
    return Gram(
        even=(near + far) / 2,
        odd=((near - far) / 2)[1:, 1:],
        slope_even=(before - after) / 2,
        slope_odd=-(after + before)[1:] / 2,
        square_even=(square + bend) / 2,
        square_odd=(square - bend) / 2,
    )

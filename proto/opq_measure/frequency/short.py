"""Frequency over one and a half cycles, from these samples alone: the harmonics are fitted too.

With unknown harmonics the bound of the frequency is 9 mHz for one cycle (60 dB), and 1.33 mHz for one and a
half.
"""

import math

from opq_measure.frequency.harmonic_fit import fit_harmonics
from opq_measure.least_squares import orders_within
from opq_measure.signal import SignalArray, check_samples

CYCLES = 1.5
ORDERS = 25
"""The error is at the bound up to 40; 25 include those of rectifiers: 11, 13, 17, 19, 23 and 25."""


def short_hz(volts: SignalArray, rate_hz: float, near_hz: float) -> float:
    """Frequency of about one and a half cycles.

    Args:
        volts: (n,) counts or volts, at least 1.2 cycles.
        near_hz: the latest estimate, within 5 Hz; from a nominal frequency the fit would not always converge.
    Returns:
        Hz; NaN where the fundamental is less than a quarter of the alternating power.
    Raises:
        ValueError: see `signal.check_samples`; fewer than 1.2 cycles, or too few samples for one order.

    Error: 1.3 mHz at 60 dB, 0.16 mHz at 78 dB (1.0 of the bound), 42.5 to 69 Hz at 12 kS/s
    (test_measure_frequency.py); CPU 0.7 ms. Harmonics beyond order 25 leak in: 1 % of order 29 adds 1 mHz.
    """
    check_samples(volts)
    if not 1.2 * rate_hz <= len(volts) * near_hz < math.inf:
        raise ValueError(f"{len(volts)} samples, want at least 1.2 cycles of {near_hz:g} Hz")
    orders = orders_within(rate_hz, near_hz, min(ORDERS, (len(volts) - 4) // 6))
    return fit_harmonics(volts, rate_hz, near_hz, orders).frequency_hz


def short_span(middle: float, near_hz: float, rate_hz: float, samples: int) -> slice | None:
    """The samples of one and a half cycles around the position `middle`; None where some are missing."""
    length = round(CYCLES * rate_hz / near_hz)
    first = round(middle - length / 2)
    return slice(first, first + length) if first >= 0 and first + length <= samples else None

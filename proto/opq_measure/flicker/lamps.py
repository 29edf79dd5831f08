"""The reference lamps of the flickermeter, with the eye that sees them: block 3 as analogue filters.

A lamp belongs to a mains frequency, because the low pass that removes the doubled mains frequency is lower at
50 Hz. So there are four: the two usual ones, and the cross pairs (120 V at 50 Hz, 230 V at 60 Hz).

Source: IEC 61000-4-15:2010, 5.5. The text of the standard was not at hand. The ten coefficients and the
two corners agree in three public implementations that say they follow it (among them the flickermeter
simulator of Solcept AG), and with its tables 1a, 1b, 2a, 2b and 5 (test_measure_flicker.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray

ComplexArray = NDArray[np.complexfloating[Any, Any]]

LOW_CORNER_HZ = 0.05
"""First-order high pass; IEC 61000-4-15:2010, 5.5.1."""
FILTER_ORDER = 6
"""Order of the Butterworth low pass; IEC 61000-4-15:2010, 5.5.1."""
FEELING_HZ = 8.8
"""Frequency at which a fluctuation is felt most; IEC 61000-4-15:2010, tables 1a and 1b."""
SMOOTH_S = 0.3
"""Time constant of block 4; IEC 61000-4-15:2010, 5.6."""
BETWEEN_V = 170.0
"""Halfway between the two lamps, on a logarithmic scale; 100 V uses the lamp of 120 V."""
BETWEEN_HZ = 55.0
TURN = 2 * np.pi


@dataclass(frozen=True, slots=True)
class Lamp:
    """A reference lamp at a mains frequency: IEC 61000-4-15:2010, 5.5.2; omega and damping in rad/s."""

    nominal_v: float
    nominal_hz: float
    gain: float
    damping: float
    omega: tuple[float, float, float, float]
    threshold_percent: float
    """Peak-to-peak sine fluctuation at 8.8 Hz that gives Pinst = 1 (tables 1a and 1b)."""
    high_corner_hz: float
    """Corner of the low pass: 35 Hz at 50 Hz, 42 Hz at 60 Hz; 5.5.1."""

    def weighting(self) -> tuple[list[complex], list[complex], float]:
        """Zeros, poles (rad/s) and gain of the weighting filter: lamp, eye and brain together."""
        w1, w2, w3, w4 = self.omega
        swing = 1j * np.sqrt(w1 * w1 - self.damping**2)
        zeros, poles = [0j, -w2 + 0j], [-self.damping + swing, -self.damping - swing, -w3 + 0j, -w4 + 0j]
        return zeros, poles, self.gain * w1 * w3 * w4 / w2

    def response(self, hz: FloatArray) -> ComplexArray:
        """Transfer function of block 3, (n,) for `hz` (n,), before its scaling."""
        s = 1j * TURN * np.asarray(hz, dtype=np.float64)
        zeros, poles, gain = self.weighting()
        found: ComplexArray = gain * s / (s + TURN * LOW_CORNER_HZ)
        for zero in zeros:
            found = found * (s - zero)
        for pole in poles:
            found = found / (s - pole)
        corner = TURN * self.high_corner_hz
        for k in range(FILTER_ORDER):
            found = found / (
                s / corner - np.exp(1j * np.pi * (2 * k + FILTER_ORDER + 1) / (2 * FILTER_ORDER))
            )
        return found

    def scale(self) -> float:
        """Scale of block 3's squared output: the fluctuation that is just felt peaks at Pinst = 1.

        The part of its ripple of 17.6 Hz that passes block 4 belongs to the peak.
        """
        swing = self.threshold_percent / 100 * abs(self.response(np.array([FEELING_HZ]))[0])
        ripple = 1 / np.hypot(1, 2 * TURN * FEELING_HZ * SMOOTH_S)
        return float(2 / (swing**2 * (1 + ripple)))


def _lamp_230v(nominal_hz: float, high_corner_hz: float) -> Lamp:
    omega = (TURN * 9.15494, TURN * 2.27979, TURN * 1.22535, TURN * 21.9)
    return Lamp(230.0, nominal_hz, 1.74802, TURN * 4.05981, omega, 0.250, high_corner_hz)


def _lamp_120v(nominal_hz: float, high_corner_hz: float) -> Lamp:
    omega = (TURN * 9.077169, TURN * 2.939902, TURN * 1.394468, TURN * 17.31512)
    return Lamp(120.0, nominal_hz, 1.6357, TURN * 4.167375, omega, 0.321, high_corner_hz)


LAMP_230V = _lamp_230v(50.0, 35.0)
LAMP_120V = _lamp_120v(60.0, 42.0)
LAMP_230V_60HZ = _lamp_230v(60.0, 42.0)
LAMP_120V_50HZ = _lamp_120v(50.0, 35.0)
LAMPS = (LAMP_230V, LAMP_120V, LAMP_230V_60HZ, LAMP_120V_50HZ)


def lamp_for(nominal_v: float, nominal_hz: float | None = None) -> Lamp:
    """The reference lamp of a nominal voltage: 120 V below 170 V (also 100 V), 230 V above.

    Args:
        nominal_hz: of the mains; None means the usual one, 60 Hz with 120 V and 50 Hz with 230 V.
    Raises:
        ValueError: the voltage is not a positive number.
    """
    if not 0 < nominal_v < np.inf:
        raise ValueError(f"nominal_v is {nominal_v:g}, want a positive number")
    if nominal_v < BETWEEN_V:
        return LAMP_120V_50HZ if nominal_hz is not None and nominal_hz < BETWEEN_HZ else LAMP_120V
    return LAMP_230V_60HZ if nominal_hz is not None and nominal_hz >= BETWEEN_HZ else LAMP_230V

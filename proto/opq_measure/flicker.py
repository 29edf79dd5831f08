"""Flickermeter: how the eye feels the light of a lamp on this voltage.

The blocks of the standard, in NumPy: the squared voltage is averaged to 1.2 kHz (block 2), normalised by
its own mean of 27.3 s (block 1), weighted by lamp and eye (block 3), squared and smoothed with 300 ms
(block 4), and classified over ten minutes (block 5). The linear filters are applied as transfer functions
in the frequency domain, on stretches with run-in, so that they are exactly the analogue ones.

Source: IEC 61000-4-15:2010, 5 (blocks) and 5.7 (Pst).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray, SignalArray

ComplexArray = NDArray[np.complexfloating[Any, Any]]

MIN_S = 5.0
"""Shorter signals have no value: after the 2 s that the filters need too little would be left."""
SETTLE_S = 2.0
"""Left out at the start: the weighting filter and six 300 ms time constants."""
PST_S = 600.0
"""Observation time of Pst; IEC 61000-4-15:2010, 5.7.1."""
MEAN_S = 27.3
"""Time constant of the normalising mean, 1 min from 10 to 90 %; IEC 61000-4-15:2010, 5.3."""
SMOOTH_S = 0.3
"""IEC 61000-4-15:2010, 5.6."""
LOW_CORNER_HZ = 0.05
"""First-order high pass; IEC 61000-4-15:2010, 5.5.1."""
FEELING_HZ = 8.8
"""Frequency at which a fluctuation is felt most; IEC 61000-4-15:2010, table 1."""
WORK_HZ = 1200.0
MEAN_STEP_S = 0.1
STRETCH_S, RUN_IN_S = 300.0, 20.0


@dataclass(frozen=True, slots=True)
class Lamp:
    """A reference lamp: IEC 61000-4-15:2010, 5.5.2, equation 1 and table; omega and damping in rad/s."""

    gain: float
    damping: float
    omega: tuple[float, float, float, float]
    felt_percent: float
    """Peak-to-peak sine fluctuation at 8.8 Hz that gives Pinst = 1 (tables 1a and 1b)."""
    high_corner_hz: float
    """Sixth-order Butterworth low pass: 35 Hz at 50 Hz, 42 Hz at 60 Hz; 5.5.1."""

    def response(self, hz: FloatArray) -> ComplexArray:
        """Transfer function of block 3, without its scaling."""
        s = 2j * np.pi * hz
        w1, w2, w3, w4 = self.omega
        weight = self.gain * w1 * s / (s * s + 2 * self.damping * s + w1 * w1)
        weight = weight * (1 + s / w2) / ((1 + s / w3) * (1 + s / w4))
        corner = 2 * np.pi * LOW_CORNER_HZ
        found: ComplexArray = weight * s / (s + corner) * _butterworth6(hz / self.high_corner_hz)
        return found


TURN = 2 * np.pi
LAMP_230V = Lamp(
    1.74802, TURN * 4.05981, (TURN * 9.15494, TURN * 2.27979, TURN * 1.22535, TURN * 21.9), 0.250, 35.0
)
LAMP_120V = Lamp(
    1.6357, TURN * 4.167375, (TURN * 9.077169, TURN * 2.939902, TURN * 1.394468, TURN * 17.31512), 0.321, 42.0
)


def lamp_for(nominal_v: float) -> Lamp:
    """The reference lamp of a nominal voltage: 120 V below 170 V (also 100 V), 230 V above."""
    return LAMP_120V if nominal_v < 170 else LAMP_230V


@dataclass(frozen=True, slots=True)
class Flicker:
    """`pinst_max` after settling; `pst`, the largest of the ten-minute spans. None where too short for it."""

    pinst_max: float | None
    pst: float | None


def flicker(volts: SignalArray, rate_hz: float, lamp: Lamp) -> Flicker:
    """Flicker severity of a signal.

    Args:
        volts: (n,) counts or volts; the level does not matter.
    Error: Pinst within 5 % of 1 at the fluctuations of table 1 (test_measure_harmonics.py).
    """
    if len(volts) < MIN_S * rate_hz:
        return Flicker(None, None)
    felt, work_hz = instantaneous(volts, rate_hz, lamp)
    settled = felt[round(SETTLE_S * work_hz) :]
    span = round(PST_S * work_hz)
    spans = [felt[first : first + span] for first in range(0, len(felt) - span + 1, span)]
    spans = [part[round(SETTLE_S * work_hz) :] if first == 0 else part for first, part in enumerate(spans)]
    return Flicker(float(settled.max()), max((severity(part) for part in spans), default=None))


def instantaneous(volts: SignalArray, rate_hz: float, lamp: Lamp) -> tuple[FloatArray, float]:
    """Pinst, and its rate in Hz: 1 is just felt by half of the people."""
    square, work_hz = _squared(volts, rate_hz)
    felt = np.empty(len(square))
    mean = _slow_mean(square, work_hz)
    stretch, run_in = round(STRETCH_S * work_hz), round(RUN_IN_S * work_hz)
    scale = _scale(lamp)
    for first in range(0, len(square), stretch):
        begin = max(0, first - run_in)
        part = square[begin : first + stretch]
        relative = part / mean[begin : first + stretch] - 1.0
        eye = _filtered(relative, work_hz, lamp.response)
        smooth = _filtered(scale * eye * eye, work_hz, _smoothing)
        felt[first : first + stretch] = np.maximum(smooth, 0.0)[first - begin :]
    return felt, work_hz


def severity(felt: FloatArray) -> float:
    """Pst of Pinst over ten minutes, by its smoothed percentiles; IEC 61000-4-15:2010, 5.7.2."""

    def exceeded(*percents: float) -> float:
        return float(np.mean(np.percentile(felt, [100 - percent for percent in percents])))

    return float(
        np.sqrt(
            0.0314 * exceeded(0.1)
            + 0.0525 * exceeded(0.7, 1.0, 1.5)
            + 0.0657 * exceeded(2.2, 3.0, 4.0)
            + 0.28 * exceeded(6.0, 8.0, 10.0, 13.0, 17.0)
            + 0.08 * exceeded(30.0, 50.0, 80.0)
        )
    )


def _squared(volts: SignalArray, rate_hz: float) -> tuple[FloatArray, float]:
    """Squared signal, averaged over whole groups of samples to about 1.2 kHz, and the rate of it."""
    group = max(1, round(rate_hz / WORK_HZ))
    count = len(volts) // group
    found = np.empty(count)
    step = 1 << 16
    for first in range(0, count, step):
        part = np.asarray(volts[first * group : min(count, first + step) * group], dtype=np.float64)
        found[first : first + step] = (part * part).reshape(-1, group).mean(axis=1)
    return found, rate_hz / group


def _scale(lamp: Lamp) -> float:
    """Makes the maximum of Pinst 1 at the fluctuation that is just felt, its ripple of 17.6 Hz included."""
    swing = lamp.felt_percent / 100 * abs(lamp.response(np.array([FEELING_HZ]))[0])
    ripple = 1 / np.hypot(1, 2 * np.pi * 2 * FEELING_HZ * SMOOTH_S)
    return float(2 / (swing**2 * (1 + ripple)))


def _butterworth6(ratio: FloatArray) -> ComplexArray:
    s = 1j * ratio
    poles = np.exp(1j * np.pi * (2 * np.arange(6) + 7) / 12)
    found: ComplexArray = 1 / np.prod(s[:, None] - poles, axis=1)
    return found


def _smoothing(hz: FloatArray) -> ComplexArray:
    found: ComplexArray = 1 / (1 + 2j * np.pi * hz * SMOOTH_S)
    return found


def _slow_mean(square: FloatArray, rate_hz: float) -> FloatArray:
    """Block 1: the first-order mean of 27.3 s, at rest on the mean of the first second; never 0."""
    group = max(1, round(rate_hz * MEAN_STEP_S))
    count = max(1, len(square) // group)
    coarse = square[: count * group].reshape(count, -1).mean(axis=1)
    level = float(coarse[: round(1 / MEAN_STEP_S)].mean())
    levels = np.empty(count)
    for k, value in enumerate(coarse.tolist()):
        level += (value - level) * (MEAN_STEP_S / MEAN_S)
        levels[k] = level
    middles = group * (np.arange(count) + 0.5)
    return np.maximum(np.interp(np.arange(len(square)), middles, levels), 1e-30)


def _filtered(
    values: FloatArray, rate_hz: float, response: Callable[[FloatArray], ComplexArray]
) -> FloatArray:
    """Linear filtering from rest: zeros behind, longer than the response, keep its end from its start."""
    size = 1 << int(np.ceil(np.log2(len(values) + RUN_IN_S * rate_hz)))
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    shaped = np.fft.rfft(values, size) * response(np.asarray(hz, dtype=np.float64))
    found: FloatArray = np.fft.irfft(shaped, size)[: len(values)]
    return found

"""A Butterworth low pass run forwards and back, as the original takes the fundamental of a waveform.

The same numbers as SciPy's `butter` and `filtfilt` with their defaults give (test_measure_original.py), which
the original uses; SciPy itself is no dependency of ours. Source: opq-interop E.3; A. V. Oppenheim, R. W.
Schafer, Discrete-Time Signal Processing, 7.1 (bilinear transformation); F. Gustafsson, IEEE Trans. Signal
Process. 44 (1996), where a filter run forwards and back begins.
"""

import math

import numpy as np

from opq_measure.signal import FloatArray


def low_passed(values: FloatArray, order: int, cutoff: float) -> FloatArray | None:
    """`values` without what is above `cutoff`, a share of half the rate; no delay. None: too short.

    Raises:
        ValueError: `order` is not 1 to 8, or `cutoff` not between 0 and 1.
    """
    numerator, denominator = low_pass(order, cutoff)
    pad = 3 * len(denominator)
    if len(values) <= pad:
        return None
    before = 2 * values[0] - values[pad:0:-1]
    after = 2 * values[-1] - values[-2 : -pad - 2 : -1]
    steady = _steady_state(numerator, denominator)
    passed = np.concatenate((before, values, after))
    for _ in range(2):
        passed = _filtered(numerator, denominator, passed, steady * passed[0])[::-1]
    return passed[pad:-pad]


def low_pass(order: int, cutoff: float) -> tuple[FloatArray, FloatArray]:
    """Numerator and denominator in powers of z to the minus one."""
    if not (1 <= order <= 8 and 0 < cutoff < 1):
        raise ValueError(f"a low pass of order {order} at {cutoff:g} of half the rate")
    warped = 4 * math.tan(math.pi * cutoff / 2)
    angles = math.pi * (2 * np.arange(order) + order + 1) / (2 * order)
    poles = warped * np.exp(1j * angles)
    denominator = np.real(np.poly((4 + poles) / (4 - poles)))
    gain = float(np.real(warped**order / np.prod(4 - poles)))
    return gain * np.real(np.poly(-np.ones(order))), denominator


def _steady_state(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """What the delays hold after a step of one that has lasted for ever."""
    order = len(denominator) - 1
    shift = np.eye(order, k=1)
    shift[:, 0] = -denominator[1:]
    return np.linalg.solve(np.eye(order) - shift, numerator[1:] - denominator[1:] * numerator[0])


def _filtered(
    numerator: FloatArray, denominator: FloatArray, values: FloatArray, delays: FloatArray
) -> FloatArray:
    """Direct form II, transposed; 1 us and less a sample."""
    held = [*delays.tolist(), 0.0]
    taps = list(zip(range(len(delays)), numerator[1:].tolist(), denominator[1:].tolist(), strict=True))
    first = float(numerator[0])
    out = []
    for value in values.tolist():
        now = first * value + held[0]
        for place, forward, back in taps:
            held[place] = held[place + 1] + forward * value - back * now
        out.append(now)
    return np.array(out)

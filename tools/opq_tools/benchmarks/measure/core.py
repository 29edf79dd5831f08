"""What the measurement core says of a steady signal, less what is true: one half of `bench measure`."""

from collections.abc import Mapping

import numpy as np

from opq_hil.mains.truth import Truth
from opq_measure.frequency.cycle import WINDOWS, CycleFrequency
from opq_measure.frequency.one_second import one_second_hz
from opq_measure.frequency.short import CYCLES, short_hz
from opq_measure.harmonics.spectrum import spectrum_of
from opq_measure.rms import cycle_rms_v
from opq_measure.signal import FloatArray
from opq_measure.timebase.windows import Window, windows_of
from opq_tools.benchmarks.peer import SETTLE_S

SHORT_PER_SECOND = 4


def errors(volts: FloatArray, truth: Truth, rate_hz: float, nominal_hz: float) -> Mapping[str, FloatArray]:
    """Errors by quantity, behind the peer's settling: `_hz` in Hz, `_v`, `thd` and `orders` as ratios."""
    start = round(SETTLE_S * rate_hz)
    windows = [w for w in windows_of(volts, rate_hz, nominal_hz) if w.first_sample + w.edges[0] >= start]
    cycles = len(windows[0].edges) - 1
    spectrum = spectrum_of(windows, cycles)
    subgroups = spectrum.subgroups()
    orders = subgroups / subgroups[:, :1]
    frequency_hz = float(truth.frequency_hz(np.zeros(1))[0])
    return {
        "second_hz": _seconds_hz(volts[start:], rate_hz, nominal_hz) - frequency_hz,
        "short_hz": _short_hz(volts[start:], rate_hz, frequency_hz) - frequency_hz,
        "cycle_hz": _cycles_hz(windows) - frequency_hz,
        "cycle_v": _rms_v([(w.volts, w.edges) for w in windows]) / truth.rms_v - 1,
        "half_v": _rms_v([(w.volts, w.half_edges) for w in windows]) / truth.rms_v - 1,
        "window_v": _rms_v([(w.volts, w.edges[[0, -1]]) for w in windows]) / truth.rms_v - 1,
        "thd": spectrum.thd() - truth.thd_percent / 100,
        "orders": (orders[:, 1:] - np.abs(truth.ratios)[1:]).ravel(),
    }


def _cycles_hz(windows: list[Window]) -> FloatArray:
    """Behind the first second, whose harmonics are carried over."""
    cycles = CycleFrequency()
    return np.concatenate([cycles.push(window).hz for window in windows][WINDOWS:])


def _rms_v(stretches: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    return np.concatenate([cycle_rms_v(volts, edges) for volts, edges in stretches])


def _seconds_hz(volts: FloatArray, rate_hz: float, nominal_hz: float) -> FloatArray:
    size = round(rate_hz)
    firsts = range(0, len(volts) - size + 1, size)
    return np.array([one_second_hz(volts[first : first + size], rate_hz, nominal_hz) for first in firsts])


def _short_hz(volts: FloatArray, rate_hz: float, near_hz: float) -> FloatArray:
    """Told a running estimate that is 10 mHz off."""
    size, step = round(CYCLES * rate_hz / near_hz), round(rate_hz / SHORT_PER_SECOND)
    firsts = range(0, len(volts) - size, step)
    return np.array([short_hz(volts[first : first + size], rate_hz, near_hz + 0.01) for first in firsts])

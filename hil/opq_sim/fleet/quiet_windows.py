"""QuietWindows: class A of many 10/12-cycle windows of a steady voltage, in closed form. Pure.

    rms, harmonics    of the voltage, and the noise that falls into them
    frequency         cycles of each window over its length
    Pinst             that of the noise alone

Source of the noise's share: white noise of variance s^2 has 2 s^2 / (rate length) in each line.
"""

from dataclasses import dataclass

import numpy as np

from opq_gateway.measuring.window_figures import HARMONICS, INTERHARMONICS, PLACES, ROW_FLOATS
from opq_measure.flicker.meter import WEIGHTS
from opq_measure.frequency.per_window import WINDOW_S, cycles_per_window
from opq_sim.fleet.quiet_figures import RATE_HZ, most_of
from opq_sim.mains.profiles import FloatArray
from opq_sim.power_system.box_voltage import SteadyVoltage

PST_OF_NOISE = 40.0
"""Pst of noise alone, by its share of the rms: 0.04 at 60 dB (opq_measure.flicker.meter)."""


@dataclass(frozen=True, slots=True)
class QuietWindows:
    """A span of windows of one Box."""

    windows: int
    mean: FloatArray
    """(ROW_FLOATS,) of the gateway's QUANTITIES; so are `least` and `most`, of single windows."""
    least: FloatArray
    most: FloatArray


def quiet_windows(
    steady: SteadyVoltage, noise_v: float, nominal_v: float, nominal_hz: float, f_hz: FloatArray
) -> QuietWindows:
    """Windows of a steady voltage as a Box reads it.

    Args:
        f_hz: (n,) frequency of each window.
    """
    cycles = cycles_per_window(nominal_hz)
    line_v = noise_v * np.sqrt(2.0 / (RATE_HZ * WINDOW_S))
    mean = np.empty(ROW_FLOATS)
    harmonics_v = np.hypot(steady.fundamental_v * np.abs(steady.ratios), np.sqrt(3.0) * line_v)
    rms_v = float(np.hypot(steady.rms_v, noise_v))
    mean[HARMONICS] = harmonics_v
    mean[INTERHARMONICS] = np.sqrt(cycles - 3.0) * line_v  # lines between two subgroups
    thd = float(np.linalg.norm(harmonics_v[1:]) / harmonics_v[0])
    mean[: len(PLACES)] = [
        {"f_hz": float(f_hz.mean()), "thd_ratio": thd, "under_v": min(rms_v, nominal_v)}.get(
            name, max(rms_v, nominal_v) if name == "over_v" else rms_v
        )
        for name in PLACES
    ]
    least, most = mean.copy(), mean.copy()
    count = float(len(f_hz))
    window_v = noise_v / np.sqrt(RATE_HZ * WINDOW_S) * float(most_of(np.array([2.0 * count]))[0])
    cycle_v = noise_v / np.sqrt(RATE_HZ / nominal_hz) * float(most_of(np.array([2.0 * cycles * count]))[0])
    for name, off_v in (("rms_v", window_v), ("urms_min_v", cycle_v), ("urms_max_v", cycle_v)):
        least[PLACES[name]] -= off_v
        most[PLACES[name]] += off_v
    least[PLACES["f_hz"]], most[PLACES["f_hz"]] = f_hz.min(), f_hz.max()
    return QuietWindows(len(f_hz), mean, least, most)


def quiet_pinst(noise_v: float, rms_v: float) -> float:
    """Pinst of a steady voltage whose Pst is that of its noise."""
    return float((PST_OF_NOISE * noise_v / rms_v) ** 2 / sum(WEIGHTS)) if rms_v else 0.0

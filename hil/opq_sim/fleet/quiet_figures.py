"""QuietFigures: the metrics of steady spans in closed form, for many Boxes at once. Pure.

    rms    Parseval over the harmonics, plus the noise's share; Urms(1/2) spreads by the noise alone
    f      cycles of a 10/12-cycle window over its length
    thd    root of the squares of orders 2 .. 50, and the noise that falls into their subgroups
    trans  measured once per steady span from the outlet's own samples: it depends on where samples fall

The scatter that noise adds to each figure is drawn from (seed, Box's id, end of the Measurement), so the
numbers do not depend on how the Boxes are spread over processes.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_proto.measurement.fields import METRIC_NAMES
from opq_sim.mains.profiles import FloatArray, IndexArray
from opq_sim.power_system.box_voltage import SteadyVoltage

RATE_HZ: Final = 12_000.0
SUBGROUP_BINS: Final = 3 * 49
"""Bins of orders 2 .. 50: the bin of the order and one on both sides (IEC 61000-4-7:2002, 5.6.1)."""
WINDOW_S: Final = 0.2
"""A bin is 5 Hz wide: it holds one part in rate times this of the noise's power, in both half spectra."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def drawn_normal(keys: Sequence[IndexArray | int], columns: int) -> FloatArray:
    """(n, columns) Gaussian numbers of unit variance that depend on the keys alone.

    Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) for the bits; Box and Muller, 1958.
    """
    state: NDArray[np.uint64] = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = _mixed(state + np.asarray(key, np.int64).astype(np.uint64) * _GOLDEN + _GOLDEN)
        places = np.arange(2 * columns, dtype=np.uint64) + np.uint64(1)
        bits = _mixed(state[:, np.newaxis] + places * _GOLDEN)
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    length = np.sqrt(-2.0 * np.log(uniform[:, :columns]))
    return np.asarray(length * np.cos(2 * np.pi * uniform[:, columns:]))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def most_of(count: FloatArray) -> FloatArray:
    """The expected maximum of `count` Gaussian numbers, in standard deviations; within 3 % from 4 to 1000.

    Source: the tail of the normal distribution, expanded twice (Cramer, Mathematical Methods of Statistics,
    28.6).
    """
    twice = 2.0 * np.log(np.maximum(count, 2.0))
    root = np.sqrt(twice)
    return np.asarray(root - (np.log(twice) + np.log(2 * np.pi)) / (2 * root) + 0.5772 / root)


class QuietFigures:
    """The metrics of steady Boxes by index; a Box is unknown until its first `set_voltage`."""

    def __init__(self, box_ids: Sequence[str], seed: int) -> None:
        self._seed = seed
        self._numbers = np.array([int(box_id) for box_id in box_ids], np.int64)
        self._rms_v, self._thd, self._noise_v = (np.full(len(box_ids), np.nan) for _ in range(3))
        self._trans_v = np.full((len(box_ids), 3), np.nan)

    def set_voltage(
        self, box: int, steady: SteadyVoltage, noise_v: float, trans_v: tuple[float, float, float]
    ) -> None:
        """Sets the voltage of a Box from now on; `trans_v` is minimum, maximum and mean of its cycles."""
        self._rms_v[box] = np.hypot(steady.rms_v, noise_v)
        share = noise_v / (steady.fundamental_v * abs(steady.ratios[0])) if steady.fundamental_v else 0.0
        in_subgroups = SUBGROUP_BINS * 2.0 / (RATE_HZ * WINDOW_S)
        self._thd[box] = np.hypot(steady.thd, share * np.sqrt(in_subgroups))
        self._noise_v[box] = noise_v
        self._trans_v[box] = trans_v

    def metrics(
        self, which: IndexArray, end_cycle: IndexArray, cycles: IndexArray, f_hz: FloatArray
    ) -> FloatArray:
        """(n, 4, 3) values of METRIC_NAMES: minimum, maximum and mean of Measurements of steady spans.

        Args:
            end_cycle, cycles: (n,) the end of each on its Box's axis of phase, and its length.
            f_hz: (n, 3) minimum, maximum and mean of its windows.
        """
        drawn = drawn_normal((self._seed, self._numbers[which], end_cycle), 5)
        found = np.empty((len(which), len(METRIC_NAMES), 3))
        found[:, 0] = f_hz
        noise_v, windows = self._noise_v[which], np.maximum(1.0, cycles / 12.0)
        cycle_v = noise_v / np.sqrt(RATE_HZ / 60.0)  # of one Urms: the mean of 200 products with the wave
        found[:, 1, 2] = self._rms_v[which] + cycle_v / np.sqrt(cycles) * drawn[:, 0]
        spread = cycle_v * most_of(2.0 * cycles.astype(np.float64))
        found[:, 1, 0] = found[:, 1, 2] - spread * (1 + 0.15 * drawn[:, 1])
        found[:, 1, 1] = found[:, 1, 2] + spread * (1 + 0.15 * drawn[:, 2])
        thd = self._thd[which]
        window_thd = noise_v / np.maximum(self._rms_v[which], 1e-9) * np.sqrt(2.0 / (RATE_HZ * WINDOW_S))
        found[:, 2, 2] = thd + window_thd / np.sqrt(windows) * drawn[:, 3]
        wide = window_thd * np.where(windows > 1.0, 1.2, 0.0)
        found[:, 2, 0], found[:, 2, 1] = found[:, 2, 2] - wide, found[:, 2, 2] + wide
        found[:, 3] = self._trans_v[which]
        found[:, 3, 2] += 0.1 * noise_v * drawn[:, 4]
        found[:, 3, 0] = np.minimum(found[:, 3, 0], found[:, 3, 2])
        found[:, 3, 1] = np.maximum(found[:, 3, 1], found[:, 3, 2])
        return found
